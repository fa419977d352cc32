"""A cluster whose shards are split, and writers and searchers whose every claim is checked."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hedgerow.common.collection import Collection
from hedgerow.common.errors import HedgerowError, NotFoundError, UnavailableError
from hedgerow.gateway.gateway import Gateway
from hedgerow.shard_worker.storage.store import Store
from tests.support.clusters import ask
from tests.support.waiting import rested, until


async def until_split(
    gateway: Gateway, num_shards: int, timeout_s: float = 240.0
) -> dict[str, Any]:
    """Wait until a split has ended, and this gateway searches `num_shards` shards."""
    found: dict[str, Any] = {}

    async def is_done() -> bool:
        found.clear()
        found.update(await gateway.splits.describe())
        return found["split"] is None and gateway.num_shards == num_shards

    try:
        await until(is_done, timeout_s, what=f"the split to {num_shards}")
    except BaseException:
        print(found)  # noqa: T201 - says how far it got
        raise
    return found


async def until_state(gateway: Gateway, *states: str | None, timeout_s: float = 60.0) -> None:
    """Wait until the split is in one of these states; None is its end."""

    async def is_there() -> bool:
        split = (await gateway.splits.describe())["split"]
        return (split and split["state"]) in states

    await until(is_there, timeout_s, what=f"a split that is {states}")


def document(number: int, version: int) -> dict[str, Any]:
    """A document whose text says its version."""
    return {"id": f"d{number}", "title": f"common number{number}", "version": version}


@dataclass
class Writer:
    """Writes documents of its own through one gateway, and knows what was acknowledged.

    Attributes:
        acknowledged: id → the version that it has, or None if it is deleted.
        unsure: ids whose last write has failed: it may have been done.
        waited_s: the longest time that a write took, in s.
    """

    gateway: Gateway
    numbers: range
    rng: random.Random
    acknowledged: dict[str, int | None] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    waited_s: float = 0.0
    num_writes: int = 0

    async def write_once(self) -> None:
        """Insert, replace or delete a few documents."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.num_writes += 1
        chosen = self.rng.sample(self.numbers, 3)
        ids = {f"d{number}" for number in chosen}
        try:
            if self.rng.random() < 0.25:
                (number, *_) = chosen
                ids = {f"d{number}"}
                await self.gateway.documents.delete("books", f"d{number}", "applied")
                self.acknowledged[f"d{number}"] = None
            else:
                report = await self.gateway.documents.load(
                    "books", lines([document(one, self.num_writes) for one in chosen]), "applied"
                )
                assert (report.accepted, report.rejected) == (len(chosen), [])
                self.acknowledged |= dict.fromkeys(ids, self.num_writes)
        except HedgerowError:
            self.unsure |= ids
            raise
        self.unsure -= ids
        self.waited_s = max(self.waited_s, loop.time() - began)

    async def check_one(self, gateway: Gateway) -> None:
        """Search for one of the documents: it has the version that was acknowledged last."""
        known = [one for one in self.acknowledged if one not in self.unsure]
        if not known:
            return
        chosen = self.rng.choice(known)
        expected = self.acknowledged[chosen]
        result = await ask(
            gateway, "books", f"number{chosen[1:]}", k=10, deadline_ms=20_000.0, fields=["version"]
        )
        assert result.coverage.fraction == 1.0, result
        found = [(hit.id, (hit.fields or {}).get("version")) for hit in result.hits]
        assert found == ([] if expected is None else [(chosen, expected)]), (chosen, expected)


MOST_COLLECTIONS = 6  # that a `Changer` makes: each is an index on each replica


@dataclass
class Changer:
    """Creates, widens and drops collections through one gateway, one after the other.

    Attributes:
        fields: name → the fields that it has; None once it is dropped.
        num_refused: how often a change was refused, and was made again.
    """

    gateway: Gateway
    rng: random.Random
    fields: dict[str, set[str] | None] = field(default_factory=dict)
    num_refused: int = 0

    async def change_until(self, is_over: asyncio.Event) -> None:
        """Change collections until the end."""
        while not is_over.is_set():
            await self.change_once()
            await asyncio.sleep(0.5)

    async def change_once(self) -> None:
        """Create a collection, or change one."""
        present = [name for name, fields in self.fields.items() if fields is not None]
        chosen = self.rng.choice([*present, None, None][:MOST_COLLECTIONS])
        if chosen is None:
            chosen = f"c{len(self.fields)}"
            await self._again("put", chosen, {"fields": {"a": "text"}})
            self.fields[chosen] = {"a"}
        elif self.rng.random() < 0.5:
            await self._again("drop", chosen)
            self.fields[chosen] = None
        else:
            names = {"a", f"b{self.rng.randrange(3)}"}
            added = {"fields": dict.fromkeys(names, "text")}
            await self._again("add_fields", chosen, added)
            self.fields[chosen] = (self.fields[chosen] or set()) | names

    async def _again(self, change: str, *arguments: Any) -> None:
        """Make a change as often as it is refused: it may have been made."""
        while True:
            try:  # by the gateway's present parts, which a split changes
                await getattr(self.gateway.collections, change)(*arguments)
            except NotFoundError:
                return  # it was dropped by an earlier attempt
            except UnavailableError:
                self.num_refused += 1
                await asyncio.sleep(0.05)
            else:
                return

    def is_in(self, stores: Iterable[Path]) -> bool:
        """Whether these stores all have the collections that there are, as they are."""
        expected = {name: fields for name, fields in self.fields.items() if fields is not None}
        return all(collections_in(store) == expected for store in stores)


def collections_in(path: Path) -> dict[str, set[str]]:
    """Name → fields of a store's collections that a `Changer` has made."""
    store = Store.open(path, read_only=True)
    try:
        found = [Collection.from_json(text.encode()) for text in store.collections().values()]
    finally:
        store.close()
    return {one.name: set(one.fields or ()) for one in found if one.name != "books"}


async def lines(documents: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Documents as a load's stream."""
    for one in documents:
        yield json.dumps(one).encode() + b"\n"


@asynccontextmanager
async def busy(
    writers: list[Writer], readers: list[Gateway], changer: Changer | None = None
) -> AsyncIterator[None]:
    """Write, and read through all gateways what was acknowledged, during the block."""
    is_over = asyncio.Event()

    async def work(writer: Writer) -> None:
        while not is_over.is_set():
            # A write commits in as many as twelve indexes: with pauses of twice the time, splits
            # took half as long again, with writes all the time.
            async with rested(times=5.0, longest_s=0.5):
                await writer.write_once()
                for reader in readers:
                    await writer.check_one(reader)

    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(work(writer))
        if changer is not None:
            group.create_task(changer.change_until(is_over))
        try:
            yield
        finally:
            is_over.set()


async def everything(gateway: Gateway, k: int = 1000) -> dict[str, int]:
    """Id → version of all documents, each of which is found once."""
    result = await ask(gateway, "books", "common", k=k, deadline_ms=10_000.0, fields=["version"])
    assert result.coverage.fraction == 1.0, result
    ids = [hit.id for hit in result.hits]
    assert len(ids) == len(set(ids))
    return {hit.id: (hit.fields or {})["version"] for hit in result.hits}
