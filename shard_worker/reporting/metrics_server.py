"""A worker's own `/metrics`, for a Prometheus that scrapes each worker.

A server for one route, with bounds that hold before anything is parsed; it imports nothing of a web
framework, which workers do without. All who can connect may read: it is on loopback by default, and
answers there only to loopback names, so that a web page cannot read it by DNS rebinding.
"""

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.metrics.bounded_names import BoundedNames
from hedgerow.common.metrics.exposition import wanted_format, write
from hedgerow.common.metrics.process_metrics import process_families
from hedgerow.common.metrics.worker_metrics import worker_families
from hedgerow.common.settings.metrics import WorkerMetricsSettings
from hedgerow.common.tasks import end
from hedgerow.common.wire.heartbeat import Heartbeat

log = structlog.get_logger()

_PATH: Final = "/metrics"
_MAX_HEAD_BYTES: Final = 8_192
_TIMEOUT_S: Final = 5.0  # of one request, from the connection to the last byte of the answer
_MAX_CONNECTIONS: Final = 16


class MetricsServer:
    """Serves the metrics of one worker; a request per connection.

    Attributes:
        port: where it listens, once it does; 0 before.
    """

    def __init__(
        self,
        settings: WorkerMetricsSettings,
        heartbeat: Callable[[], Heartbeat],
        max_names: int,
    ) -> None:
        """Serve what `heartbeat` reports; `max_names` rank profiles have series of their own."""
        self.port = 0
        self._settings = settings
        self._heartbeat = heartbeat
        self._profiles = BoundedNames(max_names)
        self._started_at = time.time()
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve during the block; does nothing without a port.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        host, port = self._settings.metrics_host, self._settings.metrics_port
        if port is None:
            yield
            return
        try:
            server = await asyncio.start_server(self._serve, host, port, limit=_MAX_HEAD_BYTES)
        except OSError as error:
            raise ConfigurationError(
                f"worker.metrics_port: cannot bind {host} port {port}: {error.strerror}"
            ) from error
        self.port = server.sockets[0].getsockname()[1]
        log.info("metrics", host=host, port=self.port)
        try:
            yield
        finally:
            server.close()
            await end(self._serving, 1.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._serving) >= _MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._serving.add(task)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.decode("latin-1")))
                await writer.drain()
                writer.close()
                await writer.wait_closed()  # until all is written
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client is gone, or is not worth an answer
        finally:
            self._serving.discard(task)
            writer.transport.abort()  # does nothing to a connection that is closed

    def _answer(self, head: str) -> bytes:
        request, *lines = head.split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        if not self._is_known(fields.get("host", "")):
            return _response("403 Forbidden", "text/plain", b"not a name of this host\n")
        if path != _PATH:
            return _response("404 Not Found", "text/plain", b"see /metrics\n")
        if method not in {"GET", "HEAD"}:
            return _response("405 Method Not Allowed", "text/plain", b"GET or HEAD\n")
        form = wanted_format(fields.get("accept", ""))
        families = [*worker_families([self._heartbeat()], self._profiles)]
        families += process_families(self._started_at)
        body = "".join(write(families, form)).encode()
        return _response("200 OK", form.value, body, has_body=method == "GET")

    def _is_known(self, host: str) -> bool:
        """Whether a Host header may stand for this server: on loopback, only loopback names."""
        if not _is_loopback(self._settings.metrics_host):
            return True
        name, colon, port = host.rpartition(":")
        return _is_loopback((name if colon and port.isdecimal() else host).strip("[]"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _response(status: str, media_type: str, body: bytes, *, has_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + (body if has_body else b"")
