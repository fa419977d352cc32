"""The normal client beside each attack: a process of its own, which no attacker slows down.

As a program, it searches every 50 ms over lasting connections, whether or not the searches
before have been answered, and prints a line for each search; it ends when its standard input does.
"""

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.hostile.verdict import Sample

INTERVAL_S = 0.05
GIVE_UP_S = 2.0
DEADLINE_MS = 300
QUERIES = (
    "parse a date",
    "open a file for reading",
    "connection timeout",
    "+socket bind address",
    "convert bytes to string",
    "event loop task",
    '"return a new"',
    "name:path join",
    "iterate over items in order",
    "raise an exception when the value is wrong",
)


class NormalClient:
    """The client as a process; a context.

    Attributes:
        samples: the searches so far, each with the instant of its start (`time.monotonic`); all of
            them once the context is left.
    """

    def __init__(self, url: str, collection: str) -> None:
        """Search `collection` at the gateway of `url`."""
        self.samples: list[tuple[float, Sample]] = []
        self._arguments = (url, collection)
        self._arrived = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start it."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.hostile.normal_client",
            *self._arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read(), name="normal client")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Have it end, and read the rest of its output."""
        process, reader = self._process, self._reader
        assert process is not None
        assert process.stdin is not None
        assert reader is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(reader), GIVE_UP_S + 5)
        except TimeoutError:
            process.kill()
            await reader
        await process.wait()

    async def searched(self, count: int, since: float, within_s: float) -> bool:
        """Wait until `count` searches have ended that began at `since` or later.

        Returns:
            Whether they have within the time, in s.
        """
        try:
            async with asyncio.timeout(within_s):
                while sum(started_at >= since for started_at, _ in self.samples) < count:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            started_at, status, took_ms, coverage, has_fields = json.loads(line)
            sample = Sample(status, took_ms, coverage, has_fields)
            self.samples.append((started_at, sample))
            self._arrived.set()


class _Connections:
    """Connections to one address that are kept open between requests."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._address = (host, port)
        self._tls = tls
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and read its answer; tries a new connection if an old one was closed.

        Returns:
            Status and body.
        """
        while self._idle:
            connection = self._idle.pop()
            # The server may have closed a connection that was idle, as any HTTP client knows.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                return await self._ask(connection, request)
        connection = await asyncio.open_connection(*self._address, ssl=self._tls)
        return await self._ask(connection, request)

    async def _ask(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes
    ) -> tuple[int, bytes]:
        reader, writer = connection
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            body = await reader.readexactly(int(length))
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append(connection)
        return int(head.split()[1]), body


def request_of(host: str, port: int, collection: str, query: str) -> bytes:
    """A search as a plain HTTP client sends it, with the API's defaults but for the deadline."""
    body = json.dumps({"query": query, "deadline_ms": DEADLINE_MS}).encode()
    head = (
        f"POST /v1/collections/{collection}/search HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def sample_of(status: int, body: bytes, took_ms: float) -> Sample:
    """What a client gets from an answer."""
    if status != 200:
        return Sample(status, took_ms)
    answer: dict[str, Any] = json.loads(body)
    has_fields = all(hit["fields"] is not None for hit in answer["hits"])
    return Sample(status, took_ms, answer["coverage"]["fraction"], has_fields)


async def _search(connections: _Connections, request: bytes) -> None:
    started_at = time.monotonic()
    try:
        async with asyncio.timeout(GIVE_UP_S):
            status, body = await connections.exchange(request)
    except (OSError, TimeoutError, ValueError, EOFError, IndexError):
        status, body = 0, b""
    sample = sample_of(status, body, (time.monotonic() - started_at) * 1000)
    line = [started_at, sample.status, sample.took_ms, sample.coverage, sample.has_fields]
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _main(url: str, collection: str) -> None:
    address = urlsplit(url)
    host, port = str(address.hostname), int(address.port or 0)
    tls = None
    if address.scheme == "https":
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    connections = _Connections(host, port, tls)
    requests = [request_of(host, port, collection, query) for query in QUERIES]
    searches: set[asyncio.Task[None]] = set()
    next_at, number = loop.time(), 0
    while not ended.is_set():
        search = asyncio.create_task(_search(connections, requests[number % len(requests)]))
        searches.add(search)
        search.add_done_callback(searches.discard)
        number += 1
        next_at += INTERVAL_S
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), max(0.0, next_at - loop.time()))
    await asyncio.gather(*searches)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2]))
