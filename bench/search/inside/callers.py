"""Callers of a server over HTTP; each asks its next query as soon as the last one has ended."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from bench.harness.load import Load, passes
from bench.harness.pipe import Pipe
from bench.harness.processes import CpuMeter
from bench.search.inside.serving import Ready, Task
from bench.search.queries import Query
from hedgerow.common.lifecycle import calm_collector


class Verdict(Enum):
    """What kind of answer a caller got."""

    WHOLE = "whole"
    PARTIAL = "partial"
    REFUSED = "refused"


Ask = Callable[[Query, int], Awaitable[Verdict]]
Command = Callable[..., Awaitable[dict[str, Any]]]  # of the driver, given its words
Parts = Callable[[], Mapping[str, list[int]]]  # name → the processes whose CPU is counted


def judge(answer: bytes) -> Verdict:
    """Classify the body of an answer of Hedgerow, without parsing it.

    An answer is whole if it reflects all documents and its hits have all the fields that they
    should have. A query is refused if no shard was asked.

    Raises:
        RuntimeError: it is another problem.
    """
    if b'"is_full":true' in answer:
        has_fields = b'"fetch":null' in answer or b'"missing":0' in answer
        return Verdict.WHOLE if has_fields else Verdict.PARTIAL
    if b'"is_full":false' in answer:
        return Verdict.PARTIAL
    if b'"urn:problem-type:hedgerow:overloaded"' in answer:
        return Verdict.REFUSED
    raise RuntimeError(answer[:400].decode(errors="replace"))


@lru_cache(maxsize=4096)
def body_of(text: str, k: int, has_fields: bool, deadline_ms: float | None = None) -> bytes:
    """The body of a search in which everything else, including the deadline, has its default."""
    asked: dict[str, Any] = {"query": text, "k": k}
    if not has_fields:
        asked["fields"] = False
    if deadline_ms is not None:
        asked["deadline_ms"] = deadline_ms
    return json.dumps(asked).encode()


async def serve_callers(
    pipe: Pipe,
    task: Task,
    make_ready: Callable[[], Ready],
    ways: Mapping[str, Ask],
    parts: Parts,
    others: Mapping[str, Command] | None = None,
) -> None:
    """Ask every query once, and then obey the driver until it hangs up.

    Args:
        pipe: to the driver; made before anything that prints or logs is started.
        task: has the queries.
        make_ready: makes the first message.
        ways: of asking, by name; the first is asked at the start.
        parts: returns the processes whose CPU time is counted.
        others: commands in addition to `run`, by name.
    """
    await run_callers(next(iter(ways.values())), task.queries, parts(), 1, 10, 0.0)
    calm_collector()  # as `gateway serve` does
    pipe.say(make_ready().to_json())

    async def run(
        in_flight: str, k: str, seconds: str, num_queries: str, way: str
    ) -> dict[str, Any]:
        queries, numbers = task.queries[: int(num_queries)], (int(in_flight), int(k))
        return (await run_callers(ways[way], queries, parts(), *numbers, float(seconds))).to_json()

    commands: dict[str, Command] = {"run": run, **(others or {})}
    loop, lines = asyncio.get_running_loop(), map(str.split, pipe.lines())
    while words := await loop.run_in_executor(None, next, lines, None):
        pipe.say(await commands[words[0]](*words[1:]))


async def run_callers(
    ask: Ask,
    queries: Sequence[Query],
    parts: Mapping[str, list[int]],
    in_flight: int,
    k: int,
    seconds: float,
) -> Load:
    """Like `serving.run`, with a task for each caller; latencies are those of whole answers.

    A caller that is refused asks its next query at once.

    Args:
        ask: asks one query.
        queries: all of them; a load is made of whole passes over them.
        parts: name → the processes whose CPU time is counted.
        in_flight: how many callers there are.
        k: how many hits are requested.
        seconds: the least duration.
    """

    async def call(query: Query) -> str:
        verdict = await ask(query, k)
        return "" if verdict is Verdict.WHOLE else verdict.value

    meter = CpuMeter(parts)
    load = await passes(call, queries, in_flight, seconds)
    load.cpu_s = meter.used_s()
    return load
