"""The process lane over real processes: works cut short, and how a lane starts and ends."""

import asyncio
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hedgerow.common.errors import (
    NotStartedError,
)
from hedgerow.shard_worker.executors.process_pool.pool import Task
from tests.integration.support.lanes import make_lane, running
from tests.integration.support.misbehaving import Config, Mourned
from tests.support.processes import children_of, is_alive, parent_of
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.mark.alone  # a scorer that is kept from its core stands still too
async def test_what_waits_behind_a_scorer_that_stands_still_may_leave(tmp_path: Path) -> None:
    """With its only scorer held up, a lane ends at once what may start elsewhere, and that alone.

    What is in the same frame, what waits, and what comes while it lasts.
    """
    async with running(tmp_path, num_processes=1, batch_window_ms=20.0) as bench:
        warm = [bench.submit(f"warm-{number} echo") for number in range(64)]
        await bench.ended(*warm)  # else the frame would hold the first alone
        busy = bench.submit("busy sleep 1.0", is_movable=True)
        behind = bench.submit("behind echo", is_movable=True)
        stays = bench.submit("stays echo")
        await bench.started("busy")
        assert bench.lane._supervisor.slots[0].num_open == 3
        waiting = bench.submit("waiting echo", is_movable=True)
        await bench.ended(behind, waiting)
        late = bench.submit("late echo", is_movable=True)
        assert bench.lane.load()["waiting"] == 0
        await bench.ended(late)
        assert not busy.dones
        assert not stays.dones
        errors = [type(call.error) for call in (behind, waiting, late)]
        assert errors == [NotStartedError] * 3
        await bench.ended(busy, stays)
        assert busy.error is stays.error is None
        again = bench.submit("again echo", is_movable=True)
        await bench.ended(again)
        assert again.error is None
        assert not {"behind", "waiting", "late"} & set(bench.config.starts())


@pytest.mark.alone  # a scorer that is kept from its core stands still too
async def test_nothing_leaves_while_another_scorer_could_start_it(tmp_path: Path) -> None:
    """Behind one of two scorers that stands still, what may start elsewhere goes to the other."""
    async with running(tmp_path) as bench:
        warm = [bench.submit(f"warm-{number} echo") for number in range(64)]
        await bench.ended(*warm)
        calls = [bench.submit("busy sleep 0.5", is_movable=True)]
        calls += [bench.submit(f"a{number} echo", is_movable=True) for number in range(40)]
        await bench.ended(*calls)
        assert [call.error for call in calls] == [None] * len(calls)


async def test_cancelling_the_wait_cancels_the_work(tmp_path: Path) -> None:
    """A task that is cancelled in `run` leaves no running task behind."""
    async with running(tmp_path, num_processes=1) as bench:
        task = asyncio.create_task(bench.lane.run(Task(b"a obey", math.inf)))
        await bench.started("a")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bench.whole()


async def test_a_scorer_that_ends_does_not_take_its_handler_apart(tmp_path: Path) -> None:
    """The system does that at once: an indexer would first join its threads, one by one."""
    config = Config(str(tmp_path))
    lane = make_lane(f"{Mourned.__module__}:Mourned", config, num_processes=1)
    await lane.start()
    try:
        assert (await lane.run(Task(b"a", math.inf))).body == b"a"
    finally:
        await lane.close(1.0)
    assert not config.taken_apart.exists()


async def test_signals_to_the_whole_group_do_not_cut_the_drain_short(tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM reach scorers too, who leave the decision to their worker."""
    async with running(tmp_path, num_processes=1) as bench:
        call = bench.submit("a sleep 0.2")
        pid = await bench.started("a")
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        await bench.ended(call)
        assert call.body == b"a"
        assert bench.pids() == [pid]


ORPHANING = """
import asyncio, sys
from tests.integration.support.misbehaving import Config
from hedgerow.shard_worker.executors.process_pool.forkserver_start import WaitingForkservers
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane, Task

async def main(forkservers):
    pids = []
    for _ in range(int(sys.argv[3])):
        lane = ProcessLane(
            factory="tests.integration.support.misbehaving:make", config=Config(sys.argv[1]),
            num_processes=3, max_batch=1, batch_window_ms=4.0, kill_grace_ms=1000.0,
            gate=None, name="orphans",
            start_forkserver=forkservers,
        )
        await lane.start()
        pids += lane.load()["pids"]
    lane.submit(Task(b"spinning spin"), print)
    lane.submit(Task(b"sleeping sleep 600"), print)
    print(*pids, flush=True)
    await asyncio.sleep(600)

with WaitingForkservers.forked(int(sys.argv[2])) as forkservers:
    asyncio.run(main(forkservers))
"""


@pytest.mark.parametrize(("num_forked", "num_lanes"), [(0, 1), (2, 1), (1, 2)])
async def test_a_worker_that_is_killed_leaves_no_scorer(
    tmp_path: Path, num_forked: int, num_lanes: int
) -> None:
    """After SIGKILL of the worker its scorers end, idle or hung, and so do its forkservers.

    One of two that were forked has no lane yet; of two lanes, the second one has a fork of the
    first one's.
    """
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it blocks for a millisecond
        [sys.executable, "-c", ORPHANING, str(tmp_path), str(num_forked), str(num_lanes)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        config = Config(str(tmp_path))
        await until(lambda: set(config.starts()) == {"spinning", "sleeping"})
        forkservers = {*map(parent_of, pids), *children_of(process.pid)}
        assert len(forkservers) == max(num_lanes, num_forked)
        assert len(pids) == 3 * num_lanes
        process.kill()
        process.wait()
        await until(lambda: not any(is_alive(pid) for pid in [*pids, *forkservers]))
