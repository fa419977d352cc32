"""Which heads of requests are remembered, and that these are not parsed again."""

import asyncio
from typing import Any

import pytest

from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.protocol.known_heads import MAX_HEAD_BYTES, MAX_HEADS, KnownHeads
from hedgerow.gateway.http.protocol.request_head import RequestHead
from hedgerow.gateway.http.protocol.request_reader import RequestReader
from tests.support.connections import connect, turn


class Received:
    """Records the requests that a reader passes on."""

    def __init__(self) -> None:
        self.heads: list[RequestHead] = []
        self.bodies: list[bytes] = []

    def begin_request(self, head: RequestHead, num_bytes: int | None) -> None:
        """Keep the head."""
        self.heads.append(head)
        self.bodies.append(b"")

    def add_body(self, data: bytes) -> None:
        """Keep the part."""
        self.bodies[-1] += data

    def end_request(self) -> None:
        """Do nothing."""


def read(known: KnownHeads, *pieces: bytes) -> Received:
    """Read one request, which comes in pieces, over a new connection."""
    received = Received()
    reader = RequestReader(ConnectionSettings(), received, known)
    for piece in pieces:
        reader.read(piece)
    assert reader.is_waiting
    return received


def head_of(num_bytes: int, fields: bytes = b"") -> bytes:
    """A head that announces a body of `num_bytes`."""
    return b"POST /a HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n" % (fields, num_bytes)


def test_a_head_is_parsed_once() -> None:
    """The same bytes give the very head that was parsed before, each with its own body."""
    known = KnownHeads()
    first, second = (read(known, head_of(3) + body) for body in (b"abc", b"\r\n\r"))
    assert second.heads[0] is first.heads[0]
    assert (first.bodies, second.bodies) == ([b"abc"], [b"\r\n\r"])
    other = read(known, head_of(2) + b"ab")
    assert other.heads[0] is not first.heads[0]


def test_a_request_that_comes_in_parts_is_parsed() -> None:
    """If its body has not arrived with its head, the parser waits for it."""
    known = KnownHeads()
    read(known, head_of(3) + b"abc")
    assert read(known, head_of(3) + b"a", b"bc").bodies == [b"abc"]
    assert read(known, head_of(3)[:9], head_of(3)[9:] + b"abc").bodies == [b"abc"]


def test_a_part_of_a_head_is_not_remembered() -> None:
    """However a head is cut, its end alone is none, and neither is nothing."""
    known, head = KnownHeads(), head_of(0)
    for at in range(1, len(head)):
        read(known, head[:at], head[at:])
        assert known.get(head[at:]) is None
        assert known.get(b"") is None


@pytest.mark.parametrize(
    "raw",
    [
        head_of(0, b"Connection: close\r\n"),
        b"POST /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        head_of(0, b"X: %b\r\n" % (b"x" * MAX_HEAD_BYTES)),
    ],
)
def test_what_the_parser_must_see_is_not_remembered(raw: bytes) -> None:
    """Such requests change the state of the parser, or have a long head."""
    known = KnownHeads()
    first, second = read(known, raw), read(known, raw)
    assert second.heads[0] == first.heads[0]
    assert second.heads[0] is not first.heads[0]


def test_the_latest_heads_are_remembered() -> None:
    """Beyond the limit, the oldest is forgotten."""
    known = KnownHeads()
    for number in range(MAX_HEADS + 1):
        read(known, head_of(number) + b"x" * number)
    assert known.get(head_of(0)) is None
    assert known.get(head_of(1)) is not None
    assert known.get(head_of(MAX_HEADS)) is not None


async def test_an_application_cannot_change_a_head_for_others() -> None:
    """One that removes fields from its scope does not remove them from the next request's."""
    seen: list[int] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(len(scope["headers"]))
        scope["headers"].clear()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    connection, _ = connect(app)
    for _ in range(2):
        connection.data_received(head_of(0))
        await turn()
    assert seen == [2, 2]
    connection.connection_lost(None)
    await asyncio.sleep(0)
