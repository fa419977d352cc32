"""What both process pools promise of a task, over real processes."""

import asyncio
import gc
import math
import multiprocessing
import os
import subprocess
import sys
import time
from ast import literal_eval
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from hedgerow.common.errors import (
    ConfigurationError,
    ExpiredEnd,
    ExpiredError,
    LaneUnavailableError,
    RankingError,
    WorkError,
)
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.common.state.quarantine import Quarantine
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.wiring import indexer_lane, scorer_lane
from tests.integration.support.lanes import (
    KILL_GRACE_S,
    MAKE,
    SOON_S,
    Bench,
    Call,
    make_lane,
    make_standard_pool,
    running,
    running_standard,
)
from tests.integration.support.misbehaving import Config
from tests.support.garbage import left_to_collector
from tests.support.processes import count_fds
from tests.support.waiting import until

pytestmark = pytest.mark.integration

FACTORIES = "tests.integration.support.misbehaving"


@dataclass(frozen=True)
class Kind:
    """One of the two pools, as `worker.process_pool` names it."""

    name: Literal["supervised", "executor"]

    @property
    def is_supervised(self) -> bool:
        """Whether it is the default."""
        return self.name == "supervised"

    def make(self, factory: str, config: object = None, **bounds: Any) -> ScorerPool:
        """A pool that is not started."""
        make = make_lane if self.is_supervised else make_standard_pool
        return make(factory, config, **bounds)

    def running(self, folder: Path, **bounds: Any) -> AbstractAsyncContextManager[Bench[Any]]:
        """A pool over the misbehaving handler; at its end no process is left."""
        return (
            running(folder, **bounds) if self.is_supervised else running_standard(folder, **bounds)
        )

    @asynccontextmanager
    async def echoing(self, **bounds: Any) -> AsyncIterator[ScorerPool]:
        """A pool whose handler returns what it gets."""
        pool = self.make(f"{FACTORIES}:echo", **bounds)
        await pool.start()
        try:
            yield pool
        finally:
            await pool.close(1.0)


@pytest.fixture(params=["supervised", "executor"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each of the two."""
    return Kind(request.param)


async def warm_up(bench: Bench[Any]) -> None:
    """Let the pool measure that tasks are cheap, so that all that wait go into one batch."""
    for _ in range(50):
        await bench.lane.run(Task(b"warm echo", time.monotonic() + 30))


async def test_what_a_task_was_given_is_freed_once_it_has_ended(kind: Kind) -> None:
    """It does not wait for the garbage collector: the payloads of an indexer are megabytes."""
    payloads = (b"freed when it has ended", b"freed when each has ended")
    async with kind.echoing(num_processes=1) as pool:
        gc.disable()
        try:
            await pool.run(Task(payloads[0]))
            await pool.run_in_each(Task(payloads[1]))
            await asyncio.sleep(0)
            tasks = [one.payload for one in gc.get_objects() if isinstance(one, Task)]
        finally:
            gc.enable()
    assert not set(payloads).intersection(tasks)


async def test_what_a_task_that_failed_was_given_is_freed(kind: Kind, tmp_path: Path) -> None:
    """Nor does it: a function that fails for every document would fill the memory with them."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        with left_to_collector() as left:
            with suppress(WorkError):
                await bench.lane.run(Task(b"one value-error", time.monotonic() + 30))
            await asyncio.sleep(0)
    assert [one for one in left if isinstance(one, Task | BaseException)] == []


async def test_every_task_gets_its_own_answer_once(kind: Kind) -> None:
    """Thousands in flight over three processes: each ends once, with what it asked for."""
    answers: dict[int, list[TaskResult]] = {number: [] for number in range(3000)}
    async with kind.echoing(num_processes=3) as pool:
        for number, results in answers.items():
            payload = b"%d" % number + bytes(number % 700)
            pool.submit(Task(payload, time.monotonic() + 30), results.append)
        await until(lambda: all(answers.values()))
    for number, results in answers.items():
        assert [result.error for result in results] == [None]
        assert results[0].body == b"%d" % number + bytes(number % 700)


async def test_each_process_starts_once_and_has_a_handler(kind: Kind, tmp_path: Path) -> None:
    """As many tasks as processes run at once, each in another process."""
    async with kind.running(tmp_path, num_processes=3) as bench:
        assert len(set(bench.pids())) == 3
        calls = [bench.submit(f"w{at} await-file go") for at in range(3)]
        for at in range(3):
            await bench.started(f"w{at}")
        (tmp_path / "go").touch()
        await bench.ended(*calls)
        assert {bench.config.pids(f"w{at}")[0] for at in range(3)} == set(bench.pids())


async def test_what_the_handler_raises_is_the_tasks_error(kind: Kind, tmp_path: Path) -> None:
    """A RankingError keeps its type and text; any other exception is named; the process goes on."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        pids = bench.pids()
        commands = ["ranking-error", "value-error", "no-bytes", "exhaust 64", "echo"]
        calls = [bench.submit(f"w{at} {command}") for at, command in enumerate(commands)]
        await bench.ended(*calls)
        ranking, value, text, greedy, good = calls
        assert type(ranking.error) is RankingError
        assert str(ranking.error) == "boost: division by zero"
        assert type(value.error) is type(text.error) is WorkError
        assert str(value.error) == "ValueError: bad shard"
        assert "MemoryError" in str(greedy.error)
        assert good.body == b"w4"
        assert bench.pids() == pids


async def test_an_error_that_utf8_cannot_encode_arrives_escaped(kind: Kind, tmp_path: Path) -> None:
    """Half of a surrogate pair in an error's text ends its task alone; the process goes on."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        pids = bench.pids()
        calls = [bench.submit(f"w unspeakable {which}") for which in ("ranking", "other")]
        await bench.ended(*calls)
        assert [str(call.error) for call in calls] == [
            "no file \\udcff",
            "ValueError: no file \\udcff",
        ]
        assert bench.pids() == pids


async def test_the_budget_says_what_is_left(kind: Kind, tmp_path: Path) -> None:
    """The handler sees the task's own deadline, or none, in its process."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        limited = bench.submit("a remaining", timeout_s=600.0)
        endless = await bench.lane.run(Task(b"b remaining", math.inf))
        await bench.ended(limited)
        assert 500.0 < float(limited.body) <= 600.0
        assert float(endless.body) == math.inf


async def test_a_budget_kept_beyond_its_task_is_expired(kind: Kind, tmp_path: Path) -> None:
    """A handler that keeps a budget does not read the next task's time from it."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        await bench.lane.run(Task(b"a remaining", time.monotonic() + 60))
        result = await bench.lane.run(Task(b"b ask-first-budget", time.monotonic() + 60))
        assert literal_eval(result.body.decode()) == (True, 0.0, False)


async def test_expired_tasks_reach_no_process(kind: Kind, tmp_path: Path) -> None:
    """Neither what is late when submitted nor what expires while it waits is ever started."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        late = bench.submit("late echo", timeout_s=-0.001)
        busy = bench.submit("busy await-file go")
        await bench.started("busy")
        waiting = bench.submit("waiting echo", timeout_s=0.05)
        await bench.ended(late, waiting)
        assert not busy.dones
        (tmp_path / "go").touch()
        await bench.ended(busy)
        assert type(late.error) is type(waiting.error) is ExpiredError
        assert set(bench.config.starts()) == {"busy"}


@pytest.mark.parametrize("command", ["obey", "ignore-tripped"])
async def test_cancelling_what_runs_trips_its_budget(
    kind: Kind, tmp_path: Path, command: str
) -> None:
    """A task that heeds its budget ends long before its deadline, and its process goes on."""
    async with kind.running(tmp_path) as bench:
        pids = bench.pids()
        call = bench.submit(f"a {command}", timeout_s=600)
        await bench.started("a")
        assert call.handle is not None
        bench.lane.cancel(call.handle)
        await bench.ended(call)
        assert isinstance(call.error, ExpiredError)
        assert call.error.end is (ExpiredEnd.STOPPED if command == "obey" else ExpiredEnd.UNUSED)
        assert bench.pids() == pids


async def test_cancelling_what_waits_drops_it(kind: Kind, tmp_path: Path) -> None:
    """A task cancelled before its turn ends at once and is never started."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        busy = bench.submit("busy await-file go")
        await bench.started("busy")
        waiting = bench.submit("waiting echo")
        assert waiting.handle is not None
        bench.lane.cancel(waiting.handle)
        bench.lane.cancel(waiting.handle)
        assert waiting.dones == []
        await bench.ended(waiting)
        assert not busy.dones
        (tmp_path / "go").touch()
        await bench.ended(busy)
        assert type(waiting.error) is ExpiredError
        assert set(bench.config.starts()) == {"busy"}


@pytest.mark.parametrize("timeout_s", [-1.0, 0.1, 30.0])
async def test_callbacks_may_cancel_and_submit(
    kind: Kind, tmp_path: Path, timeout_s: float
) -> None:
    """Whatever an on_done does to tasks beside it, late or answered, each ends once."""
    async with kind.running(tmp_path, num_processes=1, batch_window_ms=1000.0) as bench:
        await warm_up(bench)
        busy = bench.submit("busy await-file go")
        await bench.started("busy")
        others: list[Call] = []
        more: list[Call] = []
        bugs: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))

        def on_done(_result: TaskResult) -> None:
            more.append(bench.submit("more echo"))
            for other in others:
                assert other.handle is not None
                bench.lane.cancel(other.handle)

        bench.lane.submit(Task(b"first echo", time.monotonic() + timeout_s), on_done)
        others += [bench.submit(f"w{at} echo", timeout_s) for at in range(5)]
        if timeout_s > 1.0:  # answered; otherwise late, behind what is busy
            (tmp_path / "go").touch()
        await until(lambda: len(more) == 1)
        (tmp_path / "go").touch()
        await bench.ended(busy, *others, *more)
        assert {type(other.error) for other in others} == {ExpiredError}
        assert more[0].body == b"more"
        assert bugs == []


async def test_a_callback_that_raises_harms_no_other_task(kind: Kind, tmp_path: Path) -> None:
    """A bug in one on_done reaches the loop's exception handler, and the others are answered."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        seen: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: seen.append(repr(context["exception"]))
        )

        def broken(_result: TaskResult) -> None:
            raise KeyError("bug")

        bench.lane.submit(Task(b"a echo", time.monotonic() + 30), broken)
        good = bench.submit("b echo")
        await bench.ended(good)
        assert good.body == b"b"
        assert seen == ["KeyError('bug')"]


async def test_room_is_what_would_start_soon(kind: Kind, tmp_path: Path) -> None:
    """With expensive tasks there is room for one a process, none while all are busy, then again."""
    async with kind.running(tmp_path) as bench:
        pool = bench.lane
        for _ in range(3):
            await bench.ended(*(bench.submit("warm sleep 0.02") for _ in range(2)))
        assert pool.room() == 2
        calls = [bench.submit(f"w{at} sleep 0.2") for at in range(2)]
        assert pool.room() == 0
        await asyncio.sleep(0)
        assert (pool.load()["busy"], pool.room()) == (2, 0)
        room = await pool.wait_for_room()
        assert room == sum(len(call.dones) for call in calls) > 0
        await bench.ended(*calls)


async def test_what_is_submitted_under_a_cork_leaves_together(kind: Kind, tmp_path: Path) -> None:
    """Nothing leaves before `uncork`; then all does in one batch, whose end is reported."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        await warm_up(bench)
        num_ended: list[int] = []
        calls: list[Call] = []
        bench.lane.call_after_ends(lambda: num_ended.append(sum(len(c.dones) for c in calls)))
        bench.lane.cork()
        calls += [bench.submit(f"w{at} echo") for at in range(3)]
        await asyncio.sleep(0)
        assert bench.lane.load()["waiting"] == 3
        bench.lane.uncork()
        load = bench.lane.load()
        assert (load["waiting"], load["in_flight"], load["busy"]) == (0, 3, 1)
        await bench.ended(*calls)
        assert num_ended[-1] == 3


@pytest.mark.parametrize("nice", [3, 0])
async def test_scorers_are_nicer_than_their_worker(kind: Kind, tmp_path: Path, nice: int) -> None:
    """On a busy core, the worker's event loop goes before scorers, and these before the indexer."""
    worker = WorkerSettings(
        process_nice=nice, indexer_nice=2 * nice, scorers=1, process_pool=kind.name
    )
    settings = Settings(data=tmp_path, worker=worker)
    gate = QuarantineGate(Quarantine(2, 300.0), lambda _: 0, "w")
    pools = (scorer_lane(settings, (), gate), nice), (indexer_lane(settings), 2 * nice)
    for pool, own in pools:
        await pool.start()
        try:
            (pid,) = pool.load()["pids"]
            expected = min(19, os.getpriority(os.PRIO_PROCESS, 0) + own)
            assert os.getpriority(os.PRIO_PROCESS, pid) == expected
            if hasattr(os, "SCHED_BATCH"):
                mine = os.sched_getscheduler(0)
                assert os.sched_getscheduler(pid) == (os.SCHED_BATCH if nice else mine)
        finally:
            await pool.close(0.0)


def leftovers(kind: Kind) -> object:
    """What a pool that has ended must not have changed: descriptors, or processes."""
    return count_fds() if kind.is_supervised else multiprocessing.active_children()


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (f"{FACTORIES}:raise_at_start", "RuntimeError: no such index"),
        (f"{FACTORIES}:unspeakable_at_start", r"no index \\udcff"),
        (f"{FACTORIES}:exit_at_start", "exited with status 7|ended at its start"),
        (f"{FACTORIES}:nothing", "AttributeError"),
        ("tests.integration.absent:make", "ModuleNotFoundError"),
    ],
)
async def test_a_factory_that_fails_at_start_is_a_configuration_error(
    kind: Kind, factory: str, reason: str
) -> None:
    """The start says why, does not try again, and leaves nothing behind."""
    before = leftovers(kind)
    pool = kind.make(factory)
    with pytest.raises(ConfigurationError, match=reason):
        await pool.start()
    assert leftovers(kind) == before
    assert pool.load()["restarts"] == 0


async def test_closing_while_it_starts_ends_the_start(kind: Kind, tmp_path: Path) -> None:
    """A factory that hangs holds up neither `close` nor a cancelled start."""
    before = leftovers(kind)
    config = Config(str(tmp_path))
    config.held.touch()
    pool = kind.make(MAKE, config)
    starting = asyncio.create_task(pool.start())
    await until(lambda: config.starts()["held-start"] >= 2)
    await pool.close(1.0)
    with pytest.raises(ConfigurationError, match="closed while it started"):
        await starting
    other = kind.make(MAKE, config)
    cancelled = asyncio.create_task(other.start())
    await until(lambda: config.starts()["held-start"] >= 4)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert leftovers(kind) == before


async def test_closing_waits_for_what_is_in_flight(kind: Kind, tmp_path: Path) -> None:
    """What runs and what waits is answered, within the drain time; new tasks are refused."""
    async with kind.running(tmp_path, num_processes=1) as bench:
        calls = [bench.submit(f"w{at} sleep 0.05") for at in range(4)]
        closing = asyncio.create_task(bench.lane.close(60.0))
        await asyncio.sleep(0)
        refused = bench.submit("late echo")
        with pytest.raises(LaneUnavailableError):
            await bench.lane.wait_for_room()
        await closing
        assert [call.body for call in calls] == [b"w0", b"w1", b"w2", b"w3"]
        await bench.ended(refused)
        assert type(refused.error) is LaneUnavailableError


async def test_closing_does_not_wait_for_tasks_that_hang(kind: Kind, tmp_path: Path) -> None:
    """After the drain time what is left is answered as unavailable and its process is killed."""
    async with kind.running(tmp_path) as bench:
        calls = [bench.submit(f"w{at} spin", timeout_s=600) for at in range(6)]
        await bench.started("w0")
        started_at = time.monotonic()
        await bench.lane.close(0.1)
        assert time.monotonic() - started_at < 30.0
        await bench.ended(*calls)
        assert {type(call.error) for call in calls} == {LaneUnavailableError}


@contextmanager
def without_core(pid: int) -> Iterator[None]:
    """Let a process have a core only while another program, which never rests, does not want it."""
    cores, policy = os.sched_getaffinity(pid), os.sched_getscheduler(pid)
    core = min(cores)
    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(pid, {core})
    spin = f"import os\nos.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            yield
        finally:
            busy.kill()
            # On a busy machine, it would not get a core otherwise.
            os.sched_setaffinity(pid, cores)
            with suppress(PermissionError):  # not everyone may end this policy (sched(7))
                os.sched_setscheduler(pid, policy, os.sched_param(0))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, such waits are not reported")
async def test_a_task_that_is_late_since_it_gets_no_core_costs_no_process(
    kind: Kind, tmp_path: Path
) -> None:
    """It ends by itself once it has a core again, its process goes on, and nothing is suspect."""
    suspects = Quarantine(2, 60.0)
    gate = QuarantineGate(suspects)
    async with kind.running(tmp_path, num_processes=1, gate=gate) as bench:
        call = bench.submit(f"late linger {KILL_GRACE_S / 2}", SOON_S, b"late")
        pid = await bench.started("late")
        with without_core(pid):
            assert call.handle is not None
            over_at = call.handle.expires_at + 3 * KILL_GRACE_S
            await until(lambda: time.monotonic() > over_at or bool(call.dones))
            assert not call.dones
        await bench.ended(call)
        assert call.body == b"late"
        assert bench.pids() == [pid]
        assert bench.lane.load()["killed"] == 0
        assert not suspects
