"""Workers that join: real processes that carry out a placement which the test writes."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hedgerow.gateway.gateway import Gateway
from tests.integration.support.placed import asking, placing
from tests.integration.support.snapshots import documents, ids, is_found, make_snapshots
from tests.support.clusters import Cluster, ask, load, load_into, ndjson, running_cluster
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NUM_SHARDS = 2


@pytest.fixture
def cluster(own_server: RedisServer, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers that join, over two shards; no snapshots are made."""
    with running_cluster(own_server, tmp_path, num_shards=NUM_SHARDS, joins=True) as running:
        yield running


@pytest.fixture
def copied(own_server: RedisServer, tmp_path: Path) -> Iterator[Cluster]:
    """The same with snapshots, which are made by command."""
    environment = {
        "HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots"),
        "HEDGEROW_SNAPSHOTS__INTERVAL_S": "0",
    }
    with running_cluster(
        own_server, tmp_path, num_shards=NUM_SHARDS, joins=True, environment=environment
    ) as running:
        yield running


async def test_a_worker_without_shards_waits_for_a_placement(cluster: Cluster) -> None:
    """It is live, offers its place, and takes up what it is assigned once there is a placement."""
    async with placing(cluster) as placed:
        await placed.until_serves("w0")
        await placed.until_serves("w1")
        beat = await placed.beat("w0")
        assert beat is not None
        assert (beat.joins, beat.capacity, beat.stored, beat.placement) == (True, 1.0, [], 0)
        await placed.place({0: ["w0"], 1: ["w0"]})
        await placed.until_carried_out("w0", "w1")
        assert await placed.serves("w0", 0, 1)
        assert await placed.serves("w1")
        async with Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as gateway:
            await load(gateway, "books", documents(0, 50))
            async with asking(gateway, "books", "common") as questions:
                await until(lambda: len(questions.results) > 5)
        questions.check(ids(0, 50), 5)
        beat = await placed.beat("w0")
        assert beat is not None
        assert beat.stored == [0, 1]


async def test_a_shard_is_handed_over_under_queries_and_writes(copied: Cluster) -> None:
    """It is made before it is broken: each answer is whole, and no write is lost.

    The first worker has nothing left of it at the end: no files, and no replica in the log.
    """
    async with placing(copied) as placed:
        await placed.place({0: ["w0"], 1: ["w0"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(copied.settings, num_shards=NUM_SHARDS) as gateway:
            await load(gateway, "books", documents(0, 300))
            await make_snapshots(copied.server, NUM_SHARDS)
            await load_into(gateway, "books", documents(300, 400))
            async with (
                asking(gateway, "books", "common") as questions,
                _writing(gateway) as written,
            ):
                await placed.place({0: ["w0"], 1: ["w0"]}, {1: ["w1"]})
                await placed.until_serves("w1", 1)
                assert await placed.serves("w0", 0, 1)
                await placed.place({0: ["w0"], 1: ["w1"]})
                await placed.until_carried_out("w0", "w1")
                await until(lambda: not placed.has_folder(0, 1))
                # On a fast machine, the shard moves before this many searches are answered.
                await until(lambda: len(questions.results) >= 20)
            questions.check(ids(0, 400), 20)
            assert written
            assert await placed.serves("w0", 0)
            assert await placed.serves("w1", 1)
            await until(lambda: placed.is_forgotten(1, 1))
            await load_into(gateway, "books", documents(400, 450))
            async with asking(gateway, "books", "common") as questions:
                await until(lambda: len(questions.results) > 5)
            questions.check(ids(0, 450), 5)
            found = await ask(gateway, "books", "written", k=1000, deadline_ms=20_000.0)
            assert {hit.id for hit in found.hits} == written


@asynccontextmanager
async def _writing(gateway: Gateway) -> AsyncIterator[set[str]]:
    """Writes that are applied one after the other during the block; yields their ids."""
    written: set[str] = set()
    is_over = asyncio.Event()

    async def write() -> None:
        for first in range(1000, 1900, 10):
            if is_over.is_set():
                return
            some = [{"id": f"d{number}", "text": "written"} for number in range(first, first + 10)]
            written.update(one["id"] for one in some)
            await load_into(gateway, "books", some)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        try:
            yield written
        finally:
            is_over.set()


async def test_a_worker_that_is_killed_while_it_joins_goes_on_where_it_was(
    copied: Cluster,
) -> None:
    """Meanwhile the other serves; when the killed one is back, it takes the shard up.

    What it had pulled, if it had just begun to serve, is asked again once its death is noticed.
    """
    async with placing(copied) as placed:
        await placed.place({0: ["w0"], 1: ["w0"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(copied.settings, num_shards=NUM_SHARDS) as gateway:
            await load(gateway, "books", documents(0, 3000))
            await make_snapshots(copied.server, NUM_SHARDS)
            async with asking(gateway, "books", "word7 OR word8") as questions:
                for pause_s in (0.02, 0.1, 0.3):
                    await placed.place({0: ["w0"], 1: ["w0"]}, {1: ["w1"]})
                    await asyncio.sleep(pause_s)  # wherever it is then
                    copied.kill(1)
                    copied.start(1)
                    await placed.until_is(1)
                    await placed.until_serves("w1", 1)
                    await placed.place({0: ["w0"], 1: ["w0"]})
                    await placed.until_serves("w1")
                    await until(lambda: not placed.has_folder(1, 1))
            questions.check({"d7", "d8"}, 20)


async def test_a_worker_that_restarts_keeps_its_name_and_its_shards(cluster: Cluster) -> None:
    """It serves from the data on its disk, though the log no longer has all of it."""
    async with placing(cluster) as placed:
        await placed.place({0: ["w0"], 1: ["w1"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as gateway:
            await load(gateway, "books", documents(0, 100))
            cluster.workers[1].send_signal(signal.SIGTERM)
            assert cluster.workers[1].wait(60) == 0
            await gateway.documents.load("books", ndjson(documents(100, 120)), "logged")
            cluster.start(1)
            await placed.until_is(1)
            await placed.until_serves("w1", 1)
            await until(lambda: is_found(gateway, ids(0, 120)))
            async with asking(gateway, "books", "common") as questions:
                await until(lambda: len(questions.results) > 5)
            questions.check(ids(0, 120), 5)


async def test_without_snapshots_a_shard_is_taken_up_from_a_whole_log_alone(
    cluster: Cluster,
) -> None:
    """If a part of the log is gone, the new worker does not serve the shard, and says why.

    The worker that has it goes on, even if the placement names the other as owner.
    """
    async with placing(cluster) as placed:
        await placed.place({0: ["w0"], 1: ["w0"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as gateway:
            await placed.place({0: ["w0"], 1: ["w0"]}, {0: ["w1"]})
            await placed.until_serves("w1", 0)  # nothing was written yet
            await load(gateway, "books", documents(0, 100))
            await until(lambda: _is_trimmed(gateway))
            await placed.place({0: ["w0"], 1: ["w0"]}, {0: ["w1"], 1: ["w1"]})

            async def is_told() -> bool:
                beat = await placed.beat("w1")
                return beat is not None and beat.gaps == [1] and "log" in beat.unready.get(1, "")

            await until(is_told)
            await placed.place({0: ["w0"], 1: ["w1"]}, {0: ["w1"]})
            async with asking(gateway, "books", "common") as questions:
                await until(lambda: len(questions.results) > 20)
                assert await placed.serves("w0", 0, 1)
                assert await placed.serves("w1", 0)
            questions.check(ids(0, 100), 20)


async def test_a_snapshot_that_comes_later_closes_the_gap_of_a_new_worker(
    copied: Cluster,
) -> None:
    """A worker that joined before there was one restores it by itself, and serves the shard.

    The log waits for nothing that the copy with the gap had.
    """
    async with placing(copied) as placed:
        await placed.place({0: ["w0"], 1: ["w0"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(copied.settings, num_shards=NUM_SHARDS) as gateway:
            await load(gateway, "books", documents(0, 100))
            last = (await placed.log.last_ids([1]))[1]
            # As after a split, where clones begin with documents that their logs never had.
            await placed.log.trim_to(1, last)
            await placed.place({0: ["w0"], 1: ["w0"]}, {1: ["w1"]})

            async def has_gap() -> bool:
                beat = await placed.beat("w1")
                return beat is not None and beat.gaps == [1]

            await until(has_gap)
            assert await placed.serves("w1")
            await make_snapshots(copied.server, NUM_SHARDS)
            await placed.until_serves("w1", 1)
            await placed.place({0: ["w0"], 1: ["w1"]})
            await placed.until_carried_out("w0", "w1")
            async with asking(gateway, "books", "common") as questions:
                await until(lambda: len(questions.results) > 5)
            questions.check(ids(0, 100), 5)
            await until(lambda: placed.is_forgotten(1, 1))


async def _is_trimmed(gateway: Gateway) -> bool:
    return set((await gateway.documents._log.lengths(range(NUM_SHARDS))).values()) == {0}


async def test_a_placement_that_names_strangers_costs_nothing(cluster: Cluster) -> None:
    """A shard stays where it is until the worker that is to have it serves it."""
    async with placing(cluster) as placed:
        await placed.place({0: ["w0"], 1: ["w0"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as gateway:
            await load(gateway, "books", documents(0, 50))
            await placed.place({0: ["w0"], 1: ["never there"]})
            async with asking(gateway, "books", "common") as questions:
                await until(lambda: len(questions.results) > 100)
            questions.check(ids(0, 50), 100)
            assert await placed.serves("w0", 0, 1)
            assert placed.has_folder(0, 1)


async def test_a_failed_restore_is_told_and_tried_again(copied: Cluster, tmp_path: Path) -> None:
    """The reason is in the heartbeat; when the snapshots are back, the shard is taken up."""
    async with placing(copied) as placed:
        await placed.place({0: ["w0"], 1: ["w0"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(copied.settings, num_shards=NUM_SHARDS) as gateway:
            await load(gateway, "books", documents(0, 100))
            await make_snapshots(copied.server, NUM_SHARDS)
            stores = list((tmp_path / "snapshots").rglob("store.sqlite"))
            assert stores
            for store in stores:
                store.rename(store.with_name("away"))
            await placed.place({0: ["w0"], 1: ["w0"]}, {1: ["w1"]})

            async def is_told() -> bool:
                beat = await placed.beat("w1")
                return beat is not None and "snapshot" in beat.unready.get(1, "")

            await until(is_told)
            assert await placed.serves("w1")
            for store in stores:
                store.with_name("away").rename(store)
            await placed.until_serves("w1", 1)
            beat = await placed.beat("w1")
            assert beat is not None
            assert beat.unready == {}


async def test_what_is_held_is_served_on_after_redis_was_away(cluster: Cluster) -> None:
    """A worker lets go of nothing when Redis comes back without the placement."""
    async with placing(cluster) as placed:
        await placed.place({0: ["w0"], 1: ["w1"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as gateway:
            await load(gateway, "books", documents(0, 50))
            await placed.registry._control.execute("DEL", "hedgerow:placement")
            await placed.registry._control.execute("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: is_found(gateway, ids(0, 50)))
            async with asking(gateway, "books", "common") as questions:
                await until(lambda: len(questions.results) > 100)
            questions.check(ids(0, 50), 100)
