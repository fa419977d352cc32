"""The process lane over real processes: works cut short, and how a lane starts and ends."""

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from ast import literal_eval
from pathlib import Path

import pytest

from hedgerow.common.errors import (
    ConfigurationError,
    ExpiredError,
    LaneUnavailableError,
    NotStartedError,
)
from hedgerow.shard_worker.executors.process_pool.pool import Task
from tests.integration.support.lanes import make_lane, running
from tests.integration.support.misbehaving import Config
from tests.support.processes import children_of, count_fds, is_alive, parent_of
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def test_the_budget_tells_what_is_left(tmp_path: Path) -> None:
    """The handler sees the work's own deadline, or none, in its process."""
    async with running(tmp_path, num_processes=1) as bench:
        limited = bench.submit("a remaining", timeout_s=5.0)
        endless = await bench.lane.run(Task(b"b remaining", math.inf))
        await bench.ended(limited)
        assert 4.0 < float(limited.body) <= 5.0
        assert float(endless.body) == math.inf


async def test_a_budget_kept_beyond_its_work_is_expired(tmp_path: Path) -> None:
    """A handler that holds on to a budget does not read the next work's time from it."""
    async with running(tmp_path, num_processes=1) as bench:
        await bench.lane.run(Task(b"a remaining", time.monotonic() + 60))
        done = await bench.lane.run(Task(b"b ask-first-budget", time.monotonic() + 60))
        assert literal_eval(done.body.decode()) == (True, 0.0, False)


async def test_expired_work_reaches_no_scorer(tmp_path: Path) -> None:
    """Neither what is late when submitted nor what expires while it waits is ever started."""
    async with running(tmp_path, num_processes=1) as bench:
        late = bench.submit("late echo", timeout_s=-0.001)
        busy = bench.submit("busy sleep 0.3")
        await bench.started("busy")
        waiting = bench.submit("waiting echo", timeout_s=0.05)
        await bench.ended(late, waiting)
        assert waiting.ended_at < busy.ended_at
        await bench.ended(busy)
        assert type(late.error) is type(waiting.error) is ExpiredError
        assert set(bench.config.starts()) == {"busy"}


async def test_cancelling_what_waits_drops_it(tmp_path: Path) -> None:
    """A work cancelled before its turn ends at once and is never started."""
    async with running(tmp_path, num_processes=1) as bench:
        busy = bench.submit("busy sleep 0.2")
        await bench.started("busy")
        waiting = bench.submit("waiting echo")
        assert waiting.ticket is not None
        bench.lane.cancel(waiting.ticket)
        bench.lane.cancel(waiting.ticket)
        assert waiting.dones == []
        await bench.ended(waiting)
        assert not busy.dones
        await bench.ended(busy)
        assert type(waiting.error) is ExpiredError
        assert set(bench.config.starts()) == {"busy"}


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
        assert bench.lane._crew.slots[0].num_open == 3
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


@pytest.mark.parametrize("command", ["obey", "ignore-tripped"])
async def test_cancelling_what_runs_trips_its_budget(tmp_path: Path, command: str) -> None:
    """A work that heeds its budget ends long before its deadline, and keeps its scorer."""
    async with running(tmp_path) as bench:
        pids = bench.pids()
        call = bench.submit(f"a {command}", timeout_s=600)
        await bench.started("a")
        assert call.ticket is not None
        bench.lane.cancel(call.ticket)
        await bench.ended(call)
        assert type(call.error) is ExpiredError
        assert bench.pids() == pids


async def test_cancelling_the_wait_cancels_the_work(tmp_path: Path) -> None:
    """A task that is cancelled in `run` leaves no work behind."""
    async with running(tmp_path, num_processes=1) as bench:
        task = asyncio.create_task(bench.lane.run(Task(b"a obey", math.inf)))
        await bench.started("a")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bench.whole()


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("tests.integration.support.misbehaving:raise_at_start", "RuntimeError: no such index"),
        ("tests.integration.support.misbehaving:unspeakable_at_start", r"no index \\udcff"),
        ("tests.integration.support.misbehaving:exit_at_start", "exited with status 7"),
        ("tests.integration.support.misbehaving:nothing", "AttributeError"),
        ("tests.integration.absent:make", "ModuleNotFoundError"),
    ],
)
async def test_a_factory_that_fails_at_start_is_a_configuration_error(
    factory: str, reason: str
) -> None:
    """The start says why, does not try again, and leaves no process and no descriptor."""
    num_fds = count_fds()
    lane = make_lane(factory)
    with pytest.raises(ConfigurationError, match=reason):
        await lane.start()
    assert count_fds() == num_fds
    assert lane.load()["restarts"] == 0


async def test_closing_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    """What runs and what waits is answered, within the drain time; new work is refused."""
    async with running(tmp_path, num_processes=1) as bench:
        calls = [bench.submit(f"w{at} sleep 0.05") for at in range(4)]
        closing = asyncio.create_task(bench.lane.close(10.0))
        await asyncio.sleep(0)
        refused = bench.submit("late echo")
        with pytest.raises(LaneUnavailableError):
            await bench.lane.wait_for_room()
        await closing
        assert [call.body for call in calls] == [b"w0", b"w1", b"w2", b"w3"]
        await bench.ended(refused)
        assert type(refused.error) is LaneUnavailableError


async def test_closing_while_it_starts_ends_the_start(tmp_path: Path) -> None:
    """Nobody waits for a start that will not come, and nothing of it is left."""
    num_fds = count_fds()
    config = Config(str(tmp_path))
    config.held.touch()
    lane = make_lane("tests.integration.support.misbehaving:make", config)
    starting = asyncio.create_task(lane.start())
    await until(lambda: config.starts()["held-start"] >= 1)
    await lane.close(1.0)
    with pytest.raises(ConfigurationError, match="closed while it started"):
        await starting
    noted = config.starts()["held-start"]
    other = make_lane("tests.integration.support.misbehaving:make", config)
    cancelled = asyncio.create_task(other.start())
    await until(lambda: config.starts()["held-start"] > noted)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert count_fds() == num_fds


async def test_closing_does_not_wait_for_work_that_hangs(tmp_path: Path) -> None:
    """After the drain time what is left is answered as unavailable and its process is killed."""
    async with running(tmp_path) as bench:
        calls = [bench.submit(f"w{at} spin", timeout_s=600) for at in range(6)]
        await bench.started("w0")
        started_at = time.monotonic()
        await bench.lane.close(0.1)
        assert time.monotonic() - started_at < 3.0
        assert {type(call.error) for call in calls} == {LaneUnavailableError}


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
from hedgerow.shard_worker.executors.process_pool.forkserver_start import WaitingLaunchers
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane, Task

async def main(launchers):
    lane = ProcessLane(
        factory="tests.integration.support.misbehaving:make", config=Config(sys.argv[1]),
        num_processes=3, max_batch=1, batch_window_ms=4.0, kill_grace_ms=1000.0,
        suspects=None, name="orphans",
        start_launcher=launchers,
    )
    await lane.start()
    lane.submit(Task(b"spinning spin"), print)
    lane.submit(Task(b"sleeping sleep 600"), print)
    print(*lane.load()["pids"], flush=True)
    await asyncio.sleep(600)

with WaitingLaunchers.forked(int(sys.argv[2])) as launchers:
    asyncio.run(main(launchers))
"""


@pytest.mark.parametrize("num_forked", [0, 2])
async def test_a_worker_that_is_killed_leaves_no_scorer(tmp_path: Path, num_forked: int) -> None:
    """After SIGKILL of the worker its scorers end, idle or hung, and so do its launchers.

    One of those that were forked has no lane yet.
    """
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it blocks for a millisecond
        [sys.executable, "-c", ORPHANING, str(tmp_path), str(num_forked)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        config = Config(str(tmp_path))
        await until(lambda: set(config.starts()) == {"spinning", "sleeping"})
        launchers = {parent_of(pids[0]), *children_of(process.pid)}
        assert len(launchers) == max(1, num_forked)
        assert len(pids) == 3
        process.kill()
        process.wait()
        await until(lambda: not any(is_alive(pid) for pid in [*pids, *launchers]))
