"""A reindex under load, over real workers: no acknowledged write is lost, no answer covers less."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hedgerow.common.errors import (
    BadRequestError,
    ConflictError,
    HedgerowError,
    NotFoundError,
    VersionMismatchError,
)
from hedgerow.common.shard_log.operations import Delete, pack_op
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.reindexing import driver
from hedgerow.gateway.reindexing.view import ReindexView
from hedgerow.gateway.shapes.alias import AliasChange
from hedgerow.gateway.shapes.reindex import ReindexBody, ReindexReport
from hedgerow.gateway.shapes.synonyms import SynonymsBody
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


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies do not rest: other tests load the machine for them."""
    made: Any = driver.ReindexDriver.__init__

    def make(self: driver.ReindexDriver, *given: Any) -> None:
        made(self, *given[:-1], 1.0)

    monkeypatch.setattr(driver.ReindexDriver, "__init__", make)
    # The gateway of the test before has ended with the lease.
    monkeypatch.setattr(driver, "LEASE_S", 2.0)


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


async def until_is(gateway: Gateway, state: str, within_s: float = 120.0) -> ReindexReport:
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
            await asyncio.sleep(0.1)


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
        # A replica that comes after the first writes may have missed them for good.
        await until(lambda: one._membership.num_live == [2, 2])
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
        await until(lambda: one._membership.num_live == [2, 2])
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
        with pytest.raises(ConflictError, match="has switched, and shop-1 follows shop-2"):
            await one.reindexes.end()
        await one.reindexes.end(after_switch=True)
        await until_is(one, "ended")
        await one.aliases.change([AliasChange("shop", None)])


async def until_stopped(gateway: Gateway) -> ReindexReport:
    """Wait until a reindex waits for an operator."""

    async def is_stopped() -> bool:
        return (await report(gateway)).is_stopped

    await until(is_stopped, 60, what="a reindex that waits for an operator")
    return await report(gateway)


async def test_documents_that_do_not_fit_keep_it_from_switching(cluster: Cluster) -> None:
    """They are named; what is corrected counts no more, and the rest can be left out.

    After the switch, what is written to the old collection is kept, whether it fits or not.
    """
    loose = {"fields": {"title": "text", "price": "keyword"}}
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("loose", loose)
        uid = (await gateway.collections.put("strict", TEXT)).uid
        documents = [{"id": f"d{n}", "title": "lamp", "price": "cheap"} for n in range(3)]
        fitting = [{"id": f"e{n}", "title": "lamp"} for n in range(20)]
        await load_into(gateway, "loose", [*documents, *fitting])
        await begin(gateway, "loose", "strict")
        stopped = await until_stopped(gateway)
        assert (stopped.documents, stopped.copied, stopped.faulty) == (23, 20, 3)
        assert [one.id for one in stopped.first_faulty] == ["d0", "d1", "d2"]
        assert "price" in stopped.first_faulty[0].reason
        assert "shop" not in await gateway.aliases.refresh()
        await load_into(gateway, "loose", [{"id": "d0", "title": "lamp"}])
        await gateway.documents.delete("loose", "d1")

        async def is_one_left() -> bool:
            return (await report(gateway)).faulty == 1

        await until(is_one_left)
        await begin(gateway, "loose", "strict", skip_faulty=True)
        await until_is(gateway, "switched")
        assert (await gateway.aliases.refresh())["shop"] == "strict"
        assert stored(cluster, 0, uid).keys() == {"d0", *(one["id"] for one in fitting)}
        await load_into(gateway, "loose", [{"id": "late", "title": "lamp", "price": "dear"}])
        assert (await gateway.get_document("shop", "late"))["price"] == "dear"
        await gateway.reindexes.end(after_switch=True)
        await until_is(gateway, "ended")
        await gateway.aliases.change([AliasChange("shop", None)])


async def test_a_cancelled_one_leaves_the_alias_and_can_be_begun_again(cluster: Cluster) -> None:
    """What was copied stays where it is, and follows no longer."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("first", {"fields": {"title": "text"}})
        for name in ("second", "third"):
            await gateway.collections.put(name, TEXT)
        await gateway.aliases.change([AliasChange("shop", "first")])
        await load_into(gateway, "first", [*lamps(50), {"id": "odd", "price": "cheap"}])
        await begin(gateway, "first", "second")
        await until_stopped(gateway)
        with pytest.raises(ConflictError, match="in progress"):
            await begin(gateway, "first", "third")
        with pytest.raises(ConflictError, match="reindex of first into second is copying"):
            await gateway.splits.begin()
        await gateway.reindexes.end()
        await until_is(gateway, "cancelled")
        assert (await gateway.aliases.refresh())["shop"] == "first"
        await gateway.documents.delete("first", "odd")
        await load_into(gateway, "first", [{"id": "later", "title": "lamp"}])
        assert "later" not in stored(cluster, 0, gateway.collections.get("second").uid)
        await begin(gateway, "first", "third")
        assert (await until_is(gateway, "switched")).copied == 51
        await gateway.reindexes.end(after_switch=True)
        await until_is(gateway, "ended")
        await gateway.aliases.change([AliasChange("shop", None)])


async def test_one_can_go_back_until_the_old_collection_is_removed(cluster: Cluster) -> None:
    """It has what was written after the switch; when it is gone, late writes reach the new one."""
    async with gateway_to(cluster) as gateway:
        new_uid = await prepare(gateway, "before", "after", lamps(30))
        old = gateway.collections.get("before")
        await begin(gateway, "before", "after")
        await until_is(gateway, "switched")
        await load_into(gateway, "shop", [{"id": "since", "title": "lamp"}])
        assert "since" in stored(cluster, 0, old.uid)
        await gateway.aliases.change([AliasChange("shop", "before")])
        assert (await gateway.get_document("shop", "since"))["title"] == "lamp"
        await gateway.aliases.change([AliasChange("shop", "after")])
        await gateway.collections.drop("before")
        await until_is(gateway, "ended")
        late = [(shard, pack_op(Delete(old.uid, ["since"]))) for shard in range(2)]
        await gateway.documents._log.append_many(late)
        await settle(gateway, "shop")
        assert stored(cluster, 1, new_uid).keys() == {one["id"] for one in lamps(30)}
        await gateway.aliases.change([AliasChange("shop", None)])


async def test_synonyms_and_expiry_come_along(cluster: Cluster) -> None:
    """The new collection has them when the alias changes, and the old one follows after that."""
    dated = {"fields": {"title": "text", "until": "date"}}
    async with gateway_to(cluster) as gateway:
        for name in ("dated", "dated-2"):
            await gateway.collections.put(name, dated)
        await gateway.aliases.change([AliasChange("shop", "dated")])
        await load_into(gateway, "shop", [{"id": "a", "title": "lamp", "until": "2250-01-01"}])
        await gateway.synonyms.put("shop", SynonymsBody([["lamp", "light"]]))
        await gateway.expiry.set_field("shop", "until")
        await begin(gateway, "dated", "dated-2")
        await until_is(gateway, "switched")
        assert (await gateway.synonyms.get("dated-2")).groups == [["lamp", "light"]]
        assert (await gateway.expiry.get("dated-2")).field == "until"
        assert [hit.id for hit in (await ask(gateway, "shop", "light")).hits] == ["a"]
        await gateway.synonyms.put("shop", SynonymsBody([["lamp", "lantern"]]))
        await gateway.expiry.remove("shop")

        async def is_followed() -> bool:
            synonyms = await gateway.synonyms.get("dated")
            expiry = await gateway.expiry.get("dated")
            return synonyms.groups == [["lamp", "lantern"]] and expiry.field is None

        await until(is_followed, what="the old collection has what the new one has")
        await gateway.collections.drop("dated")
        await until_is(gateway, "ended")
        assert (await gateway.synonyms.get("shop")).groups == [["lamp", "lantern"]]
        await gateway.aliases.change([AliasChange("shop", None)])


async def test_an_expiry_that_the_new_collection_cannot_have_is_refused(cluster: Cluster) -> None:
    """Before anything is copied; the reason names the field."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("ending", {"fields": {"title": "text", "until": "date"}})
        await gateway.collections.put("endless", TEXT)
        await gateway.expiry.set_field("ending", "until")
        with pytest.raises(ConflictError, match="until, which is no date field of endless"):
            await gateway.reindexes.begin(ReindexBody("ending", "endless", "new-name"))


async def test_what_cannot_be_reindexed_is_refused_with_the_reason(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has begun then."""
    async with gateway_to(cluster) as gateway:
        for name, definition in {"full": TEXT, "blank": TEXT, "other": TEXT, "vague": {}}.items():
            await gateway.collections.put(name, definition)
        await load_into(gateway, "full", lamps(2))
        await gateway.aliases.change([AliasChange("taken", "other")])
        refused = {
            ("blank", "full", "new-name"): "has 2 documents",
            ("full", "vague", "new-name"): "no fields yet",
            ("full", "blank", "taken"): "stands for 'other'",
            ("full", "blank", "other"): "is the name of a collection",
        }
        for (old, new, alias), reason in refused.items():
            with pytest.raises(ConflictError, match=reason):
                await gateway.reindexes.begin(ReindexBody(old, new, alias))
        with pytest.raises(NotFoundError, match="'nowhere'"):
            await gateway.reindexes.begin(ReindexBody("full", "nowhere", "new-name"))
        with pytest.raises(BadRequestError, match="is the collection that is copied"):
            await gateway.reindexes.begin(ReindexBody("full", "full", "new-name"))
        older = {
            name: replace(beat, writes=1) for name, beat in gateway._membership.workers.items()
        }
        monkeypatch.setattr(ReindexView, "workers", older)
        with pytest.raises(ConflictError, match=r"w0, w1: .*upgrade"):
            await gateway.reindexes.begin(ReindexBody("full", "blank", "new-name"))
        await gateway.aliases.change([AliasChange("taken", None)])


async def test_a_pair_that_no_reindex_knows_is_ended(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has lost the reindex: what is written to the old collection is for it alone again."""
    monkeypatch.setattr(driver, "ORPHANS_AFTER_S", 0.5)
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("known", {"fields": {"title": "text"}})
        uid = (await gateway.collections.put("unknown", TEXT)).uid
        await load_into(gateway, "known", [*lamps(5), {"id": "odd", "price": "cheap"}])
        await begin(gateway, "known", "unknown")
        await until_stopped(gateway)
        await gateway._control.execute("DEL", gateway._keys.reindex)

        def is_over() -> bool:
            beats = gateway._membership.workers.values()
            pairs = [pair for beat in beats for of in beat.mirrors.values() for pair in of.values()]
            return all(is_turned for _, _, is_turned, *_ in pairs)  # those of earlier tests

        await until(is_over, what="the end of the pair")
        await load_into(gateway, "known", [{"id": "later", "title": "lamp"}])
        assert stored(cluster, 0, uid).keys() == {one["id"] for one in lamps(5)}
