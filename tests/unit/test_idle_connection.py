"""Connections that are idle: closed in time, and no earlier."""

import asyncio
from typing import Any

import pytest

from gateway.http.idle_connection import IdleConnection
from tests.unit.connections import RecordingTransport, connect, turn
from tests.unit.virtual_time import run_virtually

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer at once."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def closed_at(transport: RecordingTransport) -> float:
    """When a connection is closed, on the loop's clock."""
    await transport.closed.wait()
    return asyncio.get_running_loop().time()


def test_a_connection_is_closed_once_it_has_been_idle() -> None:
    """It is closed 5 s after its last answer, however many there were before."""

    async def scenario() -> None:
        protocol, transport = connect(IdleConnection, answer)
        for _ in range(2):  # at 0 and 2 s
            protocol.data_received(REQUEST)
            await asyncio.sleep(2)
        assert await closed_at(transport) == pytest.approx(7, abs=0.01)
        protocol.connection_lost(None)

    run_virtually(scenario())


def test_a_connection_that_is_busy_is_not_closed() -> None:
    """An answer may take longer than a connection may be idle, which counts from it on."""

    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(7)
        await answer(scope, receive, send)

    async def scenario() -> None:
        protocol, transport = connect(IdleConnection, slowly)
        for _ in range(2):  # answered at 7 and 15 s
            protocol.data_received(REQUEST)
            await asyncio.sleep(8)
            assert transport.num_writes
            assert not transport.is_closing()
        assert await closed_at(transport) == pytest.approx(20, abs=0.01)
        protocol.connection_lost(None)

    run_virtually(scenario())


def test_a_connection_that_is_lost_leaves_no_timer() -> None:
    """Nobody closes it again, and nothing keeps it alive."""

    async def scenario() -> None:
        protocol, transport = connect(IdleConnection, answer)
        protocol.data_received(REQUEST)
        await turn()
        protocol.connection_lost(ConnectionResetError())
        calls = transport.calls.copy()
        await asyncio.sleep(20)
        assert transport.calls == calls

    run_virtually(scenario())


def test_a_request_that_waits_follows_the_answer() -> None:
    """Pipelined requests are answered one after the other."""

    async def scenario() -> None:
        protocol, transport = connect(IdleConnection, answer)
        protocol.data_received(REQUEST * 3)
        await turn()
        assert transport.written.count(b"HTTP/1.1 204") == 3
        assert await closed_at(transport) == pytest.approx(5, abs=0.01)
        protocol.connection_lost(None)

    run_virtually(scenario())
