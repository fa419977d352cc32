"""A reindex under load, over real workers: no acknowledged write is lost, no answer covers less."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from hedgerow.common.errors import HedgerowError, VersionMismatchError
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.shapes.alias import AliasChange
from hedgerow.gateway.shapes.reindex import ReindexBody, ReindexReport
from hedgerow.gateway.writes.conditional_writes import Origin
from hedgerow.shard_worker.storage.store import Store
from tests.support.clusters import Cluster, ask, cluster_of_its_own, gateway_to, load_into
from tests.support.processes import kill_all_of
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NUM_DOCUMENTS = 3000
TEXT = {"fields": {"title": "text", "price": "integer"}}
FOLDED = {"fields": {"title": "text", "price": "integer"}, "language": "none"}

Document = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers that each serve both shards."""
    with cluster_of_its_own(num_shards=2, num_replicas=2) as found:
        yield found


async def begin(gateway: Gateway, old: str, new: str, **more: Any) -> None:
    """Begin to reindex behind the alias "shop"."""
    await gateway.reindexes.begin(ReindexBody(old, new, "shop", **more))


async def report(gateway: Gateway) -> ReindexReport:
    """How far the reindex is."""
    found = (await gateway.reindexes.describe()).reindex
    assert found is not None
    return found


async def until_is(gateway: Gateway, state: str, within_s: float = 60.0) -> ReindexReport:
    """Wait until a reindex is in a state."""

    async def is_there() -> bool:
        return (await report(gateway)).state == state

    await until(is_there, within_s, what=f"the state {state}")
    return await report(gateway)


def stored(cluster: Cluster, worker: int, uid: str) -> dict[str, Document]:
    """The documents of a collection in all shards of a worker."""
    found: dict[str, Document] = {}
    for shard in cluster.shards_of(worker):
        path = cluster.data(worker) / "shards" / str(shard) / "store.sqlite"
        store = Store.open(path, read_only=True)
        try:
            found.update((one, json.loads(body)) for one, body in store.scan(uid))
        finally:
            store.close()
    return found


async def settle(gateway: Gateway, collection: str) -> None:
    """Wait until every live replica has applied what is logged."""
    assert (await gateway.documents.load(collection, stream(b""), "applied")).is_applied


@dataclass
class Load:
    """Writes and searches through an alias, and what must be there in the end.

    Attributes:
        model: id → the document as it was last acknowledged.
        unsure: ids of writes that were not acknowledged: they are not compared.
        partial: the answers that did not cover everything.
    """

    gateways: list[Gateway]
    model: dict[str, Document] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    partial: list[Any] = field(default_factory=list)
    num_writes: int = 0
    num_searches: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run for the block."""
        tasks = [
            asyncio.create_task(self._write(number, gateway))
            for number in range(3)
            for gateway in self.gateways
        ]
        tasks.append(asyncio.create_task(self._search()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                try:
                    await task
                except asyncio.CancelledError:
                    continue

    async def _write(self, number: int, gateway: Gateway) -> None:
        rng = random.Random(number)
        writer = f"{number}-{gateway.id}"
        slot = number * len(self.gateways) + self.gateways.index(gateway)
        own = [one for one in self.model if sum(one.encode()) % self._num_writers == slot]
        for count in range(10**9):
            one = rng.choice(own) if rng.random() < 0.7 else f"new-{writer}-{count}"
            if one not in own:
                own.append(one)
            document = {"id": one, "title": f"lamp {writer} {count}", "price": count}
            self.unsure.add(one)
            try:
                await self._write_one(gateway, rng.random(), one, document)
            except VersionMismatchError:
                raise
            except HedgerowError:  # a worker has just been killed: it may be done, or not
                own.remove(one)
                continue
            self.unsure.discard(one)
            self.num_writes += 1
            await asyncio.sleep(0.05)

    @property
    def _num_writers(self) -> int:
        return 3 * len(self.gateways)

    async def _write_one(self, gateway: Gateway, kind: float, one: str, document: Document) -> None:
        body, origin = json.dumps(document).encode(), Origin()
        if kind < 0.5:
            await gateway.documents.put(
                "shop", one, stream(body), "logged", party="", traceparent=""
            )
            self.model[one] = document
        elif kind < 0.65:
            await gateway.documents.delete("shop", one, "logged", traceparent="")
            self.model.pop(one, None)
        elif kind < 0.85 and one in self.model:
            change = json.dumps({"price": document["price"]}).encode()
            await gateway.conditional_writes.patch(
                "shop", one, change, "logged", if_version=None, request_id=None, origin=origin
            )
            self.model[one] = {**self.model[one], "price": document["price"]}
        elif one not in self.model:
            await gateway.conditional_writes.put(
                "shop", one, stream(body), "none", "logged", request_id=None, origin=origin
            )
            self.model[one] = document

    async def _search(self) -> None:
        while True:
            result = await ask(self.gateways[0], "shop", "lamp", k=3, deadline_ms=5000.0)
            self.num_searches += 1
            if not result.coverage.is_full:
                self.partial.append(result.coverage)
            await asyncio.sleep(0.03)


async def stream(body: bytes) -> AsyncIterator[bytes]:
    """A body in one piece."""
    yield body


def lamps(number: int) -> list[Document]:
    """Documents that fit both definitions."""
    return [{"id": f"d{n}", "title": f"lamp {n}", "price": n} for n in range(number)]


async def prepare(gateway: Gateway, old: str, new: str, documents: list[Document]) -> str:
    """Make both collections and the alias, and load the old one; returns the new one's uid."""
    await gateway.collections.put(old, TEXT)
    uid = (await gateway.collections.put(new, FOLDED)).uid
    await gateway.aliases.change([AliasChange("shop", old)])
    await load_into(gateway, old, documents)
    return uid


async def test_nothing_is_lost_and_nothing_is_missing(cluster: Cluster) -> None:
    """Two gateways write through the alias while a worker is killed, and one gateway drives.

    Afterwards both replicas have every acknowledged write at its last version, in both collections.
    """
    async with gateway_to(cluster) as one, gateway_to(cluster) as other:
        uid = await prepare(one, "shop-1", "shop-2", lamps(NUM_DOCUMENTS))
        await other.collections.refresh()
        old_uid = one.collections.get("shop-1").uid
        load = Load([one, other], {document["id"]: document for document in lamps(NUM_DOCUMENTS)})
        async with load.running():
            await asyncio.sleep(0.5)
            await begin(one, "shop-1", "shop-2")
            await until_is(one, "copying")
            kill_all_of(cluster.workers[1].pid)
            await asyncio.to_thread(cluster.kill, 1)
            await asyncio.sleep(0.5)
            cluster.start(1)
            switched = await until_is(one, "switched")
            await asyncio.sleep(1.0)
        assert switched.switched_at_ms
        assert (await other.aliases.refresh())["shop"] == "shop-2"
        await until(lambda: one._membership.num_live == [2, 2], 30)
        await settle(one, "shop")
        for worker in (0, 1):
            for collection in (uid, old_uid):
                found = stored(cluster, worker, collection)
                different = {
                    key
                    for key in {*found, *load.model} - load.unsure
                    if found.get(key) != load.model.get(key)
                }
                assert not different, (worker, collection == uid, different)
        assert load.num_writes > 100
        assert not load.partial
        await one.reindexes.end()
        await until_is(one, "ended")
