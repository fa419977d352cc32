"""Streams of requests, cut into any pieces: what the application sees, and what comes back.

A stream is generated together with what it means, so that the expected requests do not come from a
parser. Answers are read by the standard library's client.
"""

import asyncio
import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server_state import ServerState
from tests.support.connections import by_asgi as through_asgi
from tests.support.connections import connect, plain, turn
from tests.support.fake_gateway import FakeGateway
from tests.unit.support.asgi_app import MALFORMED

# Methods, fields and bodies as they are sent, with line ends and other requests in the bodies.
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
TARGETS = ("/", "/a/b", "/%61?x=1&y", "/v1/collections/films/search", "/v1/collections/f/documents")
FIELDS = ((), (("X-One", "a  b"),), (("x-two", ""), ("X-Two", "caf\xe9; q=0.1")), (("T", "\t v "),))
BODIES = st.one_of(
    st.sampled_from([b"", b"\r\n\r\n", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\x00\xff" * 30]),
    st.binary(max_size=60),
)


@dataclass(frozen=True)
class Sent:
    """A valid request: its bytes, and what an application should see of it."""

    raw: bytes
    method: str
    seen: tuple[object, ...]


@st.composite
def valid(draw: st.DrawFn) -> Sent:
    """A request, with a body of any framing, or none."""
    method, target = draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS))
    fields = [("Host", "h"), *draw(st.sampled_from(FIELDS))]
    fields.append(("X-Answer", draw(st.sampled_from(["length", "chunks", "parts"]))))
    framing = draw(st.sampled_from(["none", "length", "chunks"]))
    body = b"" if framing == "none" else draw(BODIES)
    payload = body
    if framing == "length":
        fields.append(("Content-Length", str(len(body))))
    elif framing == "chunks":
        fields.append(("Transfer-Encoding", "chunked"))
        payload = b""
        rest = body
        while rest:
            size = draw(st.integers(1, len(rest)))
            extension = draw(st.sampled_from([b"", b";a=b"]))
            payload += b"%x%b\r\n%b\r\n" % (size, extension, rest[:size])
            rest = rest[size:]
        payload += b"0\r\n" + draw(st.sampled_from([b"", b"Trailer: x\r\n"])) + b"\r\n"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    raw = "\r\n".join([*lines, "", ""]).encode("latin-1") + payload
    headers = [
        (name.lower().encode(), value.strip(" \t").encode("latin-1")) for name, value in fields
    ]
    path, _, query = target.partition("?")
    return Sent(raw, method, (method, path.replace("%61", "a"), query.encode(), headers, body))


class Echo:
    """An application that reads each request, and answers with a digest of it."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Note the request; a body that did not end is None."""
        body: bytes | None = b""
        has_more = True
        place = len(self.seen)
        self.seen.append(())
        while has_more:
            message = await receive()
            body = body + message["body"] if "body" in message and body is not None else None
            has_more = message.get("more_body", False)
        seen = (scope["method"], scope["path"], scope["query_string"], scope["headers"], body)
        self.seen[place] = seen
        answer, fields = digest(seen), []
        kind = dict(scope["headers"]).get(b"x-answer")
        if kind != b"chunks":
            fields = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        if kind == b"parts":
            await send({"type": "http.response.body", "body": answer[:3], "more_body": True})
            answer = answer[3:]
        await send({"type": "http.response.body", "body": answer})


def digest(seen: tuple[object, ...]) -> bytes:
    """What tells one request from another."""
    return b"%08x" % zlib.crc32(repr(seen).encode())


Cut = tuple[list[int], list[bool]]
cuts: st.SearchStrategy[Cut] = st.tuples(
    st.lists(st.integers(1, 90), min_size=1, max_size=8), st.lists(st.booleans(), min_size=1)
)
WHOLE: Cut = ([10**9], [True])
BYTES: Cut = ([1], [False])


async def deliver(app: Any, stream: bytes, cut: Cut, server: ServerState | None = None) -> bytes:
    """Send a stream in pieces, some of them at once; returns what came back."""
    sizes, turns = cut
    connection, transport = connect(app, server=server)
    number = offset = 0
    while offset < len(stream) and not transport.is_closing():
        connection.data_received(stream[offset : offset + sizes[number % len(sizes)]])
        offset += sizes[number % len(sizes)]
        if turns[number % len(turns)]:
            await asyncio.sleep(0)
        number += 1
    await settle(transport)
    connection.connection_lost(None)
    await settle(transport)
    assert not connection._server.tasks
    return transport.written


async def settle(transport: Any) -> None:
    """Let the loop run until nothing more is written."""
    before = -1
    while before != len(transport.calls):
        before = len(transport.calls)
        await turn()


class _Stream(io.BytesIO):
    """Bytes that several answers are read from, each of which would close them."""

    def makefile(self, _mode: str) -> "_Stream":
        return self

    def close(self) -> None: ...


def read_answers(written: bytes, methods: Sequence[str]) -> list[tuple[int, bytes]]:
    """Status and body of each answer to requests of these methods; all of `written` is used."""
    stream = _Stream(written)
    answers = []
    for method in methods:
        if stream.tell() == len(written):
            break
        answer = HTTPResponse(cast("Any", stream), method=method)
        answer.begin()
        answers.append((answer.status, answer.read()))
        assert method == "HEAD" or answer.isclosed()
    assert stream.tell() == len(written)
    return answers


@given(st.lists(valid(), max_size=6), cuts)
def test_valid_requests_are_seen_as_they_were_sent(sent: list[Sent], cut: Cut) -> None:
    """Whatever the pieces: each once, in order, with its own body; and each has its own answer."""

    async def scenario() -> None:
        app = Echo()
        written = await deliver(app, b"".join(one.raw for one in sent), cut)
        assert app.seen == [one.seen for one in sent]
        answers = read_answers(written, [one.method for one in sent])
        assert answers == [(200, b"" if one.method == "HEAD" else digest(one.seen)) for one in sent]

    asyncio.run(scenario())


@given(st.lists(valid(), max_size=3), st.sampled_from(sorted(MALFORMED)), cuts)
def test_what_is_malformed_ends_the_stream(sent: list[Sent], name: str, cut: Cut) -> None:
    """The requests before it are answered, it is refused once, and what follows is not seen."""
    status, malformed = MALFORMED[name]

    async def scenario() -> None:
        app = Echo()
        follows = b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        written = await deliver(app, b"".join(one.raw for one in sent) + malformed + follows, cut)
        whole = [seen for seen in app.seen if seen[4] is not None]
        assert whole == [one.seen for one in sent]
        assert len(app.seen) - len(whole) == (name == "a bad chunk")  # its head is in order
        answers = read_answers(written, [*(one.method for one in sent), "GET", "GET"])
        assert [code for code, _ in answers] == [200] * len(sent) + [status]

    asyncio.run(scenario())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A stream of requests with some bytes replaced, removed or inserted."""
    stream = b"".join(one.raw for one in draw(st.lists(valid(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(stream)))
        end = start + draw(st.integers(0, 2))
        patch = draw(
            st.one_of(st.sampled_from([b"", b"\r", b"\n", b" ", b":", b"0"]), st.binary(max_size=2))
        )
        stream = stream[:start] + patch + stream[end:]
    return stream


@given(damaged(), cuts)
def test_pieces_make_no_difference(stream: bytes, cut: Cut) -> None:
    """Whether a stream is in order or not, it means the same in one piece as in any others."""

    async def meaning(cut: Cut) -> tuple[list[tuple[object, ...]], list[int]]:
        app = Echo()
        written = await deliver(app, stream, cut)
        # Only the status lines: which answers have a body depends on the damaged methods.
        return app.seen, [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", written)]

    async def scenario() -> None:
        expected = await meaning(WHOLE)
        assert await meaning(cut) == expected
        assert await meaning(BYTES) == expected

    asyncio.run(scenario())


@given(damaged(), st.lists(valid(), max_size=3), cuts)
def test_what_was_read_before_means_the_same_again(
    stream: bytes, sent: list[Sent], cut: Cut
) -> None:
    """Over a second connection, a server that knows the heads sees the same requests."""

    async def scenario() -> None:
        app = Echo()
        server = ServerState(app, ConnectionTable(ConnectionSettings(), Counters()))
        for bytes_sent in (b"".join(one.raw for one in sent), stream):
            found = []
            for way in (BYTES, WHOLE, cut, WHOLE):
                app.seen.clear()
                written = await deliver(app, bytes_sent, way, server)
                found.append((list(app.seen), re.findall(rb"HTTP/1\.1 (\d{3}) ", written)))
            assert found == [found[0]] * 4

    asyncio.run(scenario())


SEARCHES: tuple[Callable[[bytes], bytes], ...] = (
    lambda body: b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
    lambda body: b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body),
    lambda body: b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
)
SEARCH = b"POST /v1/collections/films/search HTTP/1.1\r\nHost: localhost\r\n"
searches = st.builds(
    lambda rest, body: SEARCH + rest(body),
    st.sampled_from(SEARCHES),
    st.sampled_from([b'{"query": "wing"}', b'{"query": "a", "k": 3}', b'{"query": 1}', b"{"]),
)


def test_a_search_is_answered_alike_with_and_without_asgi() -> None:
    """The bytes that come back are the same, and so is what the gateway is asked."""
    # Made once, since they take 15 ms; what they have been asked before is the same for both.
    gateways = FakeGateway(), FakeGateway()
    apps = [create_app(gateway, GatewaySettings()) for gateway in gateways]
    ways = list(zip(gateways, (plain(apps[0]), through_asgi(apps[1])), strict=True))

    async def scenario(stream: bytes, cut: Cut) -> None:
        found = []
        for gateway, app in ways:
            gateway.searches.clear()
            found.append((await deliver(app, stream, cut), gateway.searches))
        assert found[0] == found[1]

    with asyncio.Runner() as runner:

        @given(st.lists(st.one_of(searches, valid().map(lambda one: one.raw)), max_size=5), cuts)
        def check(sent: list[bytes], cut: Cut) -> None:
            runner.run(scenario(b"".join(sent), cut))

        check()
