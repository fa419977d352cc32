"""Aliases of collections, over a real server: what they stand for, and what they never do."""

import asyncio
from pathlib import Path

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError, ConflictError, HedgerowError, NotFoundError
from hedgerow.gateway.shapes.alias import AliasChange
from hedgerow.gateway.writes.aliases import Aliases
from tests.integration.support import write_path
from tests.integration.support.write_path import (
    BOOKS,
    NUM_SHARDS,
    WritePath,
    books,
    by_id,
    writing,
)
from tests.support.clusters import ask, cluster_of_its_own, gateway_to, load, ndjson
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

path = write_path.path


async def point(aliases: Aliases, **wanted: str | None) -> None:
    """Make changes in one step."""
    await aliases.change([AliasChange(alias, name) for alias, name in wanted.items()])


async def test_an_alias_names_a_collection_wherever_it_is_used(path: WritePath) -> None:
    """Loads, deletes, descriptions and added fields reach the collection that it stands for."""
    async with path.applying():
        uid = (await path.collections.put("books-1", BOOKS)).uid
        await point(path.aliases, books="books-1")
        await path.documents.load("books", ndjson(books(20)))
        await path.documents.delete("books", "b7")
        await path.collections.add_fields("books", {"fields": {"author": "text"}})
        assert path.stored(uid).keys() == by_id(books(20)).keys() - {"b7"}
    assert path.collections.get("books") == path.collections.get("books-1")
    assert path.collections.real_name("books") == "books-1"
    described = await path.collections.describe("books")
    assert (described["name"], described["documents"]) == ("books-1", 19)
    assert "author" in described["fields"]
    assert [one.name for one in await path.collections.list()] == ["books-1"]


async def test_several_changes_are_made_together_or_not_at_all(path: WritePath) -> None:
    """One change that cannot be made keeps all others from being made."""
    for name in ("films", "books-1", "books-2"):
        await path.collections.put(name, BOOKS)
    await point(path.aliases, a="books-1", b="books-1")
    before = dict(path.aliases.known())
    wrong: list[tuple[dict[str, str | None], type[HedgerowError]]] = [
        ({"a": "books-2", "films": "books-2"}, ConflictError),  # a collection has that name
        ({"a": "books-2", "c": "books-3"}, NotFoundError),
        ({"a": "books-2", "c": "b"}, NotFoundError),  # an alias of an alias
        ({"a": "books-2", "c": None}, NotFoundError),
        ({"a": "books-2", "no/name": "books-1"}, BadRequestError),
        ({"a": "books-2", "c": "no/name"}, BadRequestError),
        ({}, BadRequestError),
    ]
    for changes, error in wrong:
        with pytest.raises(error):
            await point(path.aliases, **changes)
    with pytest.raises(BadRequestError, match="more than once"):
        await path.aliases.change([AliasChange("a", "films"), AliasChange("a", None)])
    assert await path.aliases.refresh() == before
    await point(path.aliases, a="books-2", b=None, c="films")
    assert await path.aliases.refresh() == {"a": "books-2", "c": "films"}


async def test_there_are_at_most_as_many_as_the_limit_allows(path: WritePath) -> None:
    """Beyond it, aliases can be moved and replaced, and one more is refused."""
    few = Aliases(path.aliases._store, max_aliases=2)
    await path.collections.put("books", BOOKS)
    await point(few, a="books", b="books")
    with pytest.raises(ConflictError, match=r"max_aliases \(2\) allows no more"):
        await point(few, c="books")
    await point(few, a="books", b=None)
    await point(few, a=None, c="books")
    await point(few, d="books")
    assert await few.refresh() == {"c": "books", "d": "books"}


async def test_an_alias_never_shadows_a_collection(path: WritePath) -> None:
    """No collection is made under its name, and a collection of that name would be the one meant.

    Nor is a collection removed by an alias, or while an alias stands for it.
    """
    await path.collections.put("books-1", BOOKS)
    await point(path.aliases, books="books-1")
    with pytest.raises(ConflictError, match="alias"):
        await path.collections.put("books", BOOKS)
    for name in ("books", "books-1"):
        with pytest.raises(ConflictError, match="alias"):
            await path.collections.drop(name)
    # As if a gateway had made the collection at the same moment.
    await path.control.execute("HSET", path.keys.aliases, "films", "books-1")
    films = await path.registry.create_collection(define("films", BOOKS), NUM_SHARDS)
    await path.collections.refresh()
    assert path.collections.get("films") == await path.collections.current("films") == films
    assert path.collections.real_name("films") == "films"
    await point(path.aliases, books=None)
    await path.control.execute("HDEL", path.keys.aliases, "films")
    await path.collections.drop("books-1")
    with pytest.raises(NotFoundError):
        path.collections.get("books")


async def test_what_an_alias_stands_for_is_known_with_it(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """While another gateway moves an alias from collection to collection, it always finds one.

    The other gateway makes each collection just before, and removes it just after.
    """
    async with (
        writing(redis_server, key_prefix, tmp_path) as path,
        writing(redis_server, key_prefix, tmp_path) as other,
    ):
        await other.collections.put("books-0", BOOKS)
        await point(other.aliases, books="books-0")
        await path.collections.refresh()

        async def move() -> None:
            for number in range(1, 40):
                await other.collections.put(f"books-{number}", BOOKS)
                await point(other.aliases, books=f"books-{number}")
                await other.collections.drop(f"books-{number - 1}")

        moving = asyncio.create_task(move())
        while not moving.done():
            await path.collections.refresh()
            assert path.collections.get("books").name.startswith("books-")
            assert (await path.collections.current("books")).name.startswith("books-")
        await moving


async def test_gateways_follow_a_switch_under_load() -> None:
    """Searches by an alias go on in another gateway while it is switched, each of full coverage.

    The other gateway follows within milliseconds, since the switch is announced.
    """
    with cluster_of_its_own(num_shards=2, num_workers=1) as cluster:
        async with gateway_to(cluster) as one, gateway_to(cluster) as other:
            for name in ("films-1", "films-2"):
                await load(one, name, [{"id": f"{name}-{n}", "title": "wing"} for n in range(8)])
            await point(one.aliases, films="films-1")
            await until(lambda: other.aliases.collection_of("films") == "films-1")
            found: list[set[str]] = [set()]

            async def search_until_switched() -> None:
                while found[-1] != {"films-2"}:
                    result = await ask(one, "films", "wing")
                    assert result.coverage.fraction == 1.0
                    found.append({hit.id.rpartition("-")[0] for hit in result.hits})

            searching = asyncio.create_task(search_until_switched())
            await until(lambda: len(found) > 5)
            began = asyncio.get_running_loop().time()
            await point(other.aliases, films="films-2")
            await searching
            took_s = asyncio.get_running_loop().time() - began
            assert took_s < one.collections._poll_s / 2  # it did not wait for the next poll
            assert found[1] == {"films-1"}
            assert all(len(names) == 1 for names in found[1:])
