"""Short calls that share the turns of a few real threads."""

import asyncio
import gc
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.errors import ExpiredEnd, ExpiredError, LaneUnavailableError, WorkError
from hedgerow.shard_worker.executors.thread_pool import batched_threads
from hedgerow.shard_worker.executors.thread_pool.batched_threads import BatchedThreads
from hedgerow.shard_worker.executors.thread_pool.threads import Spent, ThreadLane
from tests.support.garbage import left_to_collector
from tests.support.waiting import until

pytestmark = pytest.mark.integration

Hung = asyncio.Future[Any]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """The gate on which calls hang until the test, or its end, opens it."""
    event = threading.Event()
    yield event
    event.set()


def threads(
    num_threads: int = 2,
    lost_after_s: float = 5.0,
    on_untaken: Callable[[float, float], None] | None = None,
) -> BatchedThreads:
    """Threads of their own."""
    lane = ThreadLane(num_threads=num_threads, lost_after_s=lost_after_s, name="readers")
    return BatchedThreads(lane, 64, on_untaken)


def raising(error: BaseException) -> Callable[[], Any]:
    """A call that raises."""

    def call() -> None:
        raise error

    return call


async def hang(batched: BatchedThreads, gate: threading.Event, timeout_s: float = 20.0) -> Hung:
    """Start a call that hangs on the gate; returns once a thread is in it."""
    started = threading.Event()

    def call() -> bool:
        started.set()
        return gate.wait(60)

    hung = asyncio.ensure_future(run(batched, call, timeout_s))
    await until(started.is_set)
    return hung


async def run(batched: BatchedThreads, call: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Run a call, of any profile."""
    return await batched.run(call, timeout_s, Spent())


async def test_each_caller_has_its_own_result() -> None:
    """What calls return and raise reaches who asked, though they share a thread."""
    batched = threads(num_threads=1)
    calls: list[Callable[[], Any]] = [lambda: 1, raising(KeyError("x")), lambda: 3]
    calls += [raising(StopIteration()), raising(SystemExit(3)), lambda: 6]
    results = await asyncio.gather(*(run(batched, call) for call in calls), return_exceptions=True)
    assert [results[0], results[2], results[5]] == [1, 3, 6]
    assert isinstance(results[1], KeyError)
    assert isinstance(results[3], WorkError)
    assert isinstance(results[4], WorkError)
    await batched.close(1.0)


async def test_a_call_that_expired_is_freed_once_it_has_returned(gate: threading.Event) -> None:
    """It does not wait for the garbage collector with what it refers to, such as a request."""
    batched = threads(num_threads=1)

    class Request:
        def wait(self) -> bool:
            return gate.wait(60)

    request = Request()
    left = weakref.ref(request)
    gc.disable()
    try:
        with pytest.raises(ExpiredError):
            await run(batched, request.wait, 0.01)
        del request
        gate.set()
        await until(lambda: left() is None)
    finally:
        gc.enable()
    await batched.close(1.0)


async def test_a_call_that_raises_is_freed_with_its_error() -> None:
    """It does not wait for the garbage collector with what it refers to."""
    batched = threads(num_threads=1)

    async def fail() -> None:
        with suppress(ZeroDivisionError):
            await run(batched, lambda: 1 // 0)
        await asyncio.sleep(0)

    await fail()
    with left_to_collector() as left:
        await fail()
    assert [one for one in left if isinstance(one, BaseException)] == []
    await batched.close(1.0)


async def test_calls_that_come_together_share_turns_of_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once calls are known to be short, fifty of them wake two threads, and not eight."""
    ticks = itertools.count()  # of 10 µs; a call takes one, and three until the next call
    monkeypatch.setattr(batched_threads, "_clock", lambda: next(ticks) * 1e-5)
    batched = threads(num_threads=8)
    assert batched.room() == 8
    for _ in range(60):
        await run(batched, lambda: None)
    assert batched.room() == 8 * 64
    with patch.object(batched._lane, "run", side_effect=batched._lane.run) as turn:
        await asyncio.gather(*(run(batched, lambda: None) for _ in range(50)))
    assert turn.call_count == 2
    await batched.close(1.0)


async def test_what_calls_cost_is_told_apart() -> None:
    """Each call has its own time and CPU time, not those of its whole turn."""
    batched, slept, idle = threads(num_threads=1), Spent(), Spent()
    await asyncio.gather(
        batched.run(lambda: time.sleep(0.1), 20.0, slept), batched.run(lambda: None, 20.0, idle)
    )
    assert slept.ran_s >= 0.1
    assert slept.cpu_s < 0.1
    assert idle.ran_s < slept.ran_s
    await batched.close(1.0)


async def test_a_call_that_hangs_holds_up_no_other(gate: threading.Event) -> None:
    """Those before it in its turn are handed back, those behind it run in another thread."""
    batched = threads()
    for _ in range(60):  # so that one turn would take all of them
        await run(batched, lambda: None)
    first = [asyncio.ensure_future(run(batched, lambda: "before")) for _ in range(5)]
    hung = asyncio.ensure_future(run(batched, lambda: gate.wait(60)))
    last = [asyncio.ensure_future(run(batched, lambda: "behind")) for _ in range(5)]
    assert await asyncio.gather(*first, *last) == ["before"] * 5 + ["behind"] * 5
    assert not hung.done()
    gate.set()
    assert await hung is True
    await batched.close(1.0)


async def test_a_call_that_waits_too_long_never_starts(gate: threading.Event) -> None:
    """It has expired, like one that was dropped."""
    batched, ran = threads(num_threads=1), []
    hung = await hang(batched, gate)
    with pytest.raises(ExpiredError, match="no thread was free") as expired:
        await run(batched, lambda: ran.append(1), 0.01)
    assert expired.value.end is ExpiredEnd.DROPPED
    given_up = asyncio.ensure_future(run(batched, lambda: ran.append(2)))
    await asyncio.sleep(0)
    given_up.cancel()
    gate.set()
    await hung
    await run(batched, lambda: ran.append(3))
    assert ran == [3]
    await batched.close(1.0)


async def test_a_call_that_returns_too_late_tells_its_cost_elsewhere(gate: threading.Event) -> None:
    """Its caller has heard that it was late; its cost is reported once it returns."""
    untaken: list[tuple[float, float]] = []
    batched = threads(on_untaken=lambda *cost: untaken.append(cost))
    hung = await hang(batched, gate, 0.5)
    with pytest.raises(ExpiredError, match="took longer"):
        await hung
    assert batched.load()["late"] == 1
    assert not untaken
    gate.set()
    await until(lambda: bool(untaken))
    assert untaken[0][0] > 0
    await batched.close(1.0)


async def test_where_all_threads_are_lost_calls_are_refused_until_one_returns(
    gate: threading.Event,
) -> None:
    """There is no room meanwhile; afterwards all is as before."""
    batched = threads(num_threads=2, lost_after_s=0.05)
    hung = [await hang(batched, gate) for _ in range(2)]
    await until(lambda: batched.load()["lost"] == 2)
    assert batched.room() == 0
    with pytest.raises(LaneUnavailableError, match="lost"):
        await run(batched, lambda: None)
    gate.set()
    await asyncio.gather(*hung)
    assert await batched.wait_for_room() >= 1
    assert await run(batched, lambda: 1) == 1
    await batched.close(1.0)


async def test_a_lane_that_closes_refuses_what_waits(gate: threading.Event) -> None:
    """Closing leaves behind the threads that hang."""
    batched = threads(num_threads=1)
    hung = await hang(batched, gate, 0.5)
    waiting = asyncio.ensure_future(run(batched, lambda: 1))
    await asyncio.sleep(0)
    await batched.close(0.0)
    with pytest.raises(LaneUnavailableError):
        await waiting
    with pytest.raises(ExpiredError):
        await hung
