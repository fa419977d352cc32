"""The standard pool over real processes: what a task gets back, late, crashed or cancelled."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from ast import literal_eval
from collections.abc import AsyncIterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.errors import (
    ConfigurationError,
    ExpiredEnd,
    ExpiredError,
    LaneUnavailableError,
    QuarantinedError,
    RankingError,
    ScorerCrashedError,
    WorkError,
)
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.common.state.quarantine import Quarantine
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.scorer_process import ScorerSpec
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.executors.standard_pool import processes
from hedgerow.shard_worker.executors.standard_pool.pool import StandardPool
from hedgerow.shard_worker.wiring import indexer_lane, scorer_lane
from tests.integration.support.lanes import KILL_GRACE_S, Bench, Call
from tests.integration.support.misbehaving import Config
from tests.support.processes import count_fds, is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.integration

MAKE = "tests.integration.support.misbehaving:make"


def make_pool(
    factory: str,
    config: object = None,
    *,
    num_processes: int = 2,
    max_batch: int = 64,
    batch_window_ms: float = 4.0,
    bulkhead: Bulkhead | None = None,
    suspects: QuarantineGate | None = None,
    nice: int = 0,
) -> StandardPool:
    """A pool that is not started."""
    return StandardPool(
        ScorerSpec("scorers", factory, pickle.dumps(config), (), nice=nice),
        num_processes,
        DispatchLimits.of(num_processes, max_batch, batch_window_ms, KILL_GRACE_S * 1000),
        bulkhead,
        suspects,
    )


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    *,
    num_processes: int = 2,
    batch_window_ms: float = 4.0,
    bulkhead: Bulkhead | None = None,
    suspects: QuarantineGate | None = None,
) -> AsyncIterator[Bench[StandardPool]]:
    """A pool over the misbehaving handler; at its end no process is left."""
    config = Config(str(folder))
    pool = make_pool(
        MAKE,
        config,
        num_processes=num_processes,
        batch_window_ms=batch_window_ms,
        bulkhead=bulkhead,
        suspects=suspects,
    )
    bench = Bench(pool, config)
    await pool.start()
    pids = set(bench.pids())
    try:
        yield bench
        pids |= set(bench.pids())
    finally:
        await pool.close(0.0)
    assert [pid for pid in pids if is_alive(pid)] == []


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [({}, ProcessLane), ({"process_pool": "executor"}, StandardPool)],
)
def test_the_setting_chooses_the_pool(
    tmp_path: Path, chosen: dict[str, Any], kind: type[ScorerPool]
) -> None:
    """Supervised by default; either tells the same figures of itself."""
    settings = Settings(data=tmp_path, worker=WorkerSettings(scorers=2, **chosen))
    suspects = QuarantineGate(Quarantine(2, 300.0), lambda _: 0, "w")
    pool = scorer_lane(settings, (0,), (), suspects)
    assert type(pool) is kind
    supervised = indexer_lane(settings, (0,))
    assert type(supervised) is ProcessLane
    assert pool.load().keys() == supervised.load().keys()
    assert pool.load()["capacity"] == 2


async def test_every_task_gets_its_own_answer_once() -> None:
    """Thousands in flight over three processes: each ends once, with what it asked for.

    The processes are as much nicer than the worker as they were to be.
    """
    answers: dict[int, list[TaskResult]] = {number: [] for number in range(3000)}
    pool = make_pool("tests.integration.support.misbehaving:echo", num_processes=3, nice=3)
    await pool.start()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    priorities = [os.getpriority(os.PRIO_PROCESS, pid) for pid in pool.load()["pids"]]
    assert priorities == [min(19, own + 3)] * 3
    for number, dones in answers.items():
        payload = b"%d" % number + bytes(number % 700)
        pool.submit(Task(payload, time.monotonic() + 30), dones.append)
    await until(lambda: all(answers.values()))
    await pool.close(1.0)
    for number, dones in answers.items():
        assert [done.error for done in dones] == [None]
        assert dones[0].body == b"%d" % number + bytes(number % 700)


async def test_each_process_starts_once_and_has_a_handler(tmp_path: Path) -> None:
    """As many tasks as processes run at once, each in another process."""
    async with running(tmp_path, num_processes=3) as bench:
        assert len(set(bench.pids())) == 3
        calls = [bench.submit(f"w{at} sleep 0.3") for at in range(3)]
        await bench.ended(*calls)
        assert {bench.config.pids(f"w{at}")[0] for at in range(3)} == set(bench.pids())


async def test_what_the_handler_raises_is_the_tasks_error(tmp_path: Path) -> None:
    """As in the supervised pool; the process goes on."""
    async with running(tmp_path, num_processes=1) as bench:
        pids = bench.pids()
        commands = ["ranking-error", "value-error", "no-bytes", "unspeakable", "exhaust 64", "echo"]
        calls = [bench.submit(f"w{at} {command}") for at, command in enumerate(commands)]
        await bench.ended(*calls)
        ranking, value, text, odd, greedy, good = calls
        assert type(ranking.error) is RankingError
        assert str(ranking.error) == "boost: division by zero"
        assert type(value.error) is type(text.error) is type(odd.error) is WorkError
        assert str(value.error) == "ValueError: bad shard"
        assert "MemoryError" in str(greedy.error)
        assert good.body == b"w5"
        assert bench.pids() == pids


async def test_the_budget_tells_what_is_left(tmp_path: Path) -> None:
    """The handler reads its own deadline in its process; a budget kept beyond it is expired."""
    async with running(tmp_path, num_processes=1) as bench:
        limited = bench.submit("a remaining", timeout_s=5.0)
        await bench.ended(limited)
        assert 4.0 < float(limited.body) <= 5.0
        done = await bench.lane.run(Task(b"b ask-first-budget", time.monotonic() + 60))
        assert literal_eval(done.body.decode()) == (True, 0.0, False)


async def test_expired_tasks_reach_no_process(tmp_path: Path) -> None:
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


async def test_a_task_behind_a_long_one_ends_at_its_deadline(tmp_path: Path) -> None:
    """It is not taken back from its batch, but its caller need not wait for it."""
    async with running(tmp_path, num_processes=1, batch_window_ms=1000.0) as bench:
        for _ in range(50):  # cheap tasks are measured, so that all go into one batch
            await bench.lane.run(Task(b"warm echo", time.monotonic() + 30))
        long = bench.submit("long sleep 0.5")
        behind = bench.submit("behind echo", timeout_s=0.1)
        await bench.ended(behind)
        assert type(behind.error) is ExpiredError
        assert not long.dones
        await bench.ended(long)
        assert long.body == b"long"
        assert bench.config.starts()["behind"] == 0


@pytest.mark.parametrize("command", ["obey", "ignore-tripped"])
async def test_cancelling_what_runs_trips_its_budget(tmp_path: Path, command: str) -> None:
    """A task that heeds its budget ends long before its deadline, and its process goes on."""
    async with running(tmp_path) as bench:
        pids = bench.pids()
        call = bench.submit(f"a {command}", timeout_s=600)
        await bench.started("a")
        assert call.ticket is not None
        bench.lane.cancel(call.ticket)
        await bench.ended(call)
        assert isinstance(call.error, ExpiredError)
        assert call.error.end is (ExpiredEnd.STOPPED if command == "obey" else ExpiredEnd.UNUSED)
        assert bench.pids() == pids


async def test_cancelling_what_waits_drops_it(tmp_path: Path) -> None:
    """A task cancelled before its turn ends at once and is never started."""
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


@pytest.mark.parametrize("timeout_s", [-1.0, 0.1, 30.0])
async def test_callbacks_may_cancel_and_submit(tmp_path: Path, timeout_s: float) -> None:
    """Whatever an on_done does to tasks beside it, late or answered, each ends once."""
    async with running(tmp_path, num_processes=1, batch_window_ms=1000.0) as bench:
        for _ in range(50):
            await bench.lane.run(Task(b"warm echo", time.monotonic() + 30))
        busy = bench.submit("busy sleep 0.3")
        await bench.started("busy")
        others: list[Call] = []
        more: list[Call] = []
        bugs: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))

        def on_done(_done: TaskResult) -> None:
            more.append(bench.submit("more echo"))
            for other in others:
                assert other.ticket is not None
                bench.lane.cancel(other.ticket)

        bench.lane.submit(Task(b"first echo", time.monotonic() + timeout_s), on_done)
        others += [bench.submit(f"w{at} echo", timeout_s) for at in range(5)]
        await until(lambda: len(more) == 1)
        await bench.ended(busy, *others, *more)
        assert {type(other.error) for other in others} == {ExpiredError}
        assert more[0].body == b"more"
        assert bugs == []


async def test_a_callback_that_raises_harms_nobody_else(tmp_path: Path) -> None:
    """A bug in one on_done reaches the loop's exception handler, and the others are answered."""
    async with running(tmp_path, num_processes=1) as bench:
        seen: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: seen.append(repr(context["exception"]))
        )

        def broken(_done: TaskResult) -> None:
            raise KeyError("bug")

        bench.lane.submit(Task(b"a echo", time.monotonic() + 30), broken)
        good = bench.submit("b echo")
        await bench.ended(good)
        assert good.body == b"b"
        assert seen == ["KeyError('bug')"]


@pytest.mark.parametrize("command", ["exit", "segfault", "kill"])
async def test_a_crash_ends_what_the_pool_runs_and_the_pool_comes_back(
    tmp_path: Path, command: str
) -> None:
    """Every task in the executor ends as crashed, untried again; what waits is done by others."""
    async with running(tmp_path) as bench:
        pids = bench.pids()
        bystander = bench.submit("bystander sleep 30")
        await bench.started("bystander")
        crashing = bench.submit(f"bad {command}")
        waiting = bench.submit("waiting echo")
        await bench.ended(crashing, bystander, waiting)
        assert type(crashing.error) is type(bystander.error) is ScorerCrashedError
        assert waiting.body == b"waiting"
        assert bench.config.starts() == {"bystander": 1, "bad": 1, "waiting": 1}
        await bench.whole()
        load = bench.lane.load()
        assert (load["crashes"], load["restarts"]) == (1, 2)
        assert not set(pids) & set(bench.pids())


async def test_a_handler_that_would_end_its_process_fails_its_batch(tmp_path: Path) -> None:
    """The executor hands a SystemExit on; the process, and what others run, goes on."""
    async with running(tmp_path) as bench:
        pids = bench.pids()
        other = bench.submit("other sleep 0.3")
        await bench.started("other")
        leaving = bench.submit("bad system-exit")
        await bench.ended(leaving, other)
        assert type(leaving.error) is WorkError
        assert str(leaving.error) == "SystemExit: 4"
        assert other.body == b"other"
        assert bench.pids() == pids


async def test_an_idle_process_that_dies_is_replaced_before_a_task_comes(tmp_path: Path) -> None:
    """No caller waits for the discovery: the pool is whole again by itself."""
    async with running(tmp_path) as bench:
        pids = bench.pids()
        os.kill(pids[0], signal.SIGKILL)
        await until(lambda: len(bench.pids()) == 2 and not set(bench.pids()) & set(pids))
        call = bench.submit("a echo")
        await bench.ended(call)
        assert call.body == b"a"
        assert bench.lane.load()["crashes"] == 0


async def test_a_pool_that_cannot_be_replaced_is_tried_again(tmp_path: Path) -> None:
    """While the factory fails there is no room, and the pool refuses nothing that may wait."""
    async with running(tmp_path) as bench:
        bench.config.broken.touch()
        os.kill(bench.pids()[0], signal.SIGKILL)
        await until(lambda: bench.config.starts()["broken-start"] >= 3)
        assert bench.lane.room() == 0
        assert bench.lane.load()["alive"] == 0
        call = bench.submit("a echo")
        bench.config.broken.unlink()
        await bench.ended(call)
        assert call.body == b"a"


@pytest.mark.parametrize("command", ["spin", "sleep 600"])
async def test_a_task_that_ignores_its_budget_loses_its_process(
    tmp_path: Path, command: str
) -> None:
    """It ends at deadline plus grace, not before; others go on; its process is killed in the end.

    What others have in hand is finished first, by the processes that are replaced.
    """
    async with running(tmp_path) as bench:
        pids = bench.pids()
        deadline = time.monotonic() + 0.3
        hung = bench.submit(f"bad {command}", timeout_s=0.3)
        await bench.started("bad")
        await bench.ended(hung)
        assert isinstance(hung.error, ExpiredError)
        assert hung.error.end is ExpiredEnd.KILLED
        assert KILL_GRACE_S * 0.9 <= hung.ended_at - deadline < KILL_GRACE_S + 1.0
        other = bench.submit("other sleep 0.6")
        await bench.ended(other)
        assert other.body == b"other"
        await until(lambda: not any(is_alive(pid) for pid in pids))
        await bench.whole()
        load = bench.lane.load()
        assert (load["killed"], load["crashes"]) == (1, 0)
        assert bench.config.starts() == {"bad": 1, "other": 1}


async def test_a_task_that_was_cut_short_counts_in_the_quarantine(tmp_path: Path) -> None:
    """The pool knows which task ignored its budget, and refuses it next time, as others do."""
    suspects = QuarantineGate(Quarantine(after=1, expiry_s=60.0))
    async with running(tmp_path, suspects=suspects) as bench:
        hung = bench.submit("bad spin", timeout_s=0.2, fingerprint=b"f")
        await bench.ended(hung)
        again = bench.submit("again echo", fingerprint=b"f")
        other = bench.submit("other echo", fingerprint=b"g")
        await bench.ended(again, other)
        assert type(again.error) is QuarantinedError
        assert other.body == b"other"
        assert bench.lane.load()["quarantined"] == 1


async def test_a_profile_leaves_a_process_to_others(tmp_path: Path) -> None:
    """While its tasks hold all that they may, others' are done at once, and there is room."""
    async with running(tmp_path, bulkhead=Bulkhead(2, 1.0, {})) as bench:
        first = bench.submit("first echo", profile="fast")
        slow = [bench.submit(f"slow{at} sleep 0.5", profile="slow") for at in range(3)]
        await bench.started("slow0")
        assert bench.lane.load()["profiles"]["slow"]["held"] == 1
        assert bench.lane.room() > 0
        others = [bench.submit(f"o{at} echo", profile="fast") for at in range(10)]
        await bench.ended(first, *others)
        assert not any(call.dones for call in slow)
        assert [call.body for call in others] == [b"o%d" % at for at in range(10)]


async def test_room_is_what_would_start_soon(tmp_path: Path) -> None:
    """With expensive tasks there is room for one a process, none while all are busy."""
    async with running(tmp_path) as bench:
        for _ in range(3):
            await bench.ended(*(bench.submit("warm sleep 0.02") for _ in range(2)))
        assert bench.lane.room() == 2
        calls = [bench.submit(f"w{at} sleep 0.2") for at in range(2)]
        assert bench.lane.room() == 0
        await asyncio.sleep(0)
        assert (bench.lane.load()["busy"], bench.lane.room()) == (2, 0)
        await bench.lane.wait_for_room()
        assert any(call.dones for call in calls)
        await bench.ended(*calls)


async def test_what_is_submitted_under_a_cork_leaves_together(tmp_path: Path) -> None:
    """Nothing leaves before `uncork`; then all does, and the end is reported once."""
    async with running(tmp_path, num_processes=1) as bench:
        for _ in range(50):
            await bench.lane.run(Task(b"warm echo", time.monotonic() + 30))
        told: list[int] = []
        bench.lane.call_after_ends(lambda: told.append(sum(len(call.dones) for call in calls)))
        bench.lane.cork()
        calls = [bench.submit(f"w{at} echo") for at in range(3)]
        await asyncio.sleep(0)
        assert bench.lane.load()["waiting"] == 3
        bench.lane.uncork()
        assert (bench.lane.load()["waiting"], bench.lane.load()["busy"]) == (0, 1)
        await bench.ended(*calls)
        assert told[-1] == 3


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("tests.integration.support.misbehaving:raise_at_start", "RuntimeError: no such index"),
        ("tests.integration.support.misbehaving:exit_at_start", "ended at its start"),
        ("tests.integration.absent:make", "ModuleNotFoundError"),
    ],
)
async def test_a_factory_that_fails_at_start_is_a_configuration_error(
    factory: str, reason: str
) -> None:
    """The start says why, does not try again, and leaves no process."""
    pool = make_pool(factory)
    with pytest.raises(ConfigurationError, match=reason):
        await pool.start()
    assert multiprocessing.active_children() == []


async def test_closing_while_it_starts_ends_the_start(tmp_path: Path) -> None:
    """A factory that hangs holds up neither `close` nor a cancelled start."""
    config = Config(str(tmp_path))
    config.held.touch()
    pool = make_pool(MAKE, config)
    starting = asyncio.create_task(pool.start())
    await until(lambda: config.starts()["held-start"] >= 2)
    await pool.close(1.0)
    with pytest.raises(ConfigurationError, match="closed while it started"):
        await starting
    other = make_pool(MAKE, config)
    cancelled = asyncio.create_task(other.start())
    await until(lambda: config.starts()["held-start"] >= 4)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert multiprocessing.active_children() == []


async def test_closing_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    """What runs and what waits is answered, within the drain time; new tasks are refused."""
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


async def test_closing_does_not_wait_for_tasks_that_hang(tmp_path: Path) -> None:
    """After the drain time what is left is answered as unavailable and its process is killed."""
    async with running(tmp_path) as bench:
        calls = [bench.submit(f"w{at} spin", timeout_s=600) for at in range(6)]
        await bench.started("w0")
        started_at = time.monotonic()
        await bench.lane.close(0.1)
        assert time.monotonic() - started_at < 3.0
        await bench.ended(*calls)
        assert {type(call.error) for call in calls} == {LaneUnavailableError}


async def test_pools_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    """Neither a descriptor nor a name of shared memory is left, of those replaced neither."""
    (tmp_path / "warm").mkdir()
    async with running(tmp_path / "warm"):  # starts the forkserver, which stays
        pass
    gc.collect()
    num_fds = count_fds()
    names: list[str] = []

    def share(*, create: bool, size: int) -> SharedMemory:
        memory = SharedMemory(create=create, size=size)
        names.append(memory.name)
        return memory

    with patch.object(processes, "SharedMemory", share):
        async with running(tmp_path) as bench:
            await bench.ended(bench.submit("bad exit"), bench.submit("hung spin", timeout_s=0.1))
            await bench.whole()
    gc.collect()
    assert count_fds() == num_fds
    assert len(names) >= 2
    for name in names:
        with pytest.raises(FileNotFoundError):
            SharedMemory(name)


ORPHANING = """
import asyncio, pickle, sys
from hedgerow.shard_worker.executors.process_pool.task import Task
from tests.integration.support.misbehaving import Config
from tests.integration.test_standard_pool import MAKE, make_pool

async def main():
    pool = make_pool(MAKE, Config(sys.argv[1]), num_processes=3, max_batch=1)
    await pool.start()
    pool.submit(Task(b"spinning spin"), print)
    pool.submit(Task(b"sleeping sleep 600"), print)
    print(*pool.load()["pids"], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    """After SIGKILL of the worker its processes end, idle or busy, which the executor leaves."""
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it blocks for a millisecond
        [sys.executable, "-c", ORPHANING, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # of the resource tracker, which removes the shared memory
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        config = Config(str(tmp_path))
        await until(lambda: set(config.starts()) == {"spinning", "sleeping"})
        assert len(pids) == 3
        process.kill()
        process.wait()
        await until(lambda: not any(is_alive(pid) for pid in pids))
