"""Hedgerow as people use it: `gateway up`, loaded, optimised and asked over HTTP.

Options: those of `gateway up`; none is as it comes. Ways: `http` is the benchmark's own bare
exchange and `client` is `gateway.client.AsyncClient`, both with the API's defaults, which give
fields; `http-ids` and `client-ids` ask for ids and scores alone (`fields: false`). `http-patient`
is `http` with a long deadline: nothing is refused or partial, and CPU is that of whole answers.
"""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from itertools import islice
from typing import Any

from bench.harness.http_load import HttpGateway
from bench.harness.pipe import Pipe, Setting
from bench.harness.up import PATIENT_S, Up, load_into, run_up
from bench.search.inside.callers import Ask, Verdict, body_of, judge, serve_callers
from bench.search.inside.serving import Ready, Task, disk_bytes
from bench.search.queries import Query
from hedgerow.common.errors import InsufficientCoverageError, OverloadedError
from hedgerow.gateway.client import AsyncClient
from hedgerow.gateway.shapes.answer import SearchAnswer

COLLECTION = "summaries"
_FIELDS = {"name": "text", "summary": "text"}
_PATIENT_MS = 30_000.0


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


def _documents(task: Task) -> Iterator[dict[str, Any]]:
    with task.documents.open("rb") as file:
        yield from map(json.loads, islice(file, task.limit))


async def serve(task: Task) -> None:
    """Start a cluster, load the documents, and answer the driver."""
    pipe = Pipe()
    async with run_up(task.folder / "data", *task.options) as up, AsyncClient(up.url) as client:
        build_s = await load(client, task)
        versions = {"hedgerow": metadata.version("hedgerow")}

        def make_ready() -> Ready:
            return Ready(build_s, disk_bytes(task.folder), versions, _settings(task, up))

        with up.http() as http:
            await serve_callers(pipe, task, make_ready, ways_of(http, client), up.parts)


def _settings(task: Task, up: Up) -> tuple[Setting, ...]:
    return (
        Setting("gateway up", " ".join(task.options) or "without options", up.size),
        Setting("gateway optimise", "after the load", "documents in one segment a shard"),
        Setting(
            "worker.heartbeat_expiry_s",
            PATIENT_S,
            "workers that are stopped while others are measured still count as live",
        ),
        Setting("everything else", "its default", "k, deadline, language, breakers, admission"),
    )


def main() -> None:
    """Serve."""
    asyncio.run(serve(Task.from_arguments()))


if __name__ == "__main__":
    main()
