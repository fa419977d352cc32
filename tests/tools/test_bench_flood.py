"""Searches at a rate that no server could answer, against one that follows a script."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from typing import cast

import pytest

from bench.flood import flood

pytestmark = pytest.mark.integration

REQUEST = b"POST /search HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
WHOLE = b'{"coverage":{"is_full":true},"fetch":{"missing":0}}'
NO_FIELDS = b'{"coverage":{"is_full":true},"fetch":{"missing":1}}'
PARTIAL = b'{"coverage":{"is_full":false}}'
REFUSED = b'{"type":"urn:problem-type:hedgerow:overloaded","cause":"share"}'
FAILED = b'{"type":"urn:problem-type:hedgerow:internal"}'


class _Server(asyncio.Protocol):
    """Answers each request in turn, in two parts; without answers, not at all."""

    def __init__(self, answers: Iterator[bytes]) -> None:
        self._answers = answers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._received.startswith(REQUEST):
            self._received = self._received.removeprefix(REQUEST)
            if (body := next(self._answers, None)) is not None:
                head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
                self._transport.write(head)
                asyncio.get_running_loop().call_soon(self._transport.write, body)


@asynccontextmanager
async def serving(answers: Sequence[bytes]) -> AsyncIterator[tuple[str, int]]:
    """A server that gives these answers in turn, over all connections."""
    turns, loop = cycle(answers), asyncio.get_running_loop()
    async with await loop.create_server(lambda: _Server(turns), "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield host, port


async def test_search_without_an_idle_connection_is_not_sent() -> None:
    """While no answer comes, each connection sends one search; the others are merely due."""
    async with serving([]) as address:
        flooded = await flood(address, [REQUEST], 2000.0, 0.1, num_connections=4)
    assert flooded.num_sent == len(flooded.late_s) == 4
    assert flooded.num_due > 50
    assert flooded.counts["closed"] == 0  # not by the server


async def test_answers_are_counted_by_what_they_are() -> None:
    """Whole answers are timed, others counted by kind; none that comes in parts is lost."""
    async with serving([WHOLE, NO_FIELDS, PARTIAL, REFUSED, FAILED]) as address:
        flooded = await flood(address, [REQUEST], 1000.0, 0.2, num_connections=2)
    counts = flooded.counts
    num_answered = len(flooded.answered_s) + counts.total()
    assert num_answered == flooded.num_sent > 50
    assert counts.keys() == {"partial", "refused", "failed"}
    assert abs(len(flooded.answered_s) - counts["refused"]) <= 1
    assert abs(counts["partial"] - 2 * counts["failed"]) <= 2


async def test_rates_are_those_of_the_time_in_which_searches_were_due() -> None:
    """An answer after the limit is late, not answered; the final wait counts nowhere."""
    async with serving([WHOLE]) as address:
        flooded = await flood(address, [REQUEST], 500.0, 0.2, num_connections=2)
    figures = flooded.to_json(limit_s=float("inf"))
    assert figures["answered_per_s"] == pytest.approx(flooded.num_sent / flooded.seconds)
    assert 0.2 <= flooded.seconds < 0.5
    assert flooded.to_json(limit_s=0.0)["late_per_s"] == figures["answered_per_s"]


async def test_connections_that_the_gateway_closes_are_counted() -> None:
    """A closed one is not used again, and counts once."""

    class HangsUp(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            cast("asyncio.Transport", transport).close()

    loop = asyncio.get_running_loop()
    async with await loop.create_server(HangsUp, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        flooded = await flood((host, port), [REQUEST], 1000.0, 0.1, num_connections=3)
    assert flooded.counts == {"closed": 3}
