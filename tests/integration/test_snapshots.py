"""Snapshots of a cluster of real workers, and what comes back from them."""

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hedgerow.common.redis.keys import Keys
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.gateway.gateway import Gateway
from tests.integration.support.snapshots import (
    NUM_SHARDS,
    PREFIX,
    boarding,
    documents,
    ids,
    is_found,
    lose_disks,
    make_snapshots,
    restart,
)
from tests.support.clusters import (
    AS_ANY_OTHER,
    Cluster,
    ask,
    gateway_to,
    load,
    load_into,
    running_cluster,
)
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PATIENT_S = 60.0


@pytest.fixture
def cluster(own_server: RedisServer, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers with a shard each, whose snapshots are signed, and made by command."""
    environment = {
        **AS_ANY_OTHER,
        "HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots"),
        "HEDGEROW_SNAPSHOTS__INTERVAL_S": "0",
        "HEDGEROW_SNAPSHOTS__KEY": "a key of the cluster's own",
    }
    with running_cluster(
        own_server, tmp_path, num_shards=NUM_SHARDS, environment=environment
    ) as running:
        yield running


async def test_lost_disks_come_back_with_every_document(cluster: Cluster) -> None:
    """With Redis kept, what was written after the snapshot is in the log: nothing is missing."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "books", documents(0, 200))
        made = await make_snapshots(cluster.server, NUM_SHARDS)
        assert sum(one.documents for one in made.values()) == 200
        await load(gateway, "books", documents(150, 260))
        await gateway.documents.delete("books", "d3")
    lose_disks(cluster)
    restart(cluster)
    expected = ids(0, 260) - {"d3"}
    async with gateway_to(cluster) as gateway:
        await until(lambda: is_found(gateway, expected), PATIENT_S)
        await load(gateway, "books", documents(260, 270))
        await until(lambda: is_found(gateway, expected | ids(260, 270)), PATIENT_S)


async def test_an_empty_worker_takes_no_snapshot_of_another_key(
    cluster: Cluster, tmp_path: Path
) -> None:
    """It ends rather than start from what strangers may have written; with the key it starts."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "books", documents(0, 10))
        await make_snapshots(cluster.server, NUM_SHARDS)
    for place in (tmp_path / "snapshots").rglob("manifest.json"):
        assert len(json.loads(place.read_bytes())["signature"]) == 64
    lose_disks(cluster)
    ours = cluster.environment
    cluster.environment = {**ours, "HEDGEROW_SNAPSHOTS__KEY": "a key of another cluster"}
    cluster.start(0)
    assert cluster.workers[0].wait(60) == 1
    cluster.environment = ours
    restart(cluster)
    async with gateway_to(cluster) as gateway:
        await until(lambda: is_found(gateway, ids(0, 10)), PATIENT_S)


async def test_a_lost_redis_as_well_leaves_what_the_snapshot_has(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Definitions and documents are those of the snapshot, and new writes are not passed over.

    No worker takes the logs, which begin again, for those of a server that has lost their ends.
    """
    cluster.log = tmp_path / "workers.log"
    async with gateway_to(cluster) as gateway:
        await load(gateway, "books", documents(0, 200))
        await make_snapshots(cluster.server, NUM_SHARDS)
        await load(gateway, "books", documents(200, 220))
    lose_disks(cluster)
    cluster.server.stop(kill=True)
    cluster.server.start()
    restart(cluster)
    async with gateway_to(cluster) as gateway:
        await until(lambda: bool(gateway.collections.names()))
        await until(lambda: is_found(gateway, ids(0, 200)), PATIENT_S)
        await load(gateway, "books", documents(300, 330))
        await until(lambda: is_found(gateway, ids(0, 200) | ids(300, 330)), PATIENT_S)
    said = cluster.log.read_text(encoding="utf-8")
    assert "definition_revived" in said
    assert "log_end_lost" not in said


async def test_a_snapshot_from_before_fields_were_added_is_filled(cluster: Cluster) -> None:
    """The log says which were added since; the documents of the snapshot have them in the end.

    If Redis is lost as well, the collection is as the snapshot has it, and can be given fields.
    """
    added = {"fields": {"word": "keyword"}}
    rows = [{**one, "word": one["text"].split()[1]} for one in documents(0, 200)]
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", {"fields": {"text": "text"}})
        await load_into(gateway, "books", rows)
        await make_snapshots(cluster.server, NUM_SHARDS)
        await gateway.collections.add_fields("books", added)
    for loses_redis in (False, True):
        lose_disks(cluster)
        if loses_redis:
            cluster.server.stop(kill=True)
            cluster.server.start()
        restart(cluster)
        async with gateway_to(cluster) as gateway:
            await until(lambda: bool(gateway.collections.names()))
            await until(lambda: is_found(gateway, ids(0, 200)), PATIENT_S)
            if loses_redis:
                assert gateway.collections.get("books").fields == {"text": "text"}
                await gateway.collections.add_fields("books", added)

            async def is_filled() -> bool:
                filling = (await gateway.collections.describe("books"))["filling"]
                return filling is None and gateway._membership.live == [True] * NUM_SHARDS

            await until(is_filled, PATIENT_S)
            found = await ask(gateway, "books", "word:word7")
            assert [hit.id for hit in found.hits] == ["d7"]
            assert found.coverage.fraction == 1.0


@dataclass
class Replicated(Cluster):
    """Every worker serves every shard."""

    def shards_of(self, worker: int) -> list[int]:
        """All shards."""
        return list(range(self.num_shards))


@pytest.fixture
def replicas(own_server: RedisServer, tmp_path: Path) -> Iterator[Replicated]:
    """Two replicas of one shard; the newest two snapshots are kept."""
    cluster = Replicated(
        own_server,
        tmp_path,
        num_shards=1,
        environment={
            **AS_ANY_OTHER,
            "HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots"),
            "HEDGEROW_SNAPSHOTS__INTERVAL_S": "0",
            "HEDGEROW_SNAPSHOTS__KEEP": "2",
        },
    )
    try:
        yield cluster
    finally:
        cluster.stop()


def on_target(folder: Path) -> list[Path]:
    """What there is of shard 0's snapshots, complete or not, oldest first."""
    return sorted((folder / "snapshots" / PREFIX / "shard-0").glob("*"))


async def test_one_replica_makes_a_snapshot(replicas: Replicated, tmp_path: Path) -> None:
    """Each snapshot that is asked for is made once; the newest ones are kept, and all is whole."""
    restart(replicas)
    async with gateway_to(replicas) as gateway, boarding(replicas.server) as (board, _):
        for number in range(4):
            await load(gateway, "books", documents(number * 10, number * 10 + 10))
            await make_snapshots(replicas.server, 1)
            assert (await board.status([0]))[0].begun == number + 1
        await until(lambda: len(on_target(tmp_path)) == 2)
    store = SnapshotStore(str(tmp_path / "snapshots"), PREFIX)
    kept = list(store.manifests(0))
    assert [one.documents for one in kept] == [40, 30]
    for one in kept:
        store.verify(one)


async def test_the_log_waits_for_the_snapshot_and_loads_do_not(
    replicas: Replicated, tmp_path: Path
) -> None:
    """What all have applied stays in the log until a snapshot has it, and counts as no backlog."""
    restart(replicas)
    async with gateway_to(replicas) as gateway, boarding(replicas.server) as (board, log):
        for number in range(5):
            await load(gateway, "books", documents(number, number + 1))

        async def is_no_backlog() -> bool:
            return await log.length(0) == 0

        await until(is_no_backlog, PATIENT_S)
        key = Keys(PREFIX).log(0)
        length = await board._control.execute("XLEN", key)
        assert length >= 5
        assert (await board.status([0]))[0].num_kept == length
        replicas.kill(1)
        replicas.start(1)  # one that counts again what is kept
        await load(gateway, "books", documents(5, 6))
        await until(is_no_backlog, PATIENT_S)
        await make_snapshots(replicas.server, 1)

        async def is_trimmed() -> bool:
            return bool(await board._control.execute("XLEN", key) == 0)

        await until(is_trimmed, PATIENT_S)
        await until(is_no_backlog, PATIENT_S)


async def test_an_empty_replica_joins_beside_a_live_one(
    replicas: Replicated, tmp_path: Path
) -> None:
    """It starts from the snapshot, follows the log, and answers alone as the other one did."""
    replicas.start(0)
    async with gateway_to(replicas) as gateway:
        await load(gateway, "books", documents(0, 100))
        await make_snapshots(replicas.server, 1)
        await load(gateway, "books", documents(90, 130))
        replicas.start(1)
        store = replicas.data(1) / "shards" / "0" / "store.sqlite"
        await until(store.exists, PATIENT_S)

        async def have_both() -> bool:
            async with boarding(replicas.server) as (_, log):
                applied = await log.applied(0)
                return len(applied) == 2 and len(set(applied.values())) == 1

        await until(have_both, PATIENT_S)
        replicas.kill(0)
        await until(lambda: is_found(gateway, ids(0, 130)), PATIENT_S)


async def test_a_replica_that_is_gone_holds_nothing_up(
    replicas: Replicated, tmp_path: Path
) -> None:
    """The log is not kept for a lost disk once a snapshot has what was on it.

    The snapshot is there before the replica is forgotten, and then nothing else happens.
    """
    replicas.environment["HEDGEROW_SNAPSHOTS__FORGET_REPLICA_S"] = "4"
    restart(replicas)
    async with gateway_to(replicas) as gateway, boarding(replicas.server) as (board, log):
        await load(gateway, "books", documents(0, 10))

        async def are_known(count: int) -> bool:
            return len(await log.applied(0)) == count

        await until(lambda: are_known(2))
        replicas.lose(1)
        await until(lambda: len(gateway._membership.replicas_of(0)) == 1)
        await load(gateway, "books", documents(10, 20))
        await make_snapshots(replicas.server, 1)

        async def is_trimmed() -> bool:
            return bool(await board._control.execute("XLEN", Keys(PREFIX).log(0)) == 0)

        await until(is_trimmed, PATIENT_S)
        assert await are_known(1)
        replicas.start(1)
        await until(lambda: len(gateway._membership.replicas_of(0)) == 2, PATIENT_S)
        replicas.kill(0)
        await until(lambda: is_found(gateway, ids(0, 20)), PATIENT_S)


async def test_an_old_copy_whose_gap_a_snapshot_closes(
    replicas: Replicated, tmp_path: Path
) -> None:
    """A folder restored from an old copy is replaced by the snapshot that has what it missed."""
    replicas.start(0)
    async with gateway_to(replicas) as gateway:
        await load(gateway, "books", documents(0, 50))
    replicas.workers[0].terminate()
    replicas.workers[0].wait(60)
    shutil.copytree(replicas.data(0), tmp_path / "old")
    replicas.start(0)
    async with gateway_to(replicas) as gateway, boarding(replicas.server) as (board, _):
        await load(gateway, "books", documents(50, 80))
        await make_snapshots(replicas.server, 1)

        async def is_trimmed() -> bool:
            return bool(await board._control.execute("XLEN", Keys(PREFIX).log(0)) == 0)

        await until(is_trimmed, PATIENT_S)
        await load(gateway, "books", documents(80, 90))
        replicas.lose(0)
        (tmp_path / "old").rename(replicas.data(0))
        replicas.start(0)
        await until(lambda: is_found(gateway, ids(0, 90)), PATIENT_S)


async def heavy(gateway: Gateway) -> None:
    """Load documents that take a while to copy: 40 MB that no index needs."""
    await gateway.collections.put("books", {"fields": {"text": "text"}})
    noise = "".join(chr(97 + n % 26) for n in range(200_000))
    await load_into(gateway, "books", [{**one, "noise": noise} for one in documents(0, 200)])


@pytest.mark.alone  # the test is to stop it within the tenth of a second that it takes
async def test_killed_while_it_makes_a_snapshot(replicas: Replicated, tmp_path: Path) -> None:
    """What a killed maker leaves is not taken for a snapshot, and the other replica makes one."""
    restart(replicas)
    async with gateway_to(replicas) as gateway, boarding(replicas.server) as (board, _):
        await heavy(gateway)
        await make_snapshots(replicas.server, 1)
        whole = on_target(tmp_path)
        await board.want([0])
        await until(lambda: len(on_target(tmp_path)) > len(whole), PATIENT_S)
        for worker in replicas.workers:
            replicas.signal(worker, signal.SIGSTOP)
        torn = [one for one in on_target(tmp_path) if one not in whole]
        assert not (torn[0] / "manifest.json").exists()
        maker = next(one for one in (0, 1) if list((replicas.data(one) / "snapshots").rglob("*")))
        other = 1 - maker
        replicas.kill(maker)
        store = SnapshotStore(str(tmp_path / "snapshots"), PREFIX)
        assert [one.id for one in store.manifests(0)] == [whole[0].name]
        replicas.signal(other, signal.SIGCONT)
        # As if the 30 s had passed after which a maker that is silent counts as gone.
        await board._control.execute("DEL", Keys(PREFIX).snapshot_lease(0))

        async def is_made() -> bool:
            newest = (await board.status([0]))[0].newest
            return newest is not None and newest.id not in {whole[0].name, torn[0].name}

        await until(is_made, PATIENT_S)
        await until(lambda: not torn[0].exists())
        newest, *_ = store.manifests(0)
        store.verify(newest)
        assert newest.documents == 200


@pytest.mark.alone  # the test is to stop it within the tenth of a second that it takes
async def test_killed_while_it_restores(replicas: Replicated, tmp_path: Path) -> None:
    """A worker killed as it fetches a snapshot has no store; the next start restores all of it."""
    replicas.start(0)
    async with gateway_to(replicas) as gateway:
        await heavy(gateway)
        await make_snapshots(replicas.server, 1)
        replicas.lose(0)
        replicas.start(0)
        await until((replicas.data(0) / "restoring" / "0" / "store.sqlite").exists, PATIENT_S)
        replicas.kill(0)
        assert not (replicas.data(0) / "shards" / "0" / "store.sqlite").exists()
        replicas.start(0)
        await until(lambda: is_found(gateway, ids(0, 200)), PATIENT_S)
        assert list((replicas.data(0) / "restoring").iterdir()) == []


async def test_snapshots_are_made_by_schedule(replicas: Replicated, tmp_path: Path) -> None:
    """A shard that changes is copied each interval, and one that does not is left alone."""
    replicas.environment["HEDGEROW_SNAPSHOTS__INTERVAL_S"] = "1"
    restart(replicas)
    async with gateway_to(replicas) as gateway, boarding(replicas.server) as (board, log):

        async def has_all() -> bool:
            newest = (await board.status([0]))[0].newest
            return newest is not None and newest.position == await log.newest(0)

        for number in range(2):
            await load(gateway, "books", documents(number, number + 1))
            await until(has_all, PATIENT_S)
        begun = (await board.status([0]))[0].begun
        await asyncio.sleep(3)  # nothing happens, which gives no event to wait for
        assert (await board.status([0]))[0].begun == begun


async def test_a_snapshot_that_cannot_be_made_is_told(replicas: Replicated, tmp_path: Path) -> None:
    """What the target refuses is in the status, and so is how much the log keeps meanwhile."""
    restart(replicas)
    async with gateway_to(replicas) as gateway, boarding(replicas.server) as (board, _):
        await load(gateway, "books", documents(0, 1))
        (tmp_path / "snapshots").mkdir(exist_ok=True)
        (tmp_path / "snapshots" / PREFIX).write_text("a file where a folder should be")
        await board.want([0])

        async def is_told() -> bool:
            (one,) = (await gateway.status())["snapshots"]
            return bool(one["error"] and one["log_kept"] >= 1 and one["id"] is None)

        await until(is_told, PATIENT_S)


async def test_a_replica_with_a_gap_makes_no_snapshot(replicas: Replicated, tmp_path: Path) -> None:
    """Whichever replica takes the job, what is kept has everything."""
    replicas.start(0)
    replicas.environment.pop("HEDGEROW_SNAPSHOTS__URL")
    async with gateway_to(replicas) as gateway, boarding(replicas.server) as (board, _):
        await load(gateway, "books", documents(0, 50))
        await make_snapshots(replicas.server, 1)
        await load(gateway, "books", documents(50, 60))
        # One that has missed what was trimmed, and does not start from the snapshot.
        replicas.start(1)
        await until(
            lambda: any(one.gaps for one in gateway._membership.workers.values()), PATIENT_S
        )
        replicas.kill(1)
        replicas.environment["HEDGEROW_SNAPSHOTS__URL"] = str(tmp_path / "away")
        replicas.start(1)  # now it takes such jobs, and has no snapshot to start from
        await until(
            lambda: any(one.gaps for one in gateway._membership.workers.values()), PATIENT_S
        )
        shutil.rmtree(tmp_path / "away", ignore_errors=True)
        for _ in range(4):
            await load(gateway, "books", documents(60, 61))
            made = await make_snapshots(replicas.server, 1)
            assert made[0].documents == 61
        assert not (tmp_path / "away").exists()
        assert (await board.status([0]))[0].begun == 5
