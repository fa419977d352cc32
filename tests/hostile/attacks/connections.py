"""Connections that send too much, too slowly, or never read."""

import asyncio
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress

from tests.hostile.attack import FEW_SEARCHES, attack
from tests.hostile.attacks.queries import unexpected
from tests.hostile.cluster import COLLECTION, Ground, unverified
from tests.hostile.sockets import ATTACKER, Connection, send_stream
from tests.hostile.target import Target
from tests.hostile.verdict import MB

_SEARCH = f"/v1/collections/{COLLECTION}/search"


@attack(
    "one connection that pipelines `GET /v1/status` and reads nothing, up to 60 MB",
    "6.3 GB in the gateway, which kept it",
)
async def endless_pipeline(target: Target) -> list[str]:
    """A connection that does not read is not read from."""
    block = target.request("GET", "/v1/status") * 500
    async with target.connect() as connection:
        await send_stream(connection, _again(block), max_bytes=60 * MB, max_s=6.0)
        # The gateway may have stopped to read; what it took so far must not be kept either.
        await asyncio.sleep(1.0)
    return []


@attack("200 MB of header lines without an end, ten headers at a time", "2.7 GB in the gateway")
async def endless_head(target: Target) -> list[str]:
    """A head is bounded before anything else is checked."""
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 200) for number in range(10))
    begin = f"GET /v1/status HTTP/1.1\r\nHost: {target.host}\r\n".encode()
    return await _flood(target, begin, lines * 50, 200 * MB)


@attack("one header of 300 MB", "normal searches took up to 4.0 s")
async def huge_header(target: Target) -> list[str]:
    """A header is bounded while it is read."""
    begin = f"GET /v1/status HTTP/1.1\r\nHost: {target.host}\r\nX-Long: ".encode()
    return await _flood(target, begin, b"a" * 100_000, 300 * MB)


@attack("one request line of 100 MB")
async def huge_target(target: Target) -> list[str]:
    """So is the request's first line."""
    return await _flood(target, b"GET /v1/status?", b"a" * 100_000, 100 * MB)


async def _flood(target: Target, begin: bytes, block: bytes, max_bytes: int) -> list[str]:
    async with target.connect() as connection:
        await connection.send(begin)
        await send_stream(connection, _again(block), max_bytes=max_bytes, max_s=6.0)
        num_sent = connection.num_sent
        refusal = await connection.answers(1, 2.0)
    if num_sent >= max_bytes:
        return [f"all {num_sent / MB:.0f} MB were taken"]
    return unexpected(refusal, {400, 413, 414, 431})


def _again(block: bytes) -> Iterator[bytes]:
    while True:
        yield block


@attack(
    "1,100 connections that say nothing, at `ulimit -n 1024`",
    "no other client could connect",
    ground=Ground(max_files=1024, num_documents=2_000),
)
async def idle_sockets(target: Target) -> list[str]:
    """Connections are bounded in total and for each peer, and silent ones are closed."""
    _allow_files(4_000)
    complaints = []
    async with AsyncExitStack() as opened:
        num_refused = 0
        for _ in range(1_100):
            try:
                async with asyncio.timeout(1.0):
                    await opened.enter_async_context(target.connect())
            except (OSError, TimeoutError):
                num_refused += 1
                if num_refused == 20:
                    break
        for _ in range(8):
            complaints += await _a_newcomer_is_served(target)
            await asyncio.sleep(0.5)
    return complaints[:1]


@attack(
    "600 connections, each with a half-sent line of 1 MB in a bulk load, which then wait",
    "800 MB in the gateway",
)
async def half_sent_lines(target: Target) -> list[str]:
    """What a gateway holds of bodies is bounded over all connections."""
    _allow_files(4_000)
    complaints = []
    async with target.own_collection("half-sent"), AsyncExitStack() as opened:
        path = "/v1/collections/half-sent/documents?wait=logged"
        head = target.request("POST", path, headers=[("Transfer-Encoding", "chunked")])
        head = head.replace(b"Content-Length: 0\r\n", b"")
        line = b'{"id":"half","text":"' + b"a" * 1_000_000

        async def half_send() -> None:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(3.0):
                    connection = await opened.enter_async_context(target.connect())
                    await connection.send(head + b"%x\r\n%b" % (len(line) + 1_000, line), 3.0)

        for _ in range(12):
            await asyncio.gather(*(half_send() for _ in range(50)))
        for _ in range(4):
            complaints += await _a_newcomer_is_served(target)
            await asyncio.sleep(0.5)
    return complaints[:1]


async def _a_newcomer_is_served(target: Target) -> list[str]:
    """A new connection from the normal client's address is answered within a second."""
    try:
        async with asyncio.timeout(1.0), target.connect(source="127.0.0.1") as connection:
            raw = target.request("POST", _SEARCH, {"query": "parse a date"})
            answer = await target.ask_on(connection, raw, 1.0)
    except (OSError, TimeoutError):
        return ["a newcomer could not connect"]
    return [f"a newcomer got {answer.status}: {answer.body[:200]!r}"] * (answer.status != 200)


def _allow_files(count: int) -> None:
    """Let this process open more files; the gateway's limit stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


@attack(
    "a search body of 5 MB, sent whole before the answer is read, ten times, every other time with "
    "`Connection: close`",
    "a reset instead of the 413 that was sent",
    min_searches=FEW_SEARCHES,
)
async def large_body(target: Target) -> list[str]:
    """A caller that sends too much can read that it was too much."""
    body = b'{"query":"' + b"a" * 5_000_000 + b'"}'
    ends = []
    for number in range(10):
        headers = [("Connection", "close")] if number % 2 else []
        raw = target.request("POST", _SEARCH, body, headers)
        ends.append(await asyncio.to_thread(_exchange, target, raw))
    return [f"instead of a 413: {end}" for end in sorted(set(ends) - {"413"})]


def _exchange(target: Target, raw: bytes) -> str:
    """Send everything, then read, as blocking clients do; the status, or what came instead."""
    address = (target.cluster.host, target.cluster.port)
    try:
        with socket.create_connection(address, 10.0, (ATTACKER, 0)) as connection:
            connection.sendall(raw)
            head = connection.recv(65_536)
    except OSError as error:
        return str(error)
    return head.split(b" ", 2)[1].decode() if head else "the end"


@attack("heads and bodies of which a byte comes each 200 ms, on 200 connections")
async def slow_senders(target: Target) -> list[str]:
    """A head and a body each have a time by which they must have arrived."""
    head = target.request("POST", _SEARCH, {"query": "parse a date"})
    ends_at = time.monotonic() + 4.0

    async def trickle(number: int) -> None:
        with suppress(OSError, TimeoutError):
            async with target.connect() as connection:
                await connection.send(head[: 20 + number])
                for place in range(20 + number, len(head)):
                    if time.monotonic() > ends_at or connection.is_closed:
                        return
                    await connection.send(head[place : place + 1])
                    await asyncio.sleep(0.2)

    await asyncio.gather(*(trickle(number % 150) for number in range(200)))
    return []


@attack("400 connections a second, closed at once or amid a request")
async def hang_ups(target: Target) -> list[str]:
    """A client that leaves costs nothing after it has left."""
    raw = target.request("POST", _SEARCH, {"query": "parse a date"})
    for _ in range(30):
        connections: list[Connection] = [target.connect() for _ in range(40)]
        for connection in connections:
            with suppress(OSError):
                async with connection:
                    cut = target.rng.randint(0, len(raw))
                    await connection.send(raw[:cut])
        await asyncio.sleep(0.1)
    return []


@attack(
    "the first message of a TLS handshake, on 64 connections, each of which is closed and opened "
    "again as soon as it is answered (HTTPS with an RSA key)",
    "half of the normal searches were refused or late; the gateway's loop stood for 207 ms",
    ground=Ground(has_tls=True),
)
async def tls_handshakes(target: Target) -> list[str]:
    """Handshakes are dear to a server and free to an attacker: they get a share of the time."""
    hello = _client_hello()
    ends_at = time.monotonic() + (10.0 if target.is_full else 4.0)

    async def knock() -> None:
        while time.monotonic() < ends_at:
            with suppress(OSError, TimeoutError):
                async with Connection(target.cluster.host, target.cluster.port) as connection:
                    await connection.send(hello)
                    await connection.read(5.0)

    await asyncio.gather(*(knock() for _ in range(64)))
    return []


def _client_hello() -> bytes:
    """The first message of a handshake, which can be sent again and again."""
    outgoing = ssl.MemoryBIO()
    tls = unverified().wrap_bio(ssl.MemoryBIO(), outgoing)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()
