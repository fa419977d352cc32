"""Term statistics of a whole collection, collected, summed and spread by jobs."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgpack
import pytest
from arq.connections import ArqRedis

from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.pool import connection_pool
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.events import Loaded
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import StatisticsStore, version_of
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from hedgerow.shard_worker.control.jobs import Jobs
from hedgerow.shard_worker.control.queues import JOB_TIMEOUT_S, JobQueues, retry
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.storage.term_statistics import Summed
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.integration.support import town as towns
from tests.integration.support.town import (
    NUM_SHARDS,
    PLAIN,
    WORDS,
    Town,
    frequencies,
    texts,
)
from tests.support.clusters import ndjson
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SEVERAL_PERIODS_S = 1.5

town = towns.town


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the jobs do each second, or after a second, they do five times as often here."""
    for period in ("queues.POLL_S", "jobs.SUM_AFTER_S", "jobs.QUIET_S"):
        monkeypatch.setattr(f"hedgerow.shard_worker.control.{period}", 0.2)
    monkeypatch.setattr("hedgerow.common.redis.reconcile.TICK_S", 0.2)


async def test_every_worker_gets_the_sum(town: Town) -> None:
    """After a load each worker's table has each term's frequency over all shards, for good."""
    async with AsyncExitStack() as workers:
        members = [
            await workers.enter_async_context(town.worker(name, *shards))
            for name, shards in (("a", (0, 1)), ("b", (2, 3)))
        ]
        uid = (await town.collections.put("texts", PLAIN)).uid
        documents = texts(500)
        await town.documents.load("texts", ndjson(documents))
        await until(lambda: town.is_spread(uid, *members))
        for member in members:
            table = member.table(uid)
            assert table.documents == 500
            for word, count in frequencies(documents).items():
                assert table.document_frequency("title", word) == count
            table.close()
        # Fitting the indexes to the sum must not count as a change that asks for another sum.
        version = members[0].jobs.tables()[uid]
        await asyncio.sleep(SEVERAL_PERIODS_S)
        assert members[0].jobs.tables()[uid] == version
        # A second load is summed too, since it changes much.
        more = texts(500, first=500)
        await town.documents.load("texts", ndjson(more))

        async def is_newer() -> bool:
            spread = await town.is_spread(uid, *members)
            return spread and members[0].jobs.tables()[uid] != version

        await until(is_newer)
        table = members[1].table(uid)
        assert table.documents == 1000
        for word, count in frequencies([*documents, *more]).items():
            assert table.document_frequency("title", word) == count
        table.close()


async def test_a_trickle_is_summed_once_an_interval(town: Town) -> None:
    """A few changes are not summed before the interval is over, and then they are."""
    async with town.worker("a", *range(NUM_SHARDS), interval_s=3600.0) as member:
        uid = (await town.collections.put("texts", PLAIN)).uid
        await town.documents.load("texts", ndjson(texts(2000)))
        await until(lambda: town.is_spread(uid, member))
        version = member.jobs.tables()[uid]
        await town.documents.load("texts", ndjson([{"id": "new", "title": "rare"}]))
        await asyncio.sleep(SEVERAL_PERIODS_S)
        assert member.jobs.tables()[uid] == version
    async with town.worker("a", *range(NUM_SHARDS), interval_s=1.0) as member:

        def is_known() -> bool:
            table = member.table(uid)
            known = table.document_frequency("title", "rare") == 1
            table.close()
            return known

        await until(is_known)


async def test_only_what_is_announced_is_counted_while_so_asked(town: Town) -> None:
    """Copies of a split come in many small loads; the end of the last is announced."""
    async with town.worker("a", *range(NUM_SHARDS)) as member:
        member.jobs.only_asked = True
        uid = (await town.collections.put("texts", PLAIN)).uid
        await town.documents.load("texts", ndjson(texts(200)))
        await asyncio.sleep(SEVERAL_PERIODS_S)
        assert not (await town.board.status([uid], NUM_SHARDS))[uid].labels
        ends = {shard: await town.log.newest(shard) for shard in range(NUM_SHARDS)}
        await town.board.announce(Loaded("token", uid, ends).pack())
        await until(lambda: town.counts(uid, 200, member))


async def test_a_worker_that_comes_later_catches_up(town: Town) -> None:
    """A worker that starts again, or late, gets the sum without anything being loaded."""
    async with town.worker("a", 0, 1) as first:
        async with town.worker("b", 2, 3) as second:
            uid = (await town.collections.put("texts", PLAIN)).uid
            await town.documents.load("texts", ndjson(texts(200)))
            await until(lambda: town.is_spread(uid, first, second))
        status = (await town.board.status([uid], NUM_SHARDS))[uid]
        second.path(uid).unlink()
        async with town.worker("b", 2, 3) as again:
            await until(lambda: town.is_spread(uid, first, again))
            table = again.table(uid)
            assert table.documents == 200
            table.close()
            # Nothing had changed, so nothing was collected again.
            assert (await town.board.status([uid], NUM_SHARDS))[uid] == status


async def test_a_job_waits_for_its_worker(town: Town) -> None:
    """A shard's job that is requested while no worker serves the shard runs when one does."""
    async with town.worker("a", *range(NUM_SHARDS)) as member:
        uid = (await town.collections.put("texts", PLAIN)).uid
        await town.documents.load("texts", ndjson(texts(200)))
        await until(lambda: town.is_spread(uid, member))
    await town.control.execute("DEL", town.keys.shard_statistics(uid))
    pool = connection_pool(RedisSettings(url=town.server.url), town.control.primary)
    redis = ArqRedis(pool_or_conn=pool, job_serializer=_pack)
    for _ in range(2):  # the second is the same job, and there once
        await redis.enqueue_job(
            "collect_statistics",
            uid,
            2,
            _job_id=f"{town.keys.prefix}:collect:{uid}:2",
            _queue_name=f"{town.keys.jobs}:2",
        )
    assert await redis.zcard(f"{town.keys.jobs}:2") == 1
    async with town.worker("a", *range(NUM_SHARDS)) as member:

        async def is_done() -> bool:
            return not await redis.zcard(f"{town.keys.jobs}:2")

        await until(is_done)
        await until(lambda: town.is_spread(uid, member))
    await pool.disconnect()


def _pack(job: Any) -> bytes:
    packed: bytes = msgpack.packb(job)
    return packed


async def test_a_job_in_hands_that_never_end_it_is_soon_asked_for_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Well before arq takes a job from who hangs with it, or was killed, a replica has done it."""
    again_s = 2.0
    monkeypatch.setattr("hedgerow.shard_worker.control.queues.JOB_AGAIN_S", again_s)
    collect, held = Jobs._collect, set[int]()

    async def hang(jobs: Jobs, uid: str, shard: int) -> None:
        if shard not in held:
            held.add(shard)
            await asyncio.Event().wait()
        await collect(jobs, uid, shard)

    monkeypatch.setattr(Jobs, "_collect", hang)
    shards = range(NUM_SHARDS)
    async with town.worker("a", *shards) as one, town.worker("b", *shards) as other:
        uid = (await town.collections.put("texts", PLAIN)).uid
        await town.documents.load("texts", ndjson(texts(200)))
        await until(lambda: town.is_spread(uid, one, other), timeout_s=0.8 * JOB_TIMEOUT_S)
    assert held == set(shards)


async def test_a_dropped_collection_leaves_no_table(town: Town) -> None:
    """Dropping a collection removes its statistics in Redis and on every worker's disk."""
    async with town.worker("a", *range(NUM_SHARDS)) as member:
        uid = (await town.collections.put("texts", PLAIN)).uid
        await town.documents.load("texts", ndjson(texts(200)))
        await until(lambda: town.is_spread(uid, member))
        await town.collections.drop("texts")
        await until(lambda: not member.has_table(uid))
        assert await town.control.execute("EXISTS", town.keys.statistics(uid)) == 0
        assert await town.control.execute("EXISTS", town.keys.shard_statistics(uid)) == 0


async def test_one_worker_claims_a_sum(town: Town) -> None:
    """Of several that could make it, one does; so it is with each later version."""
    store = StatisticsStore(town.control, town.keys)
    for version in (b"first-version-...", bytes(range(240, 256)), b"first-version-..."):
        claims = await asyncio.gather(*(store.claim_sum("u", version) for _ in range(4)))
        assert sorted(claims) == [False, False, False, True]


async def test_a_claim_of_a_sum_ends_however_many_want_it(town: Town) -> None:
    """If the worker that has it dies, it does not last for as long as others ask for it."""
    store, key = StatisticsStore(town.control, town.keys), town.keys.statistics_claim("u")
    version = b"of-all-shards..."
    assert await store.claim_sum("u", version)
    await town.control.execute("PEXPIRE", key, 5000)
    assert not await store.claim_sum("u", version)
    assert await town.control.execute("PTTL", key) <= 5000


async def test_a_sum_does_not_replace_one_of_newer_statistics(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that sums while another sums newer statistics, and ends later, leaves it at that.

    Otherwise no sum would be that of the newest, and none would be made: each was claimed.
    """
    sum_parts, put_sum = IndexerClient.sum, StatisticsStore.put_sum
    versions: list[bytes] = []
    older: list[bytes] = []

    async def sum_slowly(indexer: IndexerClient, parts: list[bytes]) -> Summed:
        summed = await sum_parts(indexer, parts)
        if not older:
            labels, _ = await town.board.shards(uid)
            older.append(version_of(labels))
            labels[0] = f"{labels[0]}0"
            state = await town.log.newest(0)
            await town.board.put_shard(uid, 0, labels[0], parts[0], state)
            await town.board.put_sum(uid, labels, summed.statistics, summed.words)
        return summed

    async def put(
        board: StatisticsStore, uid: str, labels: dict[int, str], statistics: bytes, words: bytes
    ) -> None:
        versions.append(version_of(labels))
        await put_sum(board, uid, labels, statistics, words)

    monkeypatch.setattr(IndexerClient, "sum", sum_slowly)
    monkeypatch.setattr(StatisticsStore, "put_sum", put)
    async with town.worker("a", *range(NUM_SHARDS)) as member:
        uid = (await town.collections.put("texts", PLAIN)).uid
        await town.documents.load("texts", ndjson(texts(200)))
        await until(lambda: town.is_spread(uid, member))
        assert versions
        assert older[0] not in versions


async def test_what_waits_in_a_queue_is_run_until_it_is_empty(town: Town) -> None:
    """Each job is run, one that is to be tried again, too; then the queue is empty."""
    control, queue, ran = town.control, f"{town.keys.jobs}:some", list[str]()

    async def job() -> None:
        ran.append("a job")
        if len(ran) == 1:
            raise retry(0.0)

    connected = JobQueues.connect(town.keys, control.settings, control.primary)
    async with connected as queues:
        await queues.run_waiting(queue, "work", job)
        assert not ran
        for number in range(3):
            await queues.enqueue(queue, "work", job_id=f"work:{number}")
        await queues.run_waiting(queue, "work", job)
        assert len(ran) == 4
        assert await control.execute("EXISTS", queue) == 0


async def test_jobs_outlive_the_server(
    own_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A server that is killed and comes back empty of jobs has them asked for again."""
    control = await connect(RedisSettings(url=own_server.url, reconnect_max_s=0.2))
    keys = Keys(key_prefix)
    registry = Registry(control, keys)
    await registry.cluster(NUM_SHARDS)
    collections = Collections(registry, NUM_SHARDS, Settings().rank_profiles)
    documents = Documents(
        ShardLog(control, keys), collections, NUM_SHARDS, Settings().limits, write_timeout_s=20
    )
    town = Town(
        own_server,
        tmp_path,
        control,
        keys,
        collections,
        documents,
        StatisticsStore(control, keys),
    )
    async with town.worker("a", *range(NUM_SHARDS)) as member:
        uid = (await collections.put("texts", PLAIN)).uid
        await documents.load("texts", ndjson(texts(200)))
        own_server.stop(kill=True)
        await asyncio.sleep(0.5)
        own_server.start()
        await registry.cluster(NUM_SHARDS)
        await until(lambda: town.is_spread(uid, member))
    await control.close()


async def test_a_load_that_is_waited_for_counts_when_it_returns(town: Town) -> None:
    """At that moment every worker has the table, and indexes that fit it, without another look.

    Also when the load is a second one, brings nothing and waits for what was only logged before,
    or is at the same time as another.
    """
    async with (
        town.worker("a", 0, 1) as first,
        town.worker("b", 2, 3) as second,
        town.waiting_for(first, second) as documents,
    ):
        uid = (await town.collections.put("texts", PLAIN)).uid

        async def check(total: int) -> None:
            assert await town.counts(uid, total, first, second)
            for member in (first, second):
                table = member.table(uid)
                for shard in member.applier.states:
                    index = TextIndex.open(member.settings.data / "shards" / str(shard) / uid)
                    off = index.average_length("title", WORDS) - table.average_lengths["title"]
                    assert abs(off) * index.max_doc <= 0.51  # words come whole
                table.close()

        await documents.load("texts", ndjson(texts(200)), "applied")
        await check(200)
        await documents.load("texts", ndjson(texts(200, first=200)), "applied")
        await check(400)
        await documents.load("texts", ndjson(texts(200, first=400)), "logged")
        await documents.load("texts", ndjson([]), "applied")
        await check(600)
        parts = [texts(100, first=600), texts(100, first=700)]
        await asyncio.gather(*(documents.load("texts", ndjson(one), "applied") for one in parts))
        await check(800)


async def test_replicas_leave_statistics_to_one_of_them(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two live replicas of each shard collect once, and then leave it at that.

    When the worker that has collected is gone, the other collects again, once.
    """
    every = range(NUM_SHARDS)
    collected: list[str] = []
    put_shard = StatisticsStore.put_shard

    async def put(
        board: StatisticsStore, uid: str, shard: int, label: str, body: bytes, entry_id: str
    ) -> None:
        collected.append(label)
        await put_shard(board, uid, shard, label, body, entry_id)

    # A busy machine may pause within a load: that is not to look like its end.
    monkeypatch.setattr("hedgerow.shard_worker.control.jobs.QUIET_S", 1.0)

    async def num_collected(most_late: int) -> int:
        """How often shards were collected, once they are no more; fails if many end later."""
        at_first, before = len(collected), -1
        while before < len(collected):
            before = len(collected)
            await asyncio.sleep(SEVERAL_PERIODS_S)
            assert len(collected) - at_first <= most_late
        return before

    monkeypatch.setattr(StatisticsStore, "put_shard", put)
    async with town.worker("a", *every, interval_s=1.0) as first:
        async with town.worker("b", *every, interval_s=1.0) as second, town.beating(first, second):
            uid = (await town.collections.put("texts", PLAIN)).uid
            await town.documents.load("texts", ndjson(texts(400)), "applied")
            await until(lambda: town.is_spread(uid, first, second))
            # Both may begin at the same time, and one of them end later, but no oftener.
            assert await num_collected(most_late=NUM_SHARDS) <= 2 * NUM_SHARDS
            await town.documents.load("texts", ndjson(texts(400, first=400)), "applied")
            await until(lambda: town.counts(uid, 800, first, second))
            await num_collected(most_late=NUM_SHARDS)
        async with town.beating(first):
            own = set(first.applier.progress()["replicas"].values())
            await until(lambda: town.is_collected_by(uid, own))
            await num_collected(most_late=0)
            assert await town.counts(uid, 800, first)


async def test_a_replica_that_is_away_does_not_hold_statistics_up(town: Town) -> None:
    """The log that is kept for a replica that is gone does not look like a load under way."""
    for shard in range(NUM_SHARDS):
        await town.log.record_applied(shard, "gone", "0-1")
    async with town.worker("a", *range(NUM_SHARDS)) as member:
        uid = (await town.collections.put("texts", PLAIN)).uid
        await town.documents.load("texts", ndjson(texts(200)), "logged")
        await until(lambda: town.is_spread(uid, member))
        assert min((await town.log.lengths(range(NUM_SHARDS))).values()) > 0


async def test_a_replica_that_lacks_documents_collects_nothing(town: Town) -> None:
    """A worker whose shards have gaps leaves the job to one that has all."""
    every = range(NUM_SHARDS)
    async with town.worker("a", *every) as first:
        uid = (await town.collections.put("texts", PLAIN)).uid
        await town.documents.load("texts", ndjson(texts(400)), "applied")
        await until(lambda: town.is_spread(uid, first))

        async def is_trimmed() -> bool:
            return set((await town.log.lengths(every)).values()) == {0}

        await until(is_trimmed)
        async with town.worker("b", *every) as second, town.beating(first, second):
            assert second.applier.gaps == set(every)
            await town.documents.load("texts", ndjson(texts(400, first=400)), "logged")
            await until(lambda: town.counts(uid, 800, first, second), timeout_s=60)
            own = set(first.applier.progress()["replicas"].values())
            assert await town.is_collected_by(uid, own)
