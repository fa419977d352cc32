"""Batches of searches through a real cluster."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hedgerow.common.errors import BadRequestError, HedgerowError, NotFoundError
from hedgerow.gateway.client import AsyncClient, BatchSearch, Client
from hedgerow.gateway.shapes.answer import SearchAnswer
from tests.support.up import Caller, running_up

pytestmark = pytest.mark.integration

WORDS = ("amber", "birch", "cedar", "dogwood", "elm")
SEARCHES: list[BatchSearch] = [
    {"collection": collection, "query": f"{first} {second}", "k": 5}
    for collection in ("trees", "woods", "forest")  # the last is an alias of woods
    for first in WORDS
    for second in WORDS
]


def _lines(num: int) -> str:
    documents: list[dict[str, Any]] = [
        {"id": str(n), "title": f"{WORDS[n % 5]} {WORDS[n // 5 % 5]}", "n": n} for n in range(num)
    ]
    return "".join(json.dumps(document) + "\n" for document in documents)


def _lasting(answer: SearchAnswer | HedgerowError) -> SearchAnswer:
    """An answer without what differs each time."""
    assert isinstance(answer, SearchAnswer), answer
    return msgspec.structs.replace(answer, took_ms=0.0, deadline_ms=0.0, trace_id=None)


async def test_a_batch_answers_as_single_searches_do(tmp_path: Path) -> None:
    """75 searches of two collections, one of them by an alias too; both clients, real workers."""
    async with (
        running_up(tmp_path / "data", "--shards", "2", "--workers", "1") as up,
        Caller(up.url) as caller,
        AsyncClient(up.url) as client,
    ):
        for name, num in (("trees", 40), ("woods", 90)):
            await caller.make(name, {"title": "text", "n": "integer"})
            await caller.load(name, _lines(num))
        await client.put_alias("forest", "woods")
        found = await client.search_batch(
            [
                *SEARCHES,
                {"collection": "gone", "query": "elm"},
                {"collection": "trees", "query": '"elm', "syntax": "strict"},
            ],
            deadline_ms=20_000,
        )
        with Client(up.url) as blocking:
            single = [
                blocking.search(one["collection"], one["query"], k=5, deadline_ms=5000)
                for one in SEARCHES
            ]
            again = blocking.search_batch(SEARCHES, deadline_ms=20_000)
    assert isinstance(found[-2], NotFoundError)
    assert isinstance(found[-1], BadRequestError)
    assert found[-1].field == "query"
    assert all(answer.hits and answer.coverage.is_full for answer in single)
    expected = [_lasting(answer) for answer in single]
    assert [_lasting(answer) for answer in found[:-2]] == expected
    assert [_lasting(answer) for answer in again] == expected
