"""Taking up a shard and letting go of it many times: what a worker has left of it afterwards."""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.gateway.gateway import Gateway
from tests.integration.support.placed import Placing, asking, placing
from tests.integration.support.snapshots import documents, ids, make_snapshots
from tests.support.clusters import AS_ANY_OTHER, Cluster, ask, load, running_cluster
from tests.support.launching import starting_by_exec
from tests.support.processes import descendants_of
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NUM_ROUNDS = 20
MOST_GROWTH_KB = 30_000  # of all of a worker's processes together; a shard has about 10 MB here


@pytest.fixture
def cluster(own_server: RedisServer, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers that join, over two shards, with snapshots by command."""
    environment = {
        **AS_ANY_OTHER,
        "HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots"),
        "HEDGEROW_SNAPSHOTS__INTERVAL_S": "0",
    }
    with (
        starting_by_exec(),
        running_cluster(
            own_server, tmp_path, num_shards=2, joins=True, environment=environment
        ) as running,
    ):
        yield running


def _files(pids: list[int]) -> Counter[str]:
    """What the processes have open, by kind; and mapped, of a shard."""
    found: Counter[str] = Counter()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:
                continue
            kind = "shard" if "/shards/" in target else target.partition(":")[0].partition("/")[0]
            found[kind] += 1
        maps = Path(f"/proc/{pid}/maps").read_text()
        found["mapped"] += sum("/shards/" in line for line in maps.splitlines())
        found["threads"] += len(list(Path(f"/proc/{pid}/task").iterdir()))
    return found


def _grown(now: Counter[str], before: Counter[str]) -> int:
    """By how much the kind that has grown most has; of a shard's files, none may be left."""
    if now["shard"] + now["mapped"]:
        return NUM_ROUNDS
    return max((now - before).values(), default=0)


def _memory_kb(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                total += int(line.split()[1])
    return total


async def test_twenty_rounds_leave_nothing(cluster: Cluster) -> None:
    """Neither descriptors, maps, threads nor processes; and each answer meanwhile was whole."""
    async with placing(cluster) as placed:
        await placed.place({0: ["w0"], 1: ["w0"]})
        await placed.until_carried_out("w0", "w1")
        async with Gateway.connect(cluster.settings, num_shards=2) as gateway:
            await load(gateway, "books", documents(0, 200))
            await make_snapshots(cluster.server, 2)
            for _ in range(3):  # what is made when it is first needed
                await _round(placed, gateway)
            pids = [cluster.workers[1].pid, *descendants_of(cluster.workers[1].pid)]
            await until(lambda: _files(pids)["shard"] + _files(pids)["mapped"] == 0)
            before, memory_kb = _files(pids), _memory_kb(pids)
            async with asking(gateway, "books", "common", num_askers=1) as questions:
                for _ in range(NUM_ROUNDS):
                    await _round(placed, gateway)
            questions.check(ids(0, 200), NUM_ROUNDS)
            assert [cluster.workers[1].pid, *descendants_of(cluster.workers[1].pid)] == pids
            # What the last round had ends soon: files, and threads of indexes. Pools of connections
            # and threads may have grown, but nothing with the rounds.
            try:
                await until(lambda: _grown(_files(pids), before) < NUM_ROUNDS / 4)
            except TimeoutError:
                pytest.fail(f"{before} became {_files(pids)}")
            grown_kb = _memory_kb(pids) - memory_kb
            assert grown_kb < MOST_GROWTH_KB
            assert await placed.is_forgotten(1, 1)
    cluster.signal(1, signal.SIGTERM)
    assert cluster.workers[1].wait(60) == 0


async def _round(placed: Placing, gateway: Gateway) -> None:
    """The second worker takes up a shard, is asked for it, and lets go of it."""
    await placed.place({0: ["w0"], 1: ["w0"]}, {1: ["w1"]})
    await placed.until_serves("w1", 1)
    for _ in range(10):
        await ask(gateway, "books", "common", k=5, fields=["text"])
    await placed.place({0: ["w0"], 1: ["w0"]})
    await placed.until_serves("w1")
    await until(lambda: not placed.has_folder(1, 1))
