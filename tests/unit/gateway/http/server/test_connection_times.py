"""How long a connection waits: slow heads and bodies, idle and silent clients."""

import asyncio

import pytest

from tests.support.connections import connect, turn
from tests.support.virtual_time import run_virtually
from tests.unit.support.asgi_app import (
    REQUEST,
    SWEEP_S,
    App,
    gone_at,
    post,
    refusal,
    table,
)

LOAD = b"POST /v1/collections/films/documents HTTP/1.1\r\nHost: h\r\n"


def test_a_refused_client_does_not_stay() -> None:
    """What is discarded is bounded in time and in bytes."""

    async def scenario(sent: bytes) -> float:
        limits = table(linger_timeout_s=3, max_linger_bytes=10_000)
        protocol, transport = connect(App(), table=limits)
        protocol.data_received(b"nonsense\r\n\r\n")
        await asyncio.sleep(1)
        protocol.data_received(sent)
        return await gone_at(transport)

    assert run_virtually(scenario(b"a" * 9_000)) == pytest.approx(3, abs=SWEEP_S + 0.01)
    assert run_virtually(scenario(b"a" * 11_000)) == 1


def test_a_connection_is_closed_once_it_has_been_idle() -> None:
    """It is closed 5 s after its last answer, however many there were before."""

    async def scenario() -> None:
        protocol, transport = connect(App())
        for _ in range(2):  # at 0 and 2 s
            protocol.data_received(REQUEST)
            await asyncio.sleep(2)
        assert await gone_at(transport) == pytest.approx(7, abs=SWEEP_S)
        protocol.connection_lost(None)

    run_virtually(scenario())


def test_a_connection_that_is_busy_is_not_closed() -> None:
    """An answer may take longer than a connection may be idle, which counts from it on."""

    async def scenario() -> None:
        app = App()
        app.may_answer.clear()
        protocol, transport = connect(app)
        protocol.data_received(REQUEST)
        await asyncio.sleep(100)
        assert transport.calls == []
        app.may_answer.set()
        assert await gone_at(transport) == pytest.approx(105, abs=SWEEP_S)
        protocol.connection_lost(None)

    run_virtually(scenario())


def test_a_silent_connection_is_closed() -> None:
    """One that never asks is closed silently, in the time that a head has."""

    async def scenario() -> None:
        protocol, transport = connect(App())
        assert await gone_at(transport) == pytest.approx(10, abs=SWEEP_S)
        assert transport.calls == ["close"]
        protocol.connection_lost(None)

    run_virtually(scenario())


@pytest.mark.parametrize("has_asked", [True, False])
def test_a_slow_head_is_refused(has_asked: bool) -> None:
    """Bytes that drip do not prolong the time for a head: it is a 408."""

    async def scenario() -> None:
        protocol, transport = connect(App())
        if has_asked:
            protocol.data_received(REQUEST)
            await asyncio.sleep(3)
            transport.calls.clear()
        for number in range(15):
            protocol.data_received(b"GET / HTTP/1.1\r\n"[number : number + 1])
            await asyncio.sleep(1)
            if transport.calls:
                break
        now = asyncio.get_running_loop().time()
        assert now - 3 * has_asked == pytest.approx(10.5, abs=0.6)
        status, problem = refusal(transport)
        assert (status, problem["type"]) == (408, "urn:problem-type:hedgerow:timed-out")
        protocol.connection_lost(None)

    run_virtually(scenario())


def test_a_slow_body_is_refused() -> None:
    """A body has 30 s in all, and the application does not wait for the rest."""

    async def scenario() -> None:
        app = App()
        protocol, transport = connect(app)
        protocol.data_received(post(1000))
        for _ in range(40):
            protocol.data_received(b"a")
            await asyncio.sleep(1)
            if transport.calls:
                break
        assert asyncio.get_running_loop().time() == pytest.approx(30.5, abs=0.6)
        assert refusal(transport)[0] == 408
        await turn()
        assert app.num_left == 1
        assert not protocol._server.tasks
        protocol.connection_lost(None)

    run_virtually(scenario())


def test_a_load_may_take_its_time_as_long_as_it_goes_on() -> None:
    """A bulk load is refused only after 30 s without a byte."""

    async def scenario() -> None:
        app = App()
        protocol, transport = connect(app)
        protocol.data_received(LOAD + b"Content-Length: 1000\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(29)
            protocol.data_received(b"a")
        assert transport.calls == []
        await asyncio.sleep(31)
        assert refusal(transport)[0] == 408
        protocol.connection_lost(None)

    run_virtually(scenario())


def test_a_load_that_is_not_read_is_not_late() -> None:
    """Time counts only while the gateway reads."""

    async def scenario() -> None:
        app = App(reads=False)
        app.may_answer.clear()
        protocol, transport = connect(app)
        protocol.data_received(LOAD + b"Content-Length: 1000000\r\n\r\n" + b"a" * 70_000)
        assert transport.calls == ["pause_reading"]
        await asyncio.sleep(100)
        protocol.reading.resume()
        await asyncio.sleep(29)
        assert b"HTTP" not in transport.written
        await asyncio.sleep(2.1)
        assert refusal(transport)[0] == 408
        app.may_answer.set()
        await turn()
        protocol.connection_lost(None)

    run_virtually(scenario())


def test_a_client_that_takes_nothing_is_disconnected() -> None:
    """30 s after the last byte was taken; as long as some are, it stays."""

    async def scenario() -> None:
        shared = table()
        protocol, transport = connect(App(), table=shared)
        protocol.data_received(REQUEST)
        transport.unsent_bytes = 1000
        for _ in range(10):
            await asyncio.sleep(20)
            transport.unsent_bytes -= 1
        assert "abort" not in transport.calls
        assert await gone_at(transport) == pytest.approx(230, abs=2 * SWEEP_S)
        protocol.connection_lost(None)
        assert shared.num_connections == 0

    run_virtually(scenario())
