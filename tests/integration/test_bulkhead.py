"""What one rank profile's calls hold of real threads and scorers, and what is left to others."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.common.errors import (
    ExpiredError,
    LaneUnavailableError,
    NotStartedError,
    ProfileBusyError,
)
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from tests.integration.support.lanes import SOON_S, Bench, Call, running
from tests.support.waiting import until

pytestmark = pytest.mark.integration

HANG = "sleep 30"  # by far longer than any test


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """The gate on which calls hang until the test, or its end, opens it."""
    event = threading.Event()
    yield event
    event.set()


def thread_lane(lost_after_s: float = 60.0) -> ThreadLane:
    """Four threads, of which a profile may hold two."""
    bulkhead = Bulkhead(4, 0.5, {})
    return ThreadLane(num_threads=4, lost_after_s=lost_after_s, name="threads", bulkhead=bulkhead)


async def hold(lane: ThreadLane, profile: str, gate: threading.Event, count: int) -> list[int]:
    """Let calls of a profile hang; returns in the end what they return."""
    calls = (lane.run(lambda: gate.wait() and 1, 30.0, None, profile) for _ in range(count))
    return [int(one) for one in await asyncio.gather(*calls)]


async def test_hanging_calls_of_a_profile_leave_threads_to_others(gate: threading.Event) -> None:
    """It holds its share, its other calls wait, and another profile's run at once."""
    lane = thread_lane()
    hanging = asyncio.create_task(hold(lane, "slow", gate, 5))
    await until(lambda: lane.load()["waiting"] == 3)
    assert lane.load()["busy"] == 2
    assert await lane.run(lambda: 42, 30.0, None, "fast") == 42
    assert await lane.run(lambda: 43, 30.0) == 43
    assert lane.load()["profiles"]["slow"] == {"most": 2, "held": 2, "refused": 0}
    gate.set()
    assert await hanging == [1] * 5
    assert lane.load()["profiles"]["slow"]["held"] == 0
    await lane.close(1.0)


async def test_a_profile_whose_threads_are_lost_is_refused_alone(gate: threading.Event) -> None:
    """Its calls that wait and those to come fail at once; another profile's do not."""
    lane = thread_lane(lost_after_s=0.05)
    hanging = asyncio.create_task(hold(lane, "slow", gate, 2))
    await until(lambda: lane.load()["busy"] == 2)
    with pytest.raises(LaneUnavailableError, match="the 2 threads that slow may hold are lost"):
        await lane.run(lambda: 1, 30.0, None, "slow")
    await until(lambda: lane.load()["lost"] == 2)
    with pytest.raises(LaneUnavailableError, match="the 2 threads that slow may hold are lost"):
        await lane.run(lambda: 1, 30.0, None, "slow")
    assert await lane.run(lambda: 42, 30.0, None, "fast") == 42
    gate.set()
    assert await hanging == [1, 1]
    assert await lane.run(lambda: 44, 30.0, None, "slow") == 44
    await lane.close(1.0)


async def test_a_thread_goes_to_each_profile_in_turn(gate: threading.Event) -> None:
    """When a thread comes back, a profile with one call is not behind another's many."""
    lane = ThreadLane(
        num_threads=2, lost_after_s=60.0, name="threads", bulkhead=Bulkhead(2, 0.5, {})
    )
    order: list[str] = []
    own_gate = threading.Event()

    async def call(profile: str) -> None:
        await lane.run(lambda: order.append(profile), 30.0, None, profile)

    # One thread is held throughout: two would note what they do in any order.
    held = asyncio.create_task(hold(lane, "held", own_gate, 1))
    hanging = asyncio.create_task(hold(lane, "a", gate, 1))
    await until(lambda: lane.load()["busy"] == 2)
    tasks = [asyncio.create_task(call(profile)) for profile in ("a", "a", "a", "c", "b")]
    await until(lambda: lane.load()["waiting"] == 5)
    gate.set()
    await asyncio.gather(*tasks, hanging)
    assert sorted(order) == ["a", "a", "a", "b", "c"]
    assert max(order.index("b"), order.index("c")) < 3
    own_gate.set()
    await held
    await lane.close(1.0)


async def hog(bench: Bench[ProcessLane], count: int, timeout_s: float = 30.0) -> list[Call]:
    """Tasks of one profile that hold all they may; returns when they have begun."""
    calls = [bench.submit(f"hog{at} {HANG}", timeout_s, profile="slow") for at in range(count)]
    for at in range(count):
        await bench.started(f"hog{at}")
    return calls


async def test_works_of_a_profile_leave_a_scorer_to_others(tmp_path: Path) -> None:
    """While it computes on all the scorers that it may hold, others' tasks are done at once."""
    bulkhead = Bulkhead(3, 1.0, {})
    async with running(tmp_path, num_processes=3, bulkhead=bulkhead) as bench:
        await hog(bench, 2)
        assert bench.lane.load()["profiles"]["slow"]["held"] == 2
        others = [bench.submit(f"o{at} echo {at}", profile="") for at in range(20)]
        others += [bench.submit(f"p{at} echo {at}", profile="fast") for at in range(20)]
        await bench.ended(*others)
        assert [call.body for call in others] == [
            call.handle.task.payload.split()[0] for call in others if call.handle
        ]
        assert bench.lane.room() > 0


async def test_a_profile_beside_others_is_refused_when_its_turn_would_come_too_late(
    tmp_path: Path,
) -> None:
    """It is refused at once, since what runs before it takes long; others still have room."""
    async with running(tmp_path, num_processes=2, bulkhead=Bulkhead(2, 1.0, {})) as bench:
        other = bench.submit("other echo x")
        await bench.ended(other)
        await hog(bench, 1)
        assert bench.lane._dispatcher is not None
        bench.lane._dispatcher.workload.service_of("slow").estimate_us = 300_000.0
        late = bench.submit("late echo x", 0.3, profile="slow")
        patient = bench.submit("patient echo x", 1000.0, profile="slow")
        await bench.ended(late)
        assert isinstance(late.error, ProfileBusyError)
        assert patient.dones == []
        assert bench.lane.load()["profiles"]["slow"] == {"most": 1, "held": 1, "refused": 1}
        assert bench.lane.room() > 0  # what waits for its turn takes none from others


async def test_a_profile_alone_waits_as_in_a_lane_without_bulkhead(tmp_path: Path) -> None:
    """With no other work, what it cannot start yet is no room, and moves to another worker."""
    async with running(tmp_path, num_processes=2, bulkhead=Bulkhead(2, 1.0, {})) as bench:
        await hog(bench, 1)
        assert bench.lane._dispatcher is not None
        watchdog = bench.lane._dispatcher._watchdog
        await until(lambda: bench.lane.room() == 0)
        waiting = bench.submit("waiting echo x", profile="slow")
        await until(lambda: watchdog.is_held_up("slow", float("inf")))
        moved = bench.submit("moved echo x", profile="slow", is_movable=True)
        await bench.ended(moved)
        assert isinstance(moved.error, NotStartedError)
        assert waiting.dones == []


async def test_a_profile_that_lost_its_scorer_does_not_take_the_last(tmp_path: Path) -> None:
    """Until the one that it has killed is replaced, the other is left to the others."""
    bulkhead = Bulkhead(2, 1.0, {})
    async with running(tmp_path, num_processes=2, bulkhead=bulkhead) as bench:
        bench.config.held.touch()  # no scorer becomes ready
        (killed,) = await hog(bench, 1, SOON_S)
        again = bench.submit(f"again {HANG}", profile="slow")
        await bench.ended(killed)
        assert isinstance(killed.error, ExpiredError)
        await until(lambda: bench.lane.load()["alive"] == 1)
        other = bench.submit("other echo x")
        await bench.ended(other)
        assert other.body == b"other"
        assert bench.config.starts()["again"] == 0
        bench.config.held.unlink()
        await bench.started("again")
        other = bench.submit("another echo x")
        await bench.ended(other)
        assert (other.body, again.dones) == (b"another", [])
