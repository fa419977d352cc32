"""What is said about collections: their profiles, and how a definition differs."""

import asyncio
import json
from dataclasses import replace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import BadRequestError, ConflictError, NotFoundError
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.writes.collections import Collections

FIELDS = {"title": "text", "year": "integer"}
BOOKS: dict[str, Any] = {"fields": FIELDS, "language": "german"}


def holding(body: dict[str, Any] | None = None) -> Collections:
    """A cluster of two shards that has the collection `books`."""
    stored = define("books", BOOKS if body is None else body)
    registry = AsyncMock(spec=Registry)
    registry.create_collection.return_value = stored
    registry.collection.return_value = stored
    registry.collections.return_value = {"books": stored}
    registry.document_counts.return_value = {1: 3}
    registry.document_counts_of.return_value = {stored.uid: {1: 3}}
    return Collections(registry, 2, {"noop": 1, "bm25": 2, "recent": 3})


async def test_a_collection_names_every_profile_that_a_search_may_name() -> None:
    """Alone and in the list, the configured profiles stand beside the collection's own."""
    collections = holding()
    described = await collections.describe("books")
    assert described["rank_profile"] == "bm25"
    assert described["rank_profiles"] == ["bm25", "noop", "recent"]
    (listed,) = await collections.list()
    assert json.loads(listed.definition + listed.counts) == described


async def test_callers_share_the_bytes_of_the_list() -> None:
    """What has not changed since the last list is the same object; what has changed is another."""
    collections = holding()
    registry = cast("AsyncMock", collections._registry)
    stored = registry.collection.return_value
    (first,), (second,) = await collections.list(), await collections.list()
    assert second.definition is first.definition
    assert second.counts is first.counts
    registry.document_counts_of.return_value = {stored.uid: {0: 1, 1: 3}}
    (third,) = await collections.list()
    assert third.definition is first.definition
    assert json.loads(third.definition + third.counts)["documents"] == 4
    registry.collections.return_value = {"books": replace(stored, language="french")}
    (fourth,) = await collections.list()
    assert json.loads(fourth.definition + fourth.counts)["language"] == "french"


async def test_callers_at_the_same_time_read_the_list_once() -> None:
    """Callers that come before the first read begins share it, and those after it the next."""
    collections = holding()
    registry = cast("AsyncMock", collections._registry)
    has_begun, answer = asyncio.Event(), asyncio.Event()
    known = registry.collections.return_value

    async def read() -> dict[str, Collection]:
        has_begun.set()
        await answer.wait()
        return dict(known)

    registry.collections.side_effect = read
    callers = [asyncio.create_task(collections.list()) for _ in range(25)]
    await has_begun.wait()
    callers += [asyncio.create_task(collections.list()) for _ in range(25)]
    answer.set()
    assert {len(await caller) for caller in callers} == {1}
    assert registry.collections.call_count == 2


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            {**BOOKS, "fields": {"title": "keyword"}},
            'its fields are {"title": "text", "year": "integer"}, not {"title": "keyword"}',
        ),
        (
            {**BOOKS, "fields": {**FIELDS, "title": {"type": "text", "weight": 3}}},
            (
                'its fields are {"title": "text", "year": "integer"}, '
                'not {"title": {"type": "text", "weight": 3}, "year": "integer"}'
            ),
        ),
        ({**BOOKS, "language": "none"}, 'its language is "german", not "none"'),
        ({**BOOKS, "rank_profile": "noop"}, 'its rank_profile is "bm25", not "noop"'),
    ],
)
async def test_a_conflict_is_told_in_json(body: dict[str, Any], told: str) -> None:
    """The part that differs is named with both values, as JSON has them."""
    with pytest.raises(ConflictError) as refused:
        await holding().put("books", body)
    assert str(refused.value) == f'the collection "books" exists already, and {told}'


async def test_weights_come_back_as_they_were_put() -> None:
    """What describes a collection defines it again; without fields it is the same one, too."""
    body = {"fields": {"title": {"type": "text", "weight": 3}, "text": "text"}}
    collections = holding(body)
    described = await collections.describe("books")
    assert described["fields"] == body["fields"]
    for again in ({"fields": described["fields"]}, {}):
        assert (await collections.put("books", again)).weights == {"title": 3}


async def test_a_conflict_with_fields_that_nobody_knows_yet_says_so() -> None:
    """A collection without documents has fields yet to be inferred, not none."""
    with pytest.raises(ConflictError) as refused:
        await holding({}).put("books", {"fields": {"title": "text"}})
    assert 'its fields are yet to be inferred, not {"title": "text"}' in str(refused.value)


async def test_what_is_put_while_all_are_read_is_known() -> None:
    """A view that was read before a collection was created does not hide it, nor show one gone."""
    collections = holding()
    registry = cast("AsyncMock", collections._registry)
    await collections.refresh()
    new = define("new", BOOKS)

    async def read() -> dict[str, Collection]:
        before = {"books": registry.collection.return_value}
        registry.create_collection.return_value = new
        await collections.put("new", BOOKS)
        await collections.drop("books")
        return before

    registry.collections.side_effect = read
    await collections.refresh()
    assert collections.get("new") == new
    with pytest.raises(NotFoundError):
        collections.get("books")


async def test_two_refreshes_at_once_each_know_what_is_put_meanwhile() -> None:
    """The one that ends first takes nothing from the other, though both have heard the same."""
    collections = holding()
    registry = cast("AsyncMock", collections._registry)
    books = registry.collection.return_value
    reads = [asyncio.Event(), asyncio.Event()]
    waiting = iter(reads)

    async def read() -> dict[str, Collection]:
        await next(waiting).wait()
        return {"books": books}

    registry.collections.side_effect = read
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(collections.refresh())
        second = tasks.create_task(collections.refresh())
        await asyncio.sleep(0)  # both have begun to read
        reads[1].set()
        await second
        new = define("new", BOOKS)
        registry.create_collection.return_value = new
        await collections.put("new", BOOKS)
        reads[0].set()
        await first
    assert collections.get("new") == new


async def test_the_limit_of_collections_reaches_the_registry() -> None:
    """A new collection is counted in the same step that creates it."""
    registry = AsyncMock(spec=Registry)
    registry.create_collection.return_value = define("books", BOOKS)
    collections = Collections(registry, 2, {"bm25": 1}, max_collections=7)
    await collections.put("books", BOOKS)
    assert registry.create_collection.call_args.args[1:] == (2, 7)


async def test_a_definition_that_does_not_change_stays_the_same_object() -> None:
    """However often all are read, so that what was found out with it stays known."""
    collections = holding()
    registry = cast("AsyncMock", collections._registry)
    stored = registry.collection.return_value
    await collections.refresh()
    known = collections.get("books")
    registry.collections.return_value = {"books": replace(stored)}
    await collections.refresh()
    assert collections.get("books") is known
    registry.collections.return_value = {"books": replace(stored, revision=1)}
    await collections.refresh()
    assert collections.get("books").revision == 1


async def test_a_field_names_only_functions_of_the_settings() -> None:
    """In a new collection and in an added field: any other function would be a caller's code."""
    registry = AsyncMock(spec=Registry)
    registry.collection.return_value = define("books", BOOKS)
    collections = Collections(registry, 2, {"bm25": 1}, functions=["models:embed"])
    for function in ("subprocess:run", "models:other"):
        vector = {"type": "vector", "dimensions": 2, "embed": function}
        for change in (
            collections.put("others", {"fields": {"title": "text", "v": vector}}),
            collections.add_fields("books", {"fields": {"v": vector}}),
        ):
            with pytest.raises(BadRequestError, match=r"embed\.functions") as caught:
                await change
            assert caught.value.field == "fields.v.embed"
    assert not registry.create_collection.called
    assert not registry.add_fields.called


async def test_a_field_names_no_function_that_cannot_be_loaded() -> None:
    """The shards would wait at its first document; once the function can be loaded, it may."""
    registry = AsyncMock(spec=Registry)
    broken = {"models:embed": "models:embed: cannot import: no module"}
    collections = Collections(registry, 2, {"bm25": 1}, functions=["models:embed"], broken=broken)
    vector = {"type": "vector", "dimensions": 2, "embed": "models:embed"}
    body = {"fields": {"title": "text", "v": vector}}
    registry.create_collection.return_value = define("others", body, "u0")
    with pytest.raises(BadRequestError, match="no module") as caught:
        await collections.put("others", body)
    assert caught.value.field == "fields.v.embed"
    assert not registry.create_collection.called
    broken.clear()
    await collections.put("others", body)
    assert registry.create_collection.called
