"""A `gateway serve` process, a client that costs little beside it, and the Python client.

Rows about the gateway use the bare exchange here: `gateway.client`, which builds each request and
decodes each answer, uses several times its CPU time, on the same cores as the gateway (the column
`client` of the CPU table in docs/benchmarks.md). The Python client has a row of its own.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import cast

from bench.harness.cluster import COLLECTION, DEADLINE_MS, Cluster
from hedgerow.gateway.client import AsyncClient

_ROOT = Path(__file__).parents[2]
_START_TIMEOUT_S = 30.0


class HttpGateway:
    """Asks over keep-alive connections, as many as there are queries in flight.

    Raises:
        RuntimeError: an answer is not 200, or does not reflect every shard.
    """

    def __init__(
        self, host: str, port: int, pid: int, key: str = "", come_from: str | None = None
    ) -> None:
        """Speak to the gateway of process `pid`, with `key`, from an address of this machine."""
        self.pid = pid
        self.url = f"http://{host}:{port}"
        self._address = (host, port)
        self._come_from = None if come_from is None else (come_from, 0)
        self._key = f"Authorization: Bearer {key}\r\n".encode() if key else b""
        self._idle: list[_Exchange] = []
        self._next = 0

    async def ask(self, profile: str) -> None:
        """Ask one query, for ids and scores."""
        self._next += 1
        body = json.dumps(
            {
                "query": f"a query as long as most, {self._next}",
                "rank_profile": profile,
                "deadline_ms": DEADLINE_MS,
                "fields": False,
            }
        ).encode()
        answer = await self.search(COLLECTION, body)
        if b'"is_full":true' not in answer:
            raise RuntimeError(answer.decode(errors="replace")[:400])

    async def search(self, collection: str, body: bytes) -> bytes:
        """Send the JSON body of a search; returns the body of the answer."""
        return await self.post(f"/v1/collections/{collection}/search", body)

    async def post(self, path: str, body: bytes) -> bytes:
        """Send a JSON body to a path; returns the body of the answer."""
        request = (
            b"POST %s HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
        ) % (path.encode(), self._key, len(body), body)
        exchange = await self._exchange()
        answer = await exchange.ask(request)
        self._idle.append(exchange)
        return answer

    async def _exchange(self) -> "_Exchange":
        while self._idle:
            exchange = self._idle.pop()
            if not exchange.is_closed:  # the server closes what was idle for some seconds
                return exchange
        loop = asyncio.get_running_loop()
        _, exchange = await loop.create_connection(
            _Exchange, *self._address, local_addr=self._come_from
        )
        return exchange

    def close(self) -> None:
        """Close the connections."""
        for exchange in self._idle:
            exchange.close()


class PythonClient:
    """Asks by `gateway.client.AsyncClient`.

    Raises:
        RuntimeError: an answer does not reflect every shard.
    """

    def __init__(self, client: AsyncClient) -> None:
        """Ask by `client`."""
        self._client = client
        self._next = 0

    async def ask(self, profile: str) -> None:
        """Ask one query, for ids and scores."""
        self._next += 1
        answer = await self._client.search(
            COLLECTION,
            f"a query as long as most, {self._next}",
            rank_profile=profile,
            deadline_ms=DEADLINE_MS,
            fields=False,
        )
        if not answer.coverage.is_full:
            raise RuntimeError(str(answer.shards))


class _Exchange(asyncio.Protocol):
    """One connection: a request, then its answer, whose length its header gives."""

    def __init__(self) -> None:
        self.is_closed = False
        self._received = b""
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._write = stream.write
        self.close = stream.close

    async def ask(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if (body := whole_body(self._received)) is not None:
            self._received = b""
            self._answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))


def whole_body(received: bytes) -> bytes | None:
    """The body of an answer whose header names its length; None while part of it is missing."""
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return None
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    return body if len(body) >= int(length) else None


def run_gateway(cluster: Cluster) -> AbstractAsyncContextManager[HttpGateway]:
    """Run `gateway serve` for a cluster; it is stopped at the end of the block."""
    command = ("hedgerow.gateway.cli.main", "serve", "--num-shards", str(cluster.num_shards))
    return serve(*command, redis_url=cluster.server.url, environment=cluster.environment)


@contextlib.asynccontextmanager
async def serve(
    *command: str, redis_url: str, environment: Mapping[str, str]
) -> AsyncIterator[HttpGateway]:
    """Run a module that takes the options of `gateway serve`, on any free port.

    Args:
        command: the module and its first arguments.
        redis_url: of the cluster's server.
        environment: of the process.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        "--port",
        "0",
        "--redis",
        redis_url,
        cwd=_ROOT,
        env={**environment, "HEDGEROW_LOG_LEVEL": "info", "HEDGEROW_LOG_FORMAT": "json"},
        stderr=subprocess.PIPE,
    )
    async with follow(process) as (host, port):
        gateway = HttpGateway(host, port, process.pid)
        try:
            yield gateway
        finally:
            gateway.close()


@contextlib.asynccontextmanager
async def follow(process: asyncio.subprocess.Process) -> AsyncIterator[tuple[str, int]]:
    """Wait until a gateway is ready, and end it with the block; its log is read throughout.

    Returns:
        Host and port.

    Raises:
        RuntimeError: it ended before it was ready.
        TimeoutError: it is not ready in time.
    """
    assert process.stderr is not None
    ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read_log(process.stderr, ready), name="log of the gateway")
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            address = await ready
        yield address
    finally:
        # A signal to one that has just ended would take its status away from asyncio.
        if not process.stderr.at_eof():
            process.terminate()
        await reading
        await process.wait()


async def _read_log(log: asyncio.StreamReader, ready: asyncio.Future[tuple[str, int]]) -> None:
    while not ready.done() and (line := await log.readline()):
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event.get("event") == "ready":
                host, _, port = event["url"].removeprefix("http://").rpartition(":")
                ready.set_result((host, int(port)))
                break
        sys.stderr.write(line.decode())
    if not ready.done():
        ready.set_exception(RuntimeError("the gateway ended at its start"))
    # The rest is of no interest, but a gateway whose log is not read stops at a full pipe.
    while await log.read(2**16):
        pass
