"""Raw HTTP over sockets: what an ordinary client library would refuse to send."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

# A peer of its own: what a gateway holds against this address must not be held against the normal
# client, which is another.
ATTACKER = "127.0.0.66"
_READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was received.

    Attributes:
        headers: names in lower case; of a name that came twice, the last.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class MalformedAnswerError(ValueError):
    """What was received is no HTTP."""


def answers_in(raw: bytes, *, is_end: bool = False) -> tuple[list[Answer], bytes]:
    """Split what a connection has received into answers.

    Args:
        raw: what came.
        is_end: whether nothing more will come, so that an answer without a length is whole.

    Returns:
        Those that are whole, and the rest.

    Raises:
        MalformedAnswerError: it is no HTTP/1.1 with lengths, as the gateway speaks it.
    """
    found = []
    while raw:
        head, blank, rest = raw.partition(b"\r\n\r\n")
        if not blank:
            break
        status_line, *lines = head.decode("latin-1").split("\r\n")
        parts = status_line.split(" ", 2)
        if not (parts[0] == "HTTP/1.1" and len(parts) > 1 and parts[1].isdigit()):
            raise MalformedAnswerError(status_line[:100])
        status = int(parts[1])
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise MalformedAnswerError(line[:100])
            headers[name.lower()] = value.strip()
        if 100 <= status < 200:
            raw = rest
            continue
        length = headers.get("content-length", "0" if status in (204, 304) else "")
        if not length.isdigit():
            if "chunked" in headers.get("transfer-encoding", ""):
                raise MalformedAnswerError("the answer is in chunks")
            if is_end:
                found.append(Answer(status, headers, rest))
                raw = b""
            break
        if len(rest) < int(length):
            break
        found.append(Answer(status, headers, rest[: int(length)]))
        raw = rest[int(length) :]
    return found, raw


class Connection:
    """A connection to the gateway; a context.

    Attributes:
        received: what has come and belongs to no answer yet.
        is_closed: whether the gateway has closed or reset it.
        was_reset: whether it has reset it.
        num_sent: bytes that were sent.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        source: str = ATTACKER,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to `host` and `port`, from the address `source`; encrypted if `tls` says how."""
        self.received = b""
        self.is_closed = False
        self.was_reset = False
        self.num_sent = 0
        self._address = (host, port)
        self._source = source
        self._tls = tls
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        """Open it."""
        self._reader, self._writer = await asyncio.open_connection(
            *self._address, local_addr=(self._source, 0), limit=_READ_BYTES, ssl=self._tls
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it, without waiting for unsent data."""
        if self._writer is not None:
            self._writer.transport.abort()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def send(self, data: bytes, timeout_s: float = 10.0) -> bool:
        """Send; whether it could be sent within the time (else the gateway takes no more)."""
        assert self._writer is not None
        try:
            self._writer.write(data)
            await asyncio.wait_for(self._writer.drain(), timeout_s)
        except TimeoutError:
            return False
        except OSError as error:
            self._lost(error)
            return False
        self.num_sent += len(data)
        return True

    def send_end(self) -> None:
        """Say that nothing more will be sent."""
        assert self._writer is not None
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def read(self, timeout_s: float) -> bool:
        """Read what there is; whether anything came within the time."""
        assert self._reader is not None
        try:
            data = await asyncio.wait_for(self._reader.read(_READ_BYTES), timeout_s)
        except TimeoutError:
            return False
        except OSError as error:
            self._lost(error)
            return False
        self.is_closed = self.is_closed or not data
        self.received += data
        return bool(data)

    async def answers(self, count: int, timeout_s: float) -> list[Answer]:
        """Read until there are `count` answers, the end, or the time is up.

        Raises:
            MalformedAnswerError: what came is no HTTP.
        """
        found: list[Answer] = []
        ends_at = time.monotonic() + timeout_s
        while True:
            more, self.received = answers_in(self.received, is_end=self.is_closed)
            found += more
            remaining_s = ends_at - time.monotonic()
            if len(found) >= count or self.is_closed or remaining_s <= 0:
                return found
            await self.read(remaining_s)

    def _lost(self, error: OSError) -> None:
        self.is_closed = True
        self.was_reset = self.was_reset or isinstance(error, ConnectionError)


async def send_stream(
    connection: Connection,
    parts: Iterable[bytes] | AsyncIterable[bytes],
    *,
    max_bytes: int,
    max_s: float,
) -> None:
    """Send until the gateway takes no more or has closed, or a limit is reached."""
    ends_at = time.monotonic() + max_s
    async for part in _each(parts):
        remaining_s = ends_at - time.monotonic()
        if remaining_s <= 0 or connection.is_closed or connection.num_sent >= max_bytes:
            return
        if not await connection.send(part, remaining_s):
            return


async def _each(parts: Iterable[bytes] | AsyncIterable[bytes]) -> Any:
    if isinstance(parts, AsyncIterable):
        async for part in parts:
            yield part
    else:
        for part in parts:
            yield part


def request(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    host: str,
    headers: Iterable[tuple[str, str]] = (),
) -> bytes:
    """A well-formed request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body
