"""`gateway serve`: how it starts, drains and ends."""

import asyncio
import contextlib
import os
import signal
import socket
from asyncio import selector_events
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.cli.serve import listen, run_server
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server import HttpServer
from tests.integration.support.serve import serving, url_of
from tests.support.launching import starting_by_exec
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(
    redis_server: RedisServer, key_prefix: str, number: signal.Signals
) -> None:
    """It says where it is ready, answers there, and ends with 0 on SIGTERM and on SIGINT."""
    with starting_by_exec(), serving(redis_server.url, key_prefix) as process:
        url = url_of(process)
        assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
        ready = httpx.get(f"{url}/readyz", timeout=60)  # no worker is there
        assert (ready.status_code, ready.headers["content-type"]) == (
            503,
            "application/problem+json",
        )
        search = httpx.post(f"{url}/v1/collections/none/search", json={"query": "a"}, timeout=60)
        assert search.status_code == 404
        process.send_signal(number)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in log


def test_those_who_watch_do_not_hold_it_up(redis_server: RedisServer, key_prefix: str) -> None:
    """A stream of events, which has no end by itself, is ended when the drain begins."""
    with serving(redis_server.url, key_prefix) as process:
        url = url_of(process)
        with httpx.stream("GET", f"{url}/v1/events", timeout=60) as response:
            pieces = response.iter_text()
            assert "event: history" in next(pieces)
            process.send_signal(signal.SIGTERM)
            for _ in pieces:  # it ends in good order
                pass
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "drain_timed_out" not in log


def test_it_ends_with_its_parent(redis_server: RedisServer, key_prefix: str) -> None:
    """When the last holder of the pipe's other end is gone, it drains and ends with 0."""
    read_end, write_end = os.pipe()
    with (
        contextlib.closing(os.fdopen(read_end)),
        serving(
            redis_server.url, key_prefix, "--parent-pipe", str(read_end), pass_fds=[read_end]
        ) as process,
    ):
        url_of(process)
        os.close(write_end)
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_a_port_that_is_taken_is_one_line(redis_server: RedisServer, key_prefix: str) -> None:
    """A port in use ends it with 1 and says which."""
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving(redis_server.url, key_prefix, "--port", port) as process:
            _, log = process.communicate(timeout=60)
        assert process.returncode == 1
        assert port in log
        assert "Traceback" not in log


def test_an_address_that_is_none_is_a_configuration_error() -> None:
    """A host that this machine does not have cannot be bound."""
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1 port 0"):
        listen("192.0.2.1", 0)  # TEST-NET-1, RFC 5737


def test_a_shared_port_takes_no_connection_before_it_is_served() -> None:
    """Another process may bind it too, and the system has nothing to queue for either yet."""
    with (
        contextlib.closing(listen("127.0.0.1", 0, is_shared=True)) as one,
        contextlib.closing(listen("127.0.0.1", one.getsockname()[1], is_shared=True)),
        pytest.raises(ConnectionRefusedError),
    ):
        socket.create_connection(one.getsockname(), timeout=5)


class SlowApp:
    """An ASGI application that answers when the test allows it."""

    def __init__(self) -> None:
        self.has_request = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 200 once `may_answer` is set."""
        self.has_request.set()
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


@contextlib.asynccontextmanager
async def draining(
    app: SlowApp, drain_timeout_s: float
) -> AsyncIterator[tuple[int, asyncio.Task[None], asyncio.Task[httpx.Response]]]:
    """Serve `app`, have one request in flight, and begin to drain."""
    stopped = asyncio.Event()
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    table = ConnectionTable(ConnectionSettings(), Counters())
    async with httpx.AsyncClient(timeout=20) as client:
        server = asyncio.create_task(run_server(app, listener, drain_timeout_s, stopped, table))
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
        await app.has_request.wait()
        stopped.set()
        yield port, server, request


class WhoApp:
    """An ASGI application that answers with the address of its client."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 200 with the address."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})


async def test_a_header_does_not_tell_who_the_client_is() -> None:
    """The address is the socket's: what a client says of it would give it many shares."""
    stopped = asyncio.Event()
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    table = ConnectionTable(ConnectionSettings(), Counters())
    server = asyncio.create_task(run_server(WhoApp(), listener, 1.0, stopped, table))
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.get(url, headers={"X-Forwarded-For": "203.0.113.7"})
    stopped.set()
    await server
    assert answer.text == "127.0.0.1"


async def test_what_is_in_flight_is_finished(key_prefix: str) -> None:
    """A drain takes no new connection, and the request in flight is still answered."""
    app = SlowApp()
    async with draining(app, 20.0) as (port, server, request):

        def is_closed() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return True
            return False

        await until(is_closed, what="the listener is closed")
        assert not request.done()
        assert not server.done()
        app.may_answer.set()
        assert (await request).text == "done"
        async with asyncio.timeout(60):
            await server


async def test_an_answer_leaves_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server writes head and body of an answer to its socket together."""
    writes: list[bytes] = []
    transport_type: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined] # of CPython's
    write = transport_type.write

    def recording(transport: Any, data: bytes) -> None:
        writes.append(bytes(data))
        write(transport, data)

    monkeypatch.setattr(transport_type, "write", recording)
    app = SlowApp()
    async with draining(app, 20.0) as (_, server, request):
        app.may_answer.set()
        assert (await request).text == "done"
        async with asyncio.timeout(60):
            await server
    (answer,) = (data for data in writes if not data.startswith(b"GET"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"done" in answer


async def test_a_drain_ends_in_time() -> None:
    """A request that never ends is answered with a 500 when the drain's time is up."""
    app = SlowApp()
    async with draining(app, 0.3) as (_, server, request):
        with structlog.testing.capture_logs() as logs:
            async with asyncio.timeout(60):
                await server
        assert (await request).status_code == 500
    ended = next(one for one in logs if one["event"] == "drain_timed_out")
    assert (ended["requests"], ended["connections"]) == (1, 1)


class LargeApp(SlowApp):
    """An ASGI application that answers with more than a socket takes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 200 with 50 MB."""
        self.has_request.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 50_000_000})


async def test_a_client_that_takes_nothing_does_not_hold_a_drain() -> None:
    """Its connection is cut off when the drain's time is up."""
    app = LargeApp()
    listener = listen("127.0.0.1", 0)
    table = ConnectionTable(ConnectionSettings(), Counters())
    server = HttpServer(app, table)
    await server.start(listener)
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await app.has_request.wait()
        async with asyncio.timeout(60):
            await server.drain(0.2)
    assert table.num_connections == 0
