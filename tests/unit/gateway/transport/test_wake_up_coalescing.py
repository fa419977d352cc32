"""Wake-up coalescing: when an idle loop sleeps on, and that this makes nothing late."""

import asyncio
import selectors
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway import gateway as service
from hedgerow.gateway.cli import serve
from hedgerow.gateway.transport.wake_up_coalescing import MANY, CoalescingSelector, sleep_for


@pytest.mark.parametrize(
    ("num_in_flight", "duration_ms", "sleep_ms"),
    [
        (0, 13.0, 0.0),
        (1, 13.0, 0.0),
        (MANY - 1, 1000.0, 0.0),
        (MANY, 1.1, 0.0),
        (MANY, 5.9, 0.0),
        (MANY, 6.1, 6.1 / 12),
        (32, 9.0, 0.75),
        (32, 13.0, 1.0),
        (500, 300.0, 1.0),
    ],
)
def test_the_sleep_is_a_share_of_what_many_slow_queries_take(
    num_in_flight: int, duration_ms: float, sleep_ms: float
) -> None:
    """With few in flight there is none, nor with fast ones; and it is never long."""
    found_ms = sleep_for(num_in_flight, duration_ms / 1000) * 1000
    assert found_ms == pytest.approx(sleep_ms)


class Idle:
    """A selector with one socket, which records how long it has slept."""

    def __init__(self, sleep_s: float) -> None:
        self.slept: list[float] = []
        self.selector = CoalescingSelector(self._sleep)
        self.selector.sleep_s = lambda: sleep_s
        self.ours, self._theirs = socket.socketpair()
        self.selector.register(self.ours, selectors.EVENT_READ)
        self.arrives_in_sleep = False

    def _sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        if self.arrives_in_sleep:
            self.arrive()

    def arrive(self) -> None:
        """Have something to read."""
        self._theirs.send(b"x")

    def close(self) -> None:
        """Close all."""
        self.selector.close()
        self.ours.close()
        self._theirs.close()


@pytest.fixture
def idle() -> Iterator[Idle]:
    """A selector that sleeps for 20 ms."""
    idle = Idle(0.02)
    yield idle
    idle.close()


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_what_arrives_in_a_sleep_is_found_after_it(idle: Idle, timeout: float | None) -> None:
    """A selector that would wait sleeps first, once."""
    idle.arrives_in_sleep = True
    assert [key.fileobj for key, _ in idle.selector.select(timeout)] == [idle.ours]
    assert idle.slept == [0.02]


def test_a_loop_that_has_something_to_do_does_not_sleep(idle: Idle) -> None:
    """It does not sleep when it only polls, nor when something has already arrived."""
    assert idle.selector.select(0) == []
    idle.arrive()
    assert len(idle.selector.select(0)) == 1
    assert len(idle.selector.select(5.0)) == 1
    assert idle.slept == []


def test_a_timer_is_not_late_for_a_sleep(idle: Idle, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is due sooner, there is no sleep; if later, the sleep counts as waited."""
    waits: list[float | None] = []

    def select(_self: object, timeout: float | None = None) -> list[Any]:
        waits.append(timeout)
        return []

    monkeypatch.setattr(selectors.DefaultSelector, "select", select)
    assert idle.selector.select(0.01) == []
    assert (idle.slept, waits) == ([], [0.01])
    assert idle.selector.select(0.05) == []
    assert (idle.slept, waits[1:]) == ([0.02], [0, pytest.approx(0.03)])


def test_there_is_none_before_somebody_asks_for_it() -> None:
    """A loop without a gateway, or with one that has little to do, is any other loop."""
    idle = Idle(0.0)
    try:
        assert idle.selector.select(0.001) == []
        assert CoalescingSelector().sleep_s() == 0
        assert idle.slept == []
    finally:
        idle.close()


async def test_a_gateway_goes_by_the_queries_that_it_has_let_in() -> None:
    """It sleeps while many are in flight, for a share of what the last ones took."""
    gateway = service.Gateway(
        Settings(), Mock(spec=RedisClient, is_split=False, data_clients=()), 1
    )
    admission = gateway._guards.shared.admission
    permits = [admission.admit("interactive", 60.0, 0.0, [True], [1], 0.0) for _ in range(2 * MANY)]
    assert gateway.coalescing_s() == 0  # none is known to be slow
    for permit in permits[MANY:]:
        permit.done(1.0)
    assert gateway.coalescing_s() == pytest.approx(0.001)
    permits[0].done(1.0)
    assert gateway.coalescing_s() == 0


def test_a_gateway_that_is_served_says_when(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` asks its gateway for how long the loop may sleep on, each time it is idle."""
    asked: list[int] = []

    class Gateway:
        @classmethod
        @asynccontextmanager
        async def connect(cls, *_: Any, **__: Any) -> AsyncIterator["Gateway"]:
            yield cls()

        counters = Counters()
        shortages = Mock()
        live = Mock()

        def coalescing_s(self) -> float:
            asked.append(1)
            return 0.0

        def keep_keys(self, _: frozenset[str]) -> None: ...

        def leave(self) -> None: ...

    async def run_server(*_: Any, **__: Any) -> None:
        asked.clear()
        await asyncio.sleep(0.001)
        assert asked

    monkeypatch.setattr(serve, "load_settings", Settings)
    monkeypatch.setattr(serve, "configure_logging", lambda *_: None)
    monkeypatch.setattr(serve, "calm_collector", lambda: None)
    monkeypatch.setattr(serve, "create_app", lambda *_: None)
    monkeypatch.setattr(serve, "Gateway", Gateway)
    monkeypatch.setattr(serve, "run_server", run_server)
    serve.serve(host="127.0.0.1", port=0)
    assert asked
