"""Connections that answer searches themselves: byte for byte as the server's own way does."""

import asyncio
import gc
import logging
from typing import Any

import pytest
import structlog
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from common.config import GatewaySettings
from common.errors import (
    BadRequestError,
    InsufficientCoverageError,
    NotFoundError,
    OverloadedError,
    RedisUnavailableError,
)
from gateway.answer_memory import SMALL_BYTES, AnswerMemory
from gateway.http.app import create_app
from gateway.http.guarded_connection import GuardedConnection
from gateway.http.search_app import SearchApp
from gateway.http.search_connection import SearchConnection
from gateway.result import Hit, SearchQuery, SearchResult
from tests.unit.connections import RecordingTransport, connect, turn
from tests.unit.fake_gateway import FakeGateway, make_result

Protocol = type[SearchConnection] | type[GuardedConnection]
TOKEN = GatewaySettings(token=SecretStr("s3cret"))


def request(
    body: bytes = b'{"query": "wing"}',
    *headers: str,
    target: str = "/v1/collections/films/search",
    method: str = "POST",
    version: str = "1.1",
) -> bytes:
    """A request of a search, or of what is nearly one."""
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers]
    if not any(one.startswith("Transfer-Encoding") for one in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
def through_asgi(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that come to `SearchApp` by the server's own way."""
    paths = []
    call = SearchApp.__call__

    async def counted(app: SearchApp, scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await call(app, scope, receive, send)

    monkeypatch.setattr(SearchApp, "__call__", counted)
    return paths


async def exchange(
    protocol_type: Protocol,
    *parts: bytes,
    answer: Any = None,
    settings: GatewaySettings | None = None,
) -> tuple[list[bytes | str], list[SearchQuery]]:
    """What a connection does on `parts`, and what it asks its gateway."""
    gateway = FakeGateway()
    gateway.answer = answer or make_result()
    app = create_app(gateway, settings or GatewaySettings())
    protocol, transport = connect(protocol_type, app)
    for part in parts:
        protocol.data_received(part)
        await turn()
    assert not protocol.tasks
    protocol.connection_lost(None)
    return transport.calls, gateway.searches


@pytest.mark.parametrize(
    "answer",
    [
        make_result(),
        BadRequestError("query", "has an unbalanced quote", 4),
        NotFoundError("there is no collection 'films'"),
        RedisUnavailableError("Redis does not answer", 1.2),
        OverloadedError("too much", "limit", 0.25),
        InsufficientCoverageError("coverage is 0.875", make_result()),
        RuntimeError("a bug"),
    ],
)
@pytest.mark.parametrize("headers", [(), ("Connection: close",), ("Content-Type: text/plain",)])
async def test_a_plain_search_is_answered_as_through_asgi(
    through_asgi: list[str], answer: Any, headers: tuple[str, ...]
) -> None:
    """Head, body, close and log are those of the server's own way, without taking it."""
    sent = request(b'{"query": "wing", "k": 3}', *headers)
    with structlog.testing.capture_logs() as logs:
        found = await exchange(SearchConnection, sent, sent, answer=answer)
    assert through_asgi == []
    with structlog.testing.capture_logs() as expected_logs:
        expected = await exchange(GuardedConnection, sent, sent, answer=answer)
    assert found == expected
    assert logs == expected_logs
    assert b"date: " in joined(found[0])


@pytest.mark.parametrize("body", [b"", b"{", b'{"query": 1}', b'{"query": "a", "kk": 1}', b"\xff"])
async def test_a_bad_body_is_refused_as_through_asgi(body: bytes) -> None:
    """The same problem, byte for byte."""
    found = await exchange(SearchConnection, request(body))
    assert found == await exchange(GuardedConnection, request(body))
    assert found[0][0][:12] == b"HTTP/1.1 400"


NOT_PLAIN = {
    "a parameter": request(target="/v1/collections/films/search?x=1"),
    "an encoded name": request(target="/v1/collections/f%69lms/search"),
    "an absolute target": request(target="http://localhost/v1/collections/films/search"),
    "another method": request(method="GET"),
    "another path": request(target="/v1/collections/films/documents"),
    "HTTP/1.0": request(version="1.0"),
    "chunks": request(
        b'7\r\n{"query\r\n6\r\n": "a"\r\n1\r\n}\r\n0\r\n\r\n', "Transfer-Encoding: chunked"
    ),
    "an invitation": request(b'{"query": "a"}', "Expect: 100-continue"),
    "an upgrade": request(b"", "Connection: upgrade", "Upgrade: h2c"),
    "too large": request(b'{"query": "%b"}' % (b"a" * 70_000)),
}


@pytest.mark.parametrize("sent", NOT_PLAIN.values(), ids=NOT_PLAIN)
async def test_what_is_not_plain_takes_the_servers_way(
    through_asgi: list[str], sent: bytes
) -> None:
    """Whatever must be decoded, invited or refused unread is left to the server."""
    found = await exchange(SearchConnection, sent)
    assert len(through_asgi) == 1
    assert found == await exchange(GuardedConnection, sent)


async def test_where_requests_are_logged_all_take_the_servers_way(
    through_asgi: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search is not left out of uvicorn's access log, if there is one."""
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "handlers", [logging.NullHandler()])
    app = create_app(FakeGateway(), GatewaySettings())
    protocol, transport = connect(SearchConnection, app, access_log=True)
    protocol.data_received(request())
    await turn()
    assert len(through_asgi) == transport.num_writes == 1
    protocol.connection_lost(None)


async def test_a_prefix_is_the_servers_to_take_off(through_asgi: list[str]) -> None:
    """Where the application is mounted under a path, the scope says so."""
    app = create_app(FakeGateway(), GatewaySettings())
    protocol, transport = connect(SearchConnection, app, root_path="/api")
    protocol.data_received(request())
    await turn()
    assert through_asgi == ["/api/v1/collections/films/search"]
    assert b"200 OK" in transport.written
    protocol.connection_lost(None)


async def test_searches_and_other_requests_take_turns_on_a_connection() -> None:
    """Whichever way a request took, the next one may take the other."""
    parts = [request(), NOT_PLAIN["chunks"], request(b"{"), NOT_PLAIN["a parameter"], request()]
    found = await exchange(SearchConnection, *parts)
    assert found == await exchange(GuardedConnection, *parts)
    assert len(found[1]) == 3


async def test_pipelined_searches_are_answered_in_turn() -> None:
    """What arrives while a search is on its way waits for its answer."""
    sent = request(b'{"query": "a"}') + request(b'{"query": "b"}') + request(b'{"query": "c"}')
    found, searches = await exchange(SearchConnection, sent)
    expected, _ = await exchange(GuardedConnection, sent)
    assert joined(found) == joined(expected)
    assert [query.query for query in searches] == ["a", "b", "c"]


async def test_a_pipelined_search_waits_for_the_one_before_it() -> None:
    """However long that takes: answers come in the order of the requests."""
    gateway = SlowGateway()
    protocol, transport = begin(gateway)
    protocol.data_received(request(b'{"query": "b"}'))
    await turn()
    assert gateway.num_begun == 1
    gateway.may_answer.set()
    await turn()
    assert [query.query for query in gateway.searches] == ["wing", "b"]
    assert transport.written.count(b"HTTP/1.1 200 OK") == 2
    protocol.connection_lost(None)


def joined(calls: list[bytes | str]) -> bytes:
    """All that was written, whatever the writes."""
    return b"".join(call for call in calls if isinstance(call, bytes))


async def test_a_body_may_come_in_pieces(through_asgi: list[str]) -> None:
    """A search begins once its body is whole."""
    sent = request()
    found, searches = await exchange(
        SearchConnection, sent[:20], sent[20:-9], sent[-9:-4], sent[-4:]
    )
    assert [query.query for query in searches] == ["wing"]
    assert found == (await exchange(SearchConnection, sent))[0]
    assert through_asgi == []


@pytest.mark.parametrize("given", ["Bearer s3cret", "bearer s3cret", "Bearer wrong", "Basic x"])
async def test_the_token_is_demanded(given: str) -> None:
    """A search without the right token is refused, as through ASGI."""
    sent = request(b'{"query": "wing"}', f"Authorization: {given}")
    found = await exchange(SearchConnection, sent, settings=TOKEN)
    assert found == await exchange(GuardedConnection, sent, settings=TOKEN)
    assert len(found[1]) == (1 if given.endswith("s3cret") else 0)


class SlowGateway(FakeGateway):
    """A gateway that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.num_begun = 0
        self.num_cancelled = 0

    async def search(self, query: SearchQuery) -> SearchResult:
        """Answer, later."""
        self.num_begun += 1
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        return await super().search(query)


def begin(
    gateway: FakeGateway, protocol_type: Protocol = SearchConnection
) -> tuple[Any, RecordingTransport]:
    """Have a search sent."""
    protocol, transport = connect(protocol_type, create_app(gateway, GatewaySettings()))
    protocol.data_received(request())
    return protocol, transport


@pytest.mark.parametrize("num_turns", [0, 1])
async def test_a_client_that_hangs_up_cancels_its_search(
    num_turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The search ends at once, also one that has not begun; nothing is written or logged."""
    gateway = SlowGateway()
    protocol, transport = begin(gateway)
    for _ in range(num_turns):
        await asyncio.sleep(0)
    with structlog.testing.capture_logs() as logs:
        protocol.connection_lost(None)
        await turn()
    assert gateway.num_begun == gateway.num_cancelled == num_turns
    assert transport.written == b""
    assert not protocol.tasks
    assert not protocol.connections
    assert (logs, caplog.records) == ([], [])


async def test_a_client_that_leaves_amid_its_body_asks_nothing() -> None:
    """What came of a body is not searched."""
    gateway = FakeGateway()
    protocol, transport = connect(SearchConnection, create_app(gateway, GatewaySettings()))
    protocol.data_received(request()[:-4])
    protocol.connection_lost(ConnectionResetError())
    await turn()
    assert (gateway.searches, transport.written) == ([], b"")


async def test_a_client_may_leave_while_its_answer_waits_to_be_written() -> None:
    """An answer that found no room for it is dropped with the connection."""
    gateway = SlowGateway()
    protocol, transport = begin(gateway)
    protocol.pause_writing()
    gateway.may_answer.set()
    await turn()
    assert transport.written == b""
    protocol.connection_lost(None)
    await turn()
    assert transport.written == b""
    assert not protocol.tasks


async def test_an_answer_waits_for_room() -> None:
    """A client that does not read what it was sent is not sent more."""
    gateway = SlowGateway()
    protocol, transport = begin(gateway)
    protocol.pause_writing()
    gateway.may_answer.set()
    await turn()
    assert transport.num_writes == 0
    protocol.resume_writing()
    await turn()
    assert transport.num_writes == 1
    protocol.connection_lost(None)


async def test_a_drain_finishes_a_search_and_closes() -> None:
    """A connection that is told to shut down amid a search answers it, says so, and closes."""
    calls = []
    for protocol_type in (SearchConnection, GuardedConnection):
        gateway = SlowGateway()
        protocol, transport = begin(gateway, protocol_type)
        await turn()
        protocol.shutdown()
        gateway.may_answer.set()
        await turn()
        assert transport.calls[-1] == "close"
        assert b"connection: close" in transport.written
        calls.append(transport.calls)
        protocol.connection_lost(None)
    assert calls[0] == calls[1]


async def test_a_connection_that_has_answered_closes_when_told() -> None:
    """A drain does not wait for connections that are idle."""
    protocol, transport = begin(FakeGateway())
    await turn()
    protocol.shutdown()
    assert transport.calls[-1] == "close"
    protocol.connection_lost(None)


async def test_a_search_that_the_server_cancels_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """At the end of a drain's time the server cancels what runs, and says so as ever."""
    calls, texts = [], []
    for protocol_type in (SearchConnection, GuardedConnection):
        caplog.clear()
        protocol, transport = begin(SlowGateway(), protocol_type)
        await turn()
        for task in protocol.tasks:
            task.cancel()
        await turn()
        calls.append(transport.calls)
        texts.append([(one.name, one.levelno, one.getMessage()) for one in caplog.records])
        assert not protocol.tasks
        protocol.connection_lost(None)
    assert calls[0] == calls[1]
    assert texts[0] == texts[1] == [("uvicorn.error", logging.ERROR, texts[0][0][2])]


async def test_an_answer_leaves_no_cycle() -> None:
    """What a search has made goes without the garbage collector."""
    protocol, _ = begin(FakeGateway())
    await turn()
    gc.collect()
    gc.disable()
    try:
        protocol.data_received(request())
        await turn()
        assert gc.collect() == 0
    finally:
        gc.enable()
    protocol.connection_lost(None)


class HoldingGateway(FakeGateway):
    """Gives each answer a lease of the gateway's memory."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = AnswerMemory(10 * SMALL_BYTES)

    async def search(self, query: SearchQuery) -> SearchResult:
        """An answer with a large document, which holds twice its size."""
        lease = self.memory.lease("")
        assert lease.take(2 * SMALL_BYTES)
        fields = {"text": "x" * SMALL_BYTES}
        result = make_result(hits=[Hit("1", 1.0, 0, fields)], lease=lease)
        if query.query == "insufficient":
            raise InsufficientCoverageError("too little", result)
        return result


@pytest.mark.parametrize("protocol_type", [SearchConnection, GuardedConnection])
@pytest.mark.parametrize("is_left", [False, True])
@pytest.mark.parametrize("query", [b"wing", b"insufficient"])
async def test_an_answer_is_held_until_it_is_read(
    protocol_type: Protocol, is_left: bool, query: bytes
) -> None:
    """Its memory is given back once the client has read it, or has gone."""
    gateway = HoldingGateway()
    app = create_app(gateway, GatewaySettings())
    protocol, transport = connect(protocol_type, app, room=1000)
    protocol.data_received(request(b'{"query": "%b"}' % query))
    await turn()
    assert len(transport.written) > SMALL_BYTES
    if protocol_type is SearchConnection or query == b"wing":
        assert gateway.memory.held_bytes == 2 * SMALL_BYTES
    if is_left:
        protocol.connection_lost(None)
    else:
        protocol.resume_writing()
    await turn()
    assert gateway.memory.held_bytes == 0
    assert not protocol.tasks
