"""A worker's own `/metrics`: what it answers, and what it refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.metrics import WorkerMetricsSettings
from hedgerow.shard_worker.reporting import metrics_server
from hedgerow.shard_worker.reporting.metrics_server import MetricsServer
from tests.unit.support.heartbeats import beat

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost:9101\r\n\r\n"


@asynccontextmanager
async def running(host: str = "127.0.0.1", port: int | None = 0) -> AsyncIterator[MetricsServer]:
    """A server of the metrics of worker `w`."""
    settings = WorkerMetricsSettings(metrics_host=host, metrics_port=port)
    server = MetricsServer(settings, lambda: beat("w", [0, 1], 1000), max_names=3)
    async with server.running():
        yield server


async def send(server: MetricsServer, request: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever the other side has done."""
    writer.close()
    with suppress(ConnectionResetError, BrokenPipeError):
        await writer.wait_closed()


async def test_it_shows_the_metrics_of_the_worker() -> None:
    """In Prometheus's format, or in OpenMetrics if the client prefers it."""
    async with running() as server:
        answer = await send(server, GET)
        other = await send(
            server, GET[:-2] + b"Accept: application/openmetrics-text;version=1.0.0\r\n\r\n"
        )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/plain; version=0.0.4; charset=utf-8" in head
    assert f"content-length: {len(body)}".encode() in head
    assert b'hedgerow_worker_shards{worker="w",state="served"} 2\n' in body
    assert b"process_cpu_seconds_total " in body
    assert b"content-type: application/openmetrics-text; version=1.0.0" in other
    assert other.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /metrics/x HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"GET /metrics?name[]=x HTTP/1.1", b"200"),
        (b"HEAD /metrics HTTP/1.1", b"200"),
        (b"\xff\xfe", b"404"),
    ],
)
async def test_there_is_nothing_else(request_line: bytes, status: bytes) -> None:
    """Another path is a 404, another method a 405; HEAD has no body."""
    async with running() as server:
        answer = await send(server, request_line + b"\r\nHost: 127.0.0.1\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert bool(body) is not request_line.startswith(b"HEAD")


@pytest.mark.parametrize(
    ("bound", "host", "is_answered"),
    [
        ("127.0.0.1", "localhost:9101", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "127.0.0.1:9101", True),
        ("127.0.0.1", "[::1]:9101", True),
        ("127.0.0.1", "rebound.example:9101", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "worker-0:9101", True),
    ],
)
async def test_a_page_cannot_read_it_by_rebinding(bound: str, host: str, is_answered: bool) -> None:
    """On loopback, it answers to loopback names alone: the Host of a rebound page is its own."""
    async with running(bound) as server:
        answer = await send(server, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.split()[1] == (b"200" if is_answered else b"403")


async def test_a_large_head_is_not_read() -> None:
    """A head of more than 8 KiB ends the connection, without an answer."""
    large = GET[:-2] + b"X: " + b"x" * 20_000 + b"\r\n\r\n"
    async with running() as server:
        assert await send(server, large) == b""
        assert (await send(server, GET)).startswith(b"HTTP/1.1 200")


async def test_a_silent_client_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that sends nothing ends after a while; those beyond the bound end at once."""
    monkeypatch.setattr(metrics_server, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(metrics_server, "_MAX_CONNECTIONS", 2)
    async with running() as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        assert await send(server, GET) == b""
        for reader, writer in silent:
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            await closed(writer)
        assert (await send(server, GET)).startswith(b"HTTP/1.1 200")


async def test_a_port_in_use_is_an_error_that_names_the_setting() -> None:
    """A worker that cannot serve its metrics does not start as if it did."""
    async with running() as server:
        with pytest.raises(ConfigurationError, match=r"worker\.metrics_port: cannot bind"):
            async with running(port=server.port):
                pass


async def test_without_a_port_nothing_listens() -> None:
    """By default, gateways show the metrics of workers, and workers open no port."""
    async with running(port=None) as server:
        assert server.port == 0
