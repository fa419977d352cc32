"""A worker's heartbeats, and how it signs off."""

import asyncio
import math
from collections.abc import Iterator
from unittest.mock import AsyncMock

import pytest
import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.serving.heartbeat_sender import (
    LOOK_S,
    SHORTEST_PAUSE_S,
    HeartbeatSender,
)
from tests.support.virtual_time import run_virtually


def beat(pid: int, at_ms: int, started_at_ms: int) -> Heartbeat:
    """A heartbeat under the same id."""
    return Heartbeat("w", pid, "h", [0], "1", at_ms, started_at_ms)


def a_registry() -> AsyncMock:
    """A registry without heartbeats of other workers."""
    registry = AsyncMock(spec=Registry)
    registry.heartbeat.return_value = None
    return registry


def test_a_worker_that_redis_refuses_beats_on() -> None:
    """A changed password ends no worker: it logs that once a minute, and tries again."""
    registry = a_registry()
    registry.beat.side_effect = ConfigurationError("the server refuses the user or password")
    registry.forget_worker.side_effect = ConfigurationError("the same")
    signs = HeartbeatSender(registry, lambda: beat(1, 5000, 5000), interval_s=0.5)

    async def scenario() -> None:
        running = asyncio.create_task(signs.run())
        await asyncio.sleep(30.1)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        await signs.leave("w")

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert registry.beat.await_count == 61
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["heartbeat_refused"]


def signs_over(registry: AsyncMock, interval_s: float) -> HeartbeatSender:
    """A sender whose heartbeats go to a registry that takes them."""
    return HeartbeatSender(registry, lambda: beat(1, 5000, 5000), interval_s=interval_s)


def test_telling_ends_when_others_can_have_heard() -> None:
    """With a heartbeat that was composed after the call; one that is under way is not it."""
    registry, may_arrive = a_registry(), asyncio.Event()
    news, composed = "old", list[str]()

    async def take(_beat: Heartbeat, *, is_changed: bool) -> None:
        del is_changed
        await may_arrive.wait()

    def compose() -> Heartbeat:
        composed.append(news)
        return beat(1, 5000, 5000)

    async def scenario() -> None:
        nonlocal news
        registry.beat.side_effect = take
        signs = HeartbeatSender(registry, compose, interval_s=10.0)
        running = asyncio.create_task(signs.run())
        await asyncio.sleep(1.0)
        assert composed == ["old"]  # and under way
        news = "new"
        telling = asyncio.create_task(signs.beat_and_wait())
        await asyncio.sleep(1.0)
        assert not telling.done()
        may_arrive.set()
        await telling
        assert composed == ["old", "new"]
        assert asyncio.get_running_loop().time() < 3.0
        running.cancel()
        await asyncio.wait([running])

    run_virtually(scenario())


def test_a_worker_knows_when_it_was_last_heard() -> None:
    """A heartbeat that does not arrive proves nothing; another counts from its composition."""
    registry = a_registry()

    async def slowly(_beat: Heartbeat, *, is_changed: bool) -> None:
        del is_changed
        await asyncio.sleep(0.2)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        signs = signs_over(registry, interval_s=0.5)
        assert signs.arrived_at == -math.inf
        registry.beat.side_effect = RedisUnavailableError("no answer")
        running = asyncio.create_task(signs.run())
        waiting = asyncio.create_task(signs.until_arrived(0.0))
        await asyncio.sleep(5.0)
        assert signs.arrived_at == -math.inf
        assert not waiting.done()
        registry.beat.side_effect = slowly
        await waiting
        assert 5.0 <= signs.arrived_at <= loop.time() - 0.2
        await asyncio.sleep(0.1)  # and the next is not due yet
        since = loop.time()
        await signs.until_arrived(since)
        assert since <= signs.arrived_at
        assert loop.time() < since + 0.4
        await signs.until_arrived(since)
        running.cancel()
        await asyncio.wait([running])

    run_virtually(scenario())


def test_a_silence_is_told_when_it_ends() -> None:
    """Once, with the first heartbeat that arrives after it; a start is none."""
    registry = a_registry()

    async def scenario() -> None:
        loop, told = asyncio.get_running_loop(), list[float]()
        signs = HeartbeatSender(
            registry,
            lambda: beat(1, 5000, 5000),
            interval_s=0.5,
            longest_silence_s=1.8,
            on_silence=lambda: told.append(loop.time()),
        )
        running = asyncio.create_task(signs.run())
        await asyncio.sleep(10.1)
        registry.beat.side_effect = RedisUnavailableError("no answer")
        await asyncio.sleep(1.0)
        registry.beat.side_effect = None
        await asyncio.sleep(10.0)
        assert told == []
        registry.beat.side_effect = RedisUnavailableError("no answer")
        await asyncio.sleep(5.0)
        registry.beat.side_effect = None
        assert told == []
        await asyncio.sleep(5.0)
        assert told == [pytest.approx(26.5)]
        running.cancel()
        await asyncio.wait([running])

    run_virtually(scenario())


def test_a_change_is_told_at_once_and_announced() -> None:
    """A change is sent at once, and once; the regular heartbeats keep their instants."""
    registry = a_registry()

    async def scenario() -> list[tuple[float, bool]]:
        told: list[tuple[float, bool]] = []
        loop = asyncio.get_running_loop()
        registry.beat.side_effect = lambda _beat, *, is_changed: told.append(
            (loop.time(), is_changed)
        )
        signs = signs_over(registry, interval_s=10.0)
        running = asyncio.create_task(signs.run())
        await asyncio.sleep(6.0)
        signs.beat_soon()
        await asyncio.sleep(12.0)
        running.cancel()
        await asyncio.wait([running])
        return told

    assert run_virtually(scenario()) == [(0.0, False), (6.0, True), (10.0, False)]


def test_changes_back_and_forth_are_told_a_few_times_a_second() -> None:
    """The first at once, the others a pause apart, and the last one is not lost."""
    registry = a_registry()

    async def scenario() -> tuple[list[int], int]:
        told: list[int] = []
        num_changes = 0
        registry.beat.side_effect = lambda _beat, **_: told.append(num_changes)
        signs = signs_over(registry, interval_s=0.5)
        running = asyncio.create_task(signs.run())
        await asyncio.sleep(0.3)
        for _ in range(1000):
            num_changes += 1
            signs.beat_soon()
            await asyncio.sleep(0.01)
        await asyncio.sleep(SHORTEST_PAUSE_S)
        running.cancel()
        await asyncio.wait([running])
        return told, num_changes

    told, num_changes = run_virtually(scenario())
    assert told[-1] == num_changes == 1000
    assert len(told) <= 10 / SHORTEST_PAUSE_S + 4


@pytest.mark.parametrize(
    ("found", "is_told"),
    [
        (None, False),
        (beat(1, 9000, 5000), False),
        (beat(2, 4999, 1000), False),
        (beat(2, 9000, 1000), True),
        (beat(1, 9000, 4990), False),
    ],
    ids=["gone", "its own", "its predecessor's", "another's", "its own by another clock"],
)
def test_another_worker_with_the_same_id_is_told(found: Heartbeat | None, is_told: bool) -> None:
    """Once a minute; each would hide the other's shards from time to time."""
    registry = a_registry()
    registry.heartbeat.return_value = found
    signs = HeartbeatSender(registry, lambda: beat(1, 5000, 5000), interval_s=0.5)

    async def scenario() -> None:
        running = asyncio.create_task(signs.run())
        await asyncio.sleep(3 * LOOK_S + 1.0)
        running.cancel()
        await asyncio.wait([running])

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert [line["event"] for line in logs] == ["worker_id_shared"] * is_told
    assert registry.heartbeat.await_count == 3


def test_what_has_arrived_is_told_with_its_age() -> None:
    """Each heartbeat that Redis has taken, by the time since it was composed; and no other."""
    registry, ages = a_registry(), list[float]()
    outcomes: Iterator[float | Exception] = iter([0.3, RedisUnavailableError("gone"), 0.0])

    async def take(_beat: Heartbeat, *, is_changed: bool) -> None:
        del is_changed
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        await asyncio.sleep(outcome)

    async def scenario() -> None:
        registry.beat.side_effect = take
        signs = HeartbeatSender(
            registry, lambda: beat(1, 5000, 5000), interval_s=0.5, on_arrival=ages.append
        )
        for _ in range(3):
            await signs.beat()

    run_virtually(scenario())
    assert ages == pytest.approx([0.3, 0.0])
