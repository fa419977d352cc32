"""Requests through ASGI: what an application receives, and what becomes of its messages."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import structlog

from tests.support.connections import DATE, RecordingTransport, connect, turn

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD = REQUEST.replace(b"GET", b"HEAD")
HTTP_1_0 = REQUEST.replace(b"1.1", b"1.0")
LENGTH_4 = ((b"content-length", b"4"),)
OK = b"HTTP/1.1 200 OK\r\n" + DATE
CLOSE = b"connection: close\r\n"
Send = Callable[[dict[str, Any]], Awaitable[None]]
Pairs = Sequence[tuple[bytes, bytes]]


async def start(send: Send, headers: Pairs = (), status: int = 200) -> None:
    """Send the head of an answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Send, chunk: bytes, *, more_body: bool = False) -> None:
    """Send a part of its body."""
    await send({"type": "http.response.body", "body": chunk, "more_body": more_body})


def answering(*chunks: bytes, headers: Pairs = LENGTH_4, status: int = 200) -> Any:
    """An application that answers with these parts of a body."""

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        await start(send, headers, status)
        for number, chunk in enumerate(chunks, 1):
            await body(send, chunk, more_body=number < len(chunks))

    return app


async def exchange(app: Any, *parts: bytes) -> RecordingTransport:
    """Have a client send `parts`, each once all effects of the one before are done."""
    protocol, transport = connect(app)
    for part in parts:
        protocol.data_received(part)
        await turn()
    protocol.connection_lost(None)
    await turn()
    assert not protocol._server.tasks
    return transport


async def test_the_scope_is_that_of_asgi() -> None:
    """All members of ASGI's HTTP scope are there, and the path is decoded."""
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, _receive: Any, send: Send) -> None:
        scopes.append(scope)
        await answering(b"done")(scope, _receive, send)

    await exchange(app, b"PUT /a%20b%C3%A9?x=%20&y HTTP/1.1\r\nHost: h\r\nX-Name:  Value \r\n\r\n")
    assert scopes == [
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "PUT",
            "scheme": "http",
            "path": "/a bé",
            "raw_path": b"/a%20b%C3%A9",
            "query_string": b"x=%20&y",
            "root_path": "",
            "headers": [(b"host", b"h"), (b"x-name", b"Value")],
            "client": ("192.0.2.7", 50_000),
            "server": None,
        }
    ]


ANSWERS = {
    "a length": (REQUEST, answering(b"done"), OK + b"content-length: 4\r\n\r\ndone"),
    "two parts": (REQUEST, answering(b"do", b"ne"), OK + b"content-length: 4\r\n\r\ndone"),
    "no length": (
        REQUEST,
        answering(b"do", b"", b"ne", headers=()),
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\ndo\r\n2\r\nne\r\n0\r\n\r\n",
    ),
    "no length and no body": (
        REQUEST,
        answering(b"", headers=()),
        OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunks by the application's wish": (
        REQUEST,
        answering(b"done", headers=((b"Transfer-Encoding", b"chunked"),)),
        OK + b"transfer-encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n",
    ),
    "HEAD": (HEAD, answering(b"done"), OK + b"content-length: 4\r\n\r\n"),
    "HEAD without a length": (HEAD, answering(b"done", headers=()), OK + b"\r\n"),
    "204": (
        REQUEST,
        answering(b"", headers=(), status=204),
        b"HTTP/1.1 204 No Content\r\n" + DATE + b"\r\n",
    ),
    "304 with the length of what was not sent": (
        REQUEST,
        answering(b"", status=304),
        b"HTTP/1.1 304 Not Modified\r\n" + DATE + b"content-length: 4\r\n\r\n",
    ),
    "an unknown status": (
        REQUEST,
        answering(b"", headers=((b"content-length", b"0"),), status=299),
        b"HTTP/1.1 299 \r\n" + DATE + b"content-length: 0\r\n\r\n",
    ),
    "HTTP/1.0": (HTTP_1_0, answering(b"done"), OK + b"content-length: 4\r\n" + CLOSE + b"\r\ndone"),
    "HTTP/1.0 without a length": (
        HTTP_1_0,
        answering(b"do", b"ne", headers=()),
        OK + CLOSE + b"\r\ndone",
    ),
    "the application closes": (
        REQUEST,
        answering(b"done", headers=((b"Connection", b"Close"), *LENGTH_4)),
        OK + b"content-length: 4\r\n" + CLOSE + b"\r\ndone",
    ),
    "the client closes": (
        REQUEST[:-2] + b"Connection: close\r\n\r\n",
        answering(b"done"),
        OK + b"content-length: 4\r\n" + CLOSE + b"\r\ndone",
    ),
}


@pytest.mark.parametrize(("sent", "app", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_messages_become_an_answer(sent: bytes, app: Any, expected: bytes) -> None:
    """Its framing is one that the client understands, and it closes when it says so."""
    transport = await exchange(app, sent)
    assert transport.written == expected
    assert ("close" in transport.calls) is (CLOSE in expected)


async def test_an_answer_is_one_write() -> None:
    """Head and body of each answer on a connection leave together."""
    protocol, transport = connect(answering(b"done"))
    for num_answers in (1, 2):
        protocol.data_received(REQUEST)
        await turn()
        assert transport.num_writes == num_answers
    protocol.connection_lost(None)


async def test_a_part_of_a_body_does_not_wait_for_the_next() -> None:
    """Each part leaves before the next is made, the first with the head."""
    may_go_on = asyncio.Semaphore(0)

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        await start(send, LENGTH_4)
        for chunk in (b"do", b"ne"):
            await body(send, chunk, more_body=chunk == b"do")
            await may_go_on.acquire()

    protocol, transport = connect(app)
    protocol.data_received(REQUEST)
    for end in (b"\r\n\r\ndo", b"done"):
        await turn()
        assert transport.written.endswith(end)
        may_go_on.release()
    may_go_on.release()
    await turn()
    protocol.connection_lost(None)


# Failures


async def failing(_scope: Any, _receive: Any, _send: Send) -> None:
    """Fail at once."""
    raise RuntimeError("a bug")


async def silent(_scope: Any, _receive: Any, _send: Send) -> None:
    """Answer nothing."""


async def failing_after_its_head(_scope: Any, _receive: Any, send: Send) -> None:
    """Fail before the body."""
    await start(send, LENGTH_4)
    raise RuntimeError("a bug")


async def beginning_with_a_body(_scope: Any, _receive: Any, send: Send) -> None:
    """Send a body without a head."""
    await body(send, b"done")


async def with_two_heads(_scope: Any, _receive: Any, send: Send) -> None:
    """Send two heads."""
    await start(send, LENGTH_4)
    await start(send, LENGTH_4)


UNUSABLE = {
    "it fails": failing,
    "it answers nothing": silent,
    "it fails after its head": failing_after_its_head,
    "it sends no head": beginning_with_a_body,
    "it sends two": with_two_heads,
    "too short": answering(b"don"),
    "too long": answering(b"done!"),
    "204 with a body": answering(b"done", status=204),
    "an injected field": answering(b"done", headers=((b"x", b"a\r\nset-cookie: b"), *LENGTH_4)),
    "an injected name": answering(b"done", headers=((b"x: a\r\ny", b"b"), *LENGTH_4)),
    "a name with a space": answering(b"done", headers=((b"content-length ", b"4"),)),
    "no status": answering(b"done", status=99),
}


@pytest.mark.parametrize("app", UNUSABLE.values(), ids=UNUSABLE)
async def test_an_answer_that_cannot_be_sent_is_a_500(app: Any) -> None:
    """It is sent once, the reason is logged once, and the connection closes."""
    with structlog.testing.capture_logs() as logs:
        transport = await exchange(app, REQUEST)
    assert transport.calls == [
        b"HTTP/1.1 500 Internal Server Error\r\n"
        + DATE
        + b"content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n"
        + CLOSE
        + b"\r\nInternal Server Error",
        "close",
    ]
    assert [(one["log_level"], one["path"]) for one in logs] == [("error", "/")]


@pytest.mark.parametrize(
    "chunks", [(b"d", b"on"), (b"d", b"one!"), (b"done", b"!")], ids=["short", "long", "longer"]
)
async def test_an_answer_that_has_begun_is_cut_off(chunks: tuple[bytes, ...]) -> None:
    """A client must not take the next answer for the rest of this one: the connection closes."""
    with structlog.testing.capture_logs() as logs:
        transport = await exchange(answering(*chunks), REQUEST)
    assert transport.written == OK + b"content-length: 4\r\n\r\n" + chunks[0]
    assert transport.calls[-1] == "close"
    assert [one["event"] for one in logs] == ["request_failed"]


async def test_a_chunked_answer_that_ends_early_is_not_completed() -> None:
    """The last chunk, which would make it whole, is missing."""

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        await start(send)
        await body(send, b"done", more_body=True)

    with structlog.testing.capture_logs() as logs:
        transport = await exchange(app, REQUEST)
    assert transport.written.endswith(b"\r\n\r\n4\r\ndone\r\n")
    assert transport.calls[-1] == "close"
    assert [one["event"] for one in logs] == ["request_not_answered"]


async def test_a_failure_after_the_answer_costs_the_client_nothing() -> None:
    """It is logged, and the connection stays."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await answering(b"done")(scope, receive, send)
        await body(send, b"more")

    with structlog.testing.capture_logs() as logs:
        transport = await exchange(app, REQUEST, REQUEST)
    assert transport.written.count(b"200 OK") == 2
    assert "close" not in transport.calls
    assert [one["event"] for one in logs] == ["request_failed"] * 2


# Bodies


class Reader:
    """An application that, when the test allows it, keeps what it receives, and then answers."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.may_read = asyncio.Semaphore(0)

    async def __call__(self, _scope: Any, receive: Any, send: Send) -> None:
        """Receive until there is no more."""
        has_more = True
        while has_more:
            await self.may_read.acquire()
            self.messages.append(await receive())
            has_more = self.messages[-1].get("more_body", False)
        await start(send, LENGTH_4)
        await body(send, b"done")


def post(num_bytes: int, *headers: bytes) -> bytes:
    """The head of a request with a body."""
    return b"\r\n".join(
        (b"POST / HTTP/1.1", b"Host: h", b"Content-Length: %d" % num_bytes, *headers, b"", b"")
    )


async def test_a_connection_is_not_read_while_the_application_is_behind() -> None:
    """Beyond 64 KiB, what a client sends waits in the network."""
    app = Reader()
    protocol, transport = connect(app)
    protocol.data_received(post(200_000))
    protocol.data_received(b"a" * 60_000)
    assert transport.calls == []
    protocol.data_received(b"a" * 60_000)
    assert transport.calls == ["pause_reading"]
    app.may_read.release()
    await turn()
    assert transport.calls == ["pause_reading", "resume_reading"]
    assert app.messages == [{"type": "http.request", "body": b"a" * 120_000, "more_body": True}]
    for _ in range(2):
        protocol.data_received(b"b" * 40_000)
        app.may_read.release()
        await turn()
    assert [len(one["body"]) for one in app.messages] == [120_000, 40_000, 40_000]
    assert transport.written.endswith(b"done")
    protocol.connection_lost(None)


async def test_a_client_that_leaves_is_a_disconnect() -> None:
    """It comes at once, as often as it is asked for, and what is sent then is dropped."""
    told = []

    async def app(_scope: Any, receive: Any, send: Send) -> None:
        told.extend([await receive(), await receive(), await receive()])
        await start(send, LENGTH_4)
        await body(send, b"done")

    protocol, transport = connect(app)
    protocol.data_received(post(2) + b"a")
    await turn()
    protocol.connection_lost(ConnectionResetError())
    await turn()
    assert [one["type"] for one in told] == ["http.request", "http.disconnect", "http.disconnect"]
    assert transport.calls == []
    assert not protocol._server.tasks


async def test_after_its_answer_an_application_is_told_of_the_end() -> None:
    """What it receives then is no part of the next request."""
    told = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        await answering(b"done")(scope, receive, send)
        told.append(await receive())

    transport = await exchange(app, REQUEST + REQUEST)
    assert transport.written.count(b"200 OK") == 2
    assert told == [{"type": "http.disconnect"}] * 2


async def test_a_client_that_does_not_read_stops_the_application() -> None:
    """Once too much waits for it, what is sent next waits until it has read, or has gone."""
    num_sent = 0

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        nonlocal num_sent
        await start(send, ((b"content-length", b"3"),))
        for num_sent in (1, 2, 3):
            await body(send, b"x", more_body=num_sent < 3)

    protocol, transport = connect(app, room=10)  # the head alone is longer
    protocol.data_received(REQUEST)
    await turn()
    assert (num_sent, transport.written[-5:]) == (2, b"\r\n\r\nx")
    protocol.resume_writing()
    await turn()
    assert (num_sent, transport.written[-6:]) == (3, b"\r\n\r\nxx")
    protocol.connection_lost(None)
    await turn()
    assert not protocol._server.tasks
    assert transport.written.endswith(b"\r\n\r\nxx")


# Invitations


async def test_a_body_is_invited_once_it_is_wanted() -> None:
    """A client that waits for 100 Continue gets it when the application asks for the body."""
    app = Reader()
    protocol, transport = connect(app)
    protocol.data_received(post(4, b"Expect: 100-Continue"))
    await turn()
    assert transport.calls == []
    for part in (b"", b"ab", b"cd"):
        app.may_read.release()
        await turn()
        protocol.data_received(part)
        await turn()
        assert transport.calls[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert transport.written.count(b"100 Continue") == 1
    assert transport.written.endswith(b"done")
    assert CLOSE not in transport.written
    protocol.connection_lost(None)


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_body_that_is_not_wanted_is_not_invited(version: bytes) -> None:
    """The final answer comes instead, and the connection closes; HTTP/1.0 has no 100 Continue."""
    sent = post(4, b"Expect: 100-continue").replace(b"1.1", version)
    app = answering(b"done") if version == b"1.1" else Reader()
    if isinstance(app, Reader):
        app.may_read.release()
    transport = await exchange(app, sent, *([b"abcd"] if version == b"1.0" else []))
    assert b"100 Continue" not in transport.written
    assert CLOSE in transport.written
