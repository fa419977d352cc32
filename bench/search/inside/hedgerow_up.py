"""Hedgerow as people use it: `gateway up`, loaded, optimised and asked over HTTP.

Options: those of `gateway up`; none is as it comes. Ways: `http` is the benchmark's own bare
exchange and `client` is `gateway.client.AsyncClient`, both with the API's defaults, which give
fields; `http-ids` and `client-ids` ask for ids and scores alone (`fields: false`). `http-patient`
is `http` with a long deadline: nothing is refused or partial, and CPU is that of whole answers.
"""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from bench.harness.http_load import HttpGateway
from bench.harness.pipe import Setting
from bench.harness.processes import descendants
from bench.search.inside.callers import Ask, Verdict, body_of, judge, serve_callers
from bench.search.inside.serving import Ready, Task, disk_bytes
from bench.search.queries import Query
from common.errors import InsufficientCoverageError, OverloadedError
from gateway.client import AsyncClient
from gateway.client.answers import SearchAnswer

COLLECTION = "summaries"
_FIELDS = {"name": "text", "summary": "text"}
# So long that a worker which the driver has stopped meanwhile still counts as live.
_HEARTBEAT_EXPIRY_S = "3600"
_PATIENT_MS = 30_000.0
_START_TIMEOUT_S = 120.0
_STATE_TIMEOUT_S = 300.0
_LOAD_TIMEOUT_S = 600.0
_ROW = re.compile(r"(redis|gateway|worker-\d+) +(\d+) ")
_READY = re.compile(r"ready at http://(\S+):(\d+),")
_SIZE = re.compile(r"\d+ cores?: ")


@dataclass(slots=True)
class Up:
    """What a `gateway up` has said of itself.

    Attributes:
        pids: process → its id.
        size: the line that says how large it is, and why.
        address: host and port of its gateway.
    """

    pid: int
    pids: dict[str, int] = field(default_factory=dict)
    size: str = ""
    address: tuple[str, int] | None = None

    def read(self, line: str) -> None:
        """Take up one line of its output."""
        if row := _ROW.match(line):
            self.pids[row[1]] = int(row[2])
        elif _SIZE.match(line):
            self.size = line
        elif ready := _READY.match(line):
            self.address = ready[1], int(ready[2])

    def parts(self) -> dict[str, list[int]]:
        """The processes of each part."""
        workers = [pid for name, pid in self.pids.items() if name.startswith("worker-")]
        return {
            "client": [os.getpid()],
            "gateway": [self.pids["gateway"]],
            "Redis": [self.pids["redis"]],
            "workers": workers,
            "scorers": [pid for worker in workers for pid in descendants(worker)],
            "supervisor": [self.pid],
        }


@contextlib.asynccontextmanager
async def run_up(data: Path, *options: str) -> AsyncIterator[Up]:
    """Run `gateway up` on a new folder and any free port; nothing of it is left after the block.

    Raises:
        RuntimeError: it has ended before it was ready.
        TimeoutError: it is not ready in time.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli.main", "up", "--data", str(data), "--port", "0"),
        *options,
        env={**os.environ, "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": _HEARTBEAT_EXPIRY_S},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    up = Up(process.pid)
    rest: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while up.address is None:
                line = (await process.stdout.readline()).decode()
                if not line:
                    raise RuntimeError("gateway up has ended before it was ready")
                sys.stderr.write(line)
                up.read(line.rstrip())
        rest = asyncio.create_task(_pass_on(process.stdout), name="output of gateway up")
        yield up
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await (rest or _pass_on(process.stdout))
        await process.wait()


async def _pass_on(output: asyncio.StreamReader) -> None:
    while line := await output.readline():
        sys.stderr.write(line.decode())


def ways_of(http: HttpGateway, client: AsyncClient) -> dict[str, Ask]:
    """How it is asked."""

    async def by_http(
        query: Query, k: int, *, has_fields: bool, deadline_ms: float | None = None
    ) -> Verdict:
        body = body_of(query.text, k, has_fields, deadline_ms)
        return judge(await http.search(COLLECTION, body))

    async def by_client(query: Query, k: int, *, has_fields: bool) -> Verdict:
        try:
            if has_fields:
                answer = await client.search(COLLECTION, query.text, k=k)
            else:
                answer = await client.search(COLLECTION, query.text, k=k, fields=False)
        except OverloadedError:
            return Verdict.REFUSED
        except InsufficientCoverageError:
            return Verdict.PARTIAL
        return Verdict.WHOLE if _is_whole(answer) else Verdict.PARTIAL

    return {
        "http": partial(by_http, has_fields=True),
        "http-patient": partial(by_http, has_fields=True, deadline_ms=_PATIENT_MS),
        "http-ids": partial(by_http, has_fields=False),
        "client": partial(by_client, has_fields=True),
        "client-ids": partial(by_client, has_fields=False),
    }


def _is_whole(answer: SearchAnswer) -> bool:
    return answer.coverage.is_full and (answer.fetch is None or not answer.fetch.missing)


async def load(client: AsyncClient, task: Task) -> float:
    """Load the documents of a task, as `load_into` does."""
    return await load_into(client, COLLECTION, _documents(task), task.limit, fields=_FIELDS)


async def load_into(
    client: AsyncClient,
    name: str,
    documents: Iterable[dict[str, Any]],
    num_documents: int,
    **definition: Any,
) -> float:
    """Load a collection, have its indexes optimised, and wait until statistics are spread.

    Args:
        client: of the gateway.
        name: the collection's, which is made.
        documents: what is loaded.
        num_documents: how many they are.
        definition: of the collection.

    Returns:
        How long loading and optimising took, in s; statistics follow within some seconds.
    """
    started = time.perf_counter()
    await client.put_collection(name, **definition)
    # A busy machine applies them after the longest wait for that, and the load would fail.
    report = await client.index(name, documents, wait="logged", timeout_s=_LOAD_TIMEOUT_S)
    if report.accepted != num_documents:
        raise RuntimeError(f"{report.accepted} of {num_documents} documents were accepted")

    def has_all(collection: Any) -> bool:
        return bool(collection.documents == num_documents)

    await _wait_until("all are applied", client, name, has_all)
    wanted_at_ms = (await client.optimise(name)).wanted_at_ms

    def is_optimised(collection: Any) -> bool:
        index = collection.index
        return bool(index.wanted_at_ms == wanted_at_ms and index.waiting == 0)

    def is_spread(collection: Any) -> bool:
        statistics = collection.statistics
        # Before the workers have told of the documents, nothing is lacking.
        return has_all(collection) and bool(statistics.is_current and statistics.is_spread)

    await _wait_until("the indexes are optimised", client, name, is_optimised)
    took_s = time.perf_counter() - started
    await _wait_until("the term statistics are spread", client, name, is_spread)
    return took_s


async def _wait_until(
    what: str, client: AsyncClient, name: str, is_true: Callable[[Any], bool]
) -> None:
    give_up_at = time.monotonic() + _STATE_TIMEOUT_S
    while True:
        collections = (await client.status()).collections
        if is_true(next(one for one in collections if one.name == name)):
            return
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {_STATE_TIMEOUT_S:g} s: {what}")
        await asyncio.sleep(0.1)


def _documents(task: Task) -> Iterator[dict[str, Any]]:
    with task.documents.open("rb") as file:
        yield from map(json.loads, islice(file, task.limit))


async def serve(task: Task) -> None:
    """Start a cluster, load the documents, and answer the driver."""
    async with run_up(task.folder / "data", *task.options) as up:
        assert up.address is not None
        http = HttpGateway(*up.address, up.pids["gateway"])
        async with AsyncClient(http.url) as client:
            build_s = await load(client, task)
            versions = {"hedgerow": metadata.version("hedgerow")}

            def make_ready() -> Ready:
                return Ready(build_s, disk_bytes(task.folder), versions, _settings(task, up))

            await serve_callers(task, make_ready, ways_of(http, client), up.parts)
        http.close()


def _settings(task: Task, up: Up) -> tuple[Setting, ...]:
    return (
        Setting("gateway up", " ".join(task.options) or "without options", up.size),
        Setting("gateway optimise", "after the load", "documents in one segment a shard"),
        Setting(
            "worker.heartbeat_expiry_s",
            _HEARTBEAT_EXPIRY_S,
            "workers that are stopped while others are measured still count as live",
        ),
        Setting("everything else", "its default", "k, deadline, language, breakers, admission"),
    )


def main() -> None:
    """Serve."""
    asyncio.run(serve(Task.from_arguments()))


if __name__ == "__main__":
    main()
