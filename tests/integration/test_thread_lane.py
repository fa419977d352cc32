"""The thread lane over real threads: capacity that hangs, and comes back."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

import pytest

from hedgerow.common.errors import ExpiredError, LaneUnavailableError, WorkError
from hedgerow.shard_worker.executors.thread_pool.threads import Spent, ThreadLane
from tests.support.garbage import left_to_collector
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """The gate on which calls hang until the test, or its end, opens it."""
    event = threading.Event()
    yield event
    event.set()


def _lane(num_threads: int = 2, lost_after_s: float = 0.1) -> ThreadLane:
    return ThreadLane(num_threads=num_threads, lost_after_s=lost_after_s, name="threads")


def _raising(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


async def test_a_call_returns_what_it_returns_and_raises_what_it_raises() -> None:
    """Results and errors cross unchanged; what a future cannot carry becomes a WorkError."""
    lane = _lane()
    assert await lane.run(lambda: 41 + 1, 5.0) == 42
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0, 5.0)
    with pytest.raises(TimeoutError, match="the database's"):
        await lane.run(_raising(TimeoutError("the database's")), 5.0)
    for error in (StopIteration(), SystemExit(3)):
        with pytest.raises(WorkError, match=type(error).__name__):
            await lane.run(_raising(error), 5.0)
    assert lane.load()["busy"] == 0
    await lane.close(1.0)


async def test_a_call_that_raises_is_freed_with_its_error() -> None:
    """Its documents do not wait for the garbage collector: functions of users may always raise."""
    lane = _lane()

    async def fail() -> None:
        with suppress(ZeroDivisionError):
            await lane.run(lambda: 1 // 0, 5.0)
        await until(lambda: lane.load()["busy"] == 0)

    await fail()
    with left_to_collector() as left:
        await fail()
    assert [one for one in left if isinstance(one, BaseException)] == []
    await lane.close(1.0)


class CpuClock:
    """CPU time by thread, in s: as much as calls say that they use."""

    def __init__(self) -> None:
        """No thread has used any CPU time yet."""
        self._of_this_thread = threading.local()

    def __call__(self) -> float:
        """The CPU time that this thread has used."""
        return float(getattr(self._of_this_thread, "used_s", 0.0))

    def use(self, cpu_s: float) -> float:
        """Use this much CPU time in this thread; returns what it has used."""
        self._of_this_thread.used_s = self() + cpu_s
        return self()


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> CpuClock:
    """The clock of the threads' CPU time, which other programs do not disturb."""
    clock = CpuClock()
    monkeypatch.setattr(time, "thread_time", clock)
    return clock


async def test_what_calls_cost_is_told(cpu: CpuClock) -> None:
    """The time with a thread and its CPU time, added up; whether the call returns or raises."""
    lane, spent = _lane(), Spent()
    await lane.run(lambda: time.sleep(0.1), 5.0, spent)
    assert spent.ran_s >= 0.1
    assert spent.cpu_s == 0
    await lane.run(lambda: cpu.use(0.5), 5.0, spent)
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: cpu.use(0.25) // 0, 5.0, spent)
    assert spent.cpu_s == 0.75
    ran_s = spent.ran_s
    await lane.run(lambda: time.sleep(0.1), 5.0, spent)
    assert spent.ran_s >= ran_s + 0.1
    assert spent.cpu_s == 0.75
    await lane.close(1.0)


async def test_a_call_that_nobody_waits_for_tells_its_cost_elsewhere(
    cpu: CpuClock, gate: threading.Event
) -> None:
    """Its cost is reported once it returns, and not to a caller that has stopped waiting."""
    untaken: list[tuple[float, float]] = []
    lane = ThreadLane(
        num_threads=1,
        lost_after_s=0.1,
        name="threads",
        on_untaken=lambda *costs_s: untaken.append(costs_s),
    )
    spent = Spent()

    def call() -> None:
        gate.wait()
        time.sleep(0.1)
        cpu.use(0.25)

    with pytest.raises(ExpiredError):
        await lane.run(call, 0.02, spent)
    assert not untaken
    gate.set()
    await until(lambda: bool(untaken))
    ((ran_s, cpu_s),) = untaken
    assert ran_s >= 0.1
    assert cpu_s == 0.25
    assert spent == Spent()
    await lane.close(1.0)


async def test_a_call_sees_its_callers_context() -> None:
    """Context variables (those of the log, for one) reach the thread."""
    variable: ContextVar[str] = ContextVar("variable", default="none")
    variable.set("mine")
    lane = _lane()
    assert await lane.run(variable.get, 5.0) == "mine"
    await lane.close(1.0)


async def test_no_more_calls_run_than_there_are_threads(gate: threading.Event) -> None:
    """Twenty calls over three threads: never more than three at once, and all are done."""
    lane = _lane(num_threads=3, lost_after_s=60.0)
    lock, running, most = threading.Lock(), 0, 0

    def call() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return 1

    assert sum(await asyncio.gather(*(lane.run(call, 10.0) for _ in range(20)))) == 20
    assert most == 3
    await lane.close(1.0)


async def test_a_late_call_keeps_its_thread_until_it_returns(gate: threading.Event) -> None:
    """The waiter is freed on time; the thread is not, and counts as lost, until the call ends."""
    lane = _lane(num_threads=1)
    with pytest.raises(ExpiredError):
        await lane.run(gate.wait, 0.02)
    assert (lane.load()["busy"], lane.load()["late"], lane.room()) == (1, 1, 0)
    await until(lambda: lane.load()["lost"] == 1)
    gate.set()
    assert await lane.wait_for_room() == 1
    assert (lane.load()["busy"], lane.load()["lost"]) == (0, 0)
    assert await lane.run(lambda: "again", 5.0) == "again"
    await lane.close(1.0)


async def test_a_call_waits_for_a_thread_within_its_timeout(gate: threading.Event) -> None:
    """One that gets a thread in time runs; one that does not is late and never runs."""
    lane = _lane(num_threads=1, lost_after_s=60.0)
    ran: list[str] = []
    first = asyncio.create_task(lane.run(gate.wait, 10.0))
    await asyncio.sleep(0)
    with pytest.raises(ExpiredError, match="no thread"):
        await lane.run(lambda: ran.append("late"), 0.02)
    second = asyncio.create_task(lane.run(lambda: ran.append("in time"), 10.0))
    await asyncio.sleep(0)
    assert lane.load()["waiting"] == 1
    gate.set()
    await asyncio.gather(first, second)
    assert ran == ["in time"]
    await lane.close(1.0)


async def test_when_every_thread_is_lost_calls_fail_at_once(gate: threading.Event) -> None:
    """New calls and those already waiting get the error long before the timeout."""
    lane = _lane(num_threads=2, lost_after_s=0.1)
    hung = [asyncio.create_task(lane.run(gate.wait, 0.01)) for _ in range(2)]
    waiting = asyncio.create_task(lane.run(gate.wait, 60.0))
    async with asyncio.timeout(60):
        with pytest.raises(LaneUnavailableError, match="all 2 threads are lost"):
            await waiting
        with pytest.raises(LaneUnavailableError):
            await lane.run(gate.wait, 60.0)
    assert lane.load()["lost"] == 2
    gate.set()
    await until(lambda: lane.load()["lost"] == 0)
    assert await lane.run(lambda: 1, 5.0) == 1
    await asyncio.gather(*hung, return_exceptions=True)
    await lane.close(1.0)


async def test_one_lost_thread_does_not_stop_the_others(gate: threading.Event) -> None:
    """What is left of the capacity goes on."""
    lane = _lane(num_threads=2)
    with pytest.raises(ExpiredError):
        await lane.run(gate.wait, 0.01)
    assert await asyncio.gather(*(lane.run(lambda: 1, 5.0) for _ in range(10))) == [1] * 10
    gate.set()
    await lane.close(1.0)


async def test_a_cancelled_wait_gives_back_what_it_took(gate: threading.Event) -> None:
    """Cancelled while it waits, or in the turn in which it gets a thread: no thread is mislaid."""
    lane = _lane(num_threads=1, lost_after_s=60.0)
    first = asyncio.create_task(lane.run(gate.wait, 10.0))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(lane.run(lambda: 1, 10.0)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    gate.set()
    await first
    waiting[1].cancel()  # the thread has been handed to it, and it has not run since
    assert all(isinstance(end, asyncio.CancelledError | int) for end in await _ends(waiting))
    assert await lane.run(lambda: 2, 5.0) == 2
    assert lane.room() == 1
    await lane.close(1.0)


async def _ends(tasks: list[asyncio.Task[int]]) -> list[int | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_closing_lets_running_calls_return_and_refuses_the_rest(
    gate: threading.Event,
) -> None:
    """What runs is awaited; what waits for a thread, or comes later, is refused."""
    lane = _lane(num_threads=1, lost_after_s=60.0)
    runs = asyncio.create_task(lane.run(lambda: gate.wait() and "done", 10.0))
    await asyncio.sleep(0)
    waits = asyncio.create_task(lane.run(lambda: "never", 10.0))
    await asyncio.sleep(0)
    closing = asyncio.create_task(lane.close(10.0))
    with pytest.raises(LaneUnavailableError):
        await waits
    with pytest.raises(LaneUnavailableError):
        await lane.run(lambda: "late", 1.0)
    assert not closing.done()
    gate.set()
    assert await runs == "done"
    await closing
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("threads-") for name in names)


HANGING = """
import asyncio, threading
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane

async def main():
    lane = ThreadLane(num_threads=2, lost_after_s=0.1, name="threads")
    hung = asyncio.create_task(lane.run(threading.Event().wait, 0.05))
    await asyncio.wait([hung])
    print(type(hung.exception()).__name__)
    await lane.close(0.1)

asyncio.run(main())
"""


def test_a_call_that_hangs_does_not_keep_the_process_alive() -> None:
    """The interpreter exits, cleanly, while the call still hangs."""
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", HANGING],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "ExpiredError\n", "")
