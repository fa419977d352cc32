"""Searches that are answered without ASGI: byte for byte as with it."""

import asyncio
import gc
import re
from typing import Any

import pytest
import structlog
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from hedgerow.common.errors import (
    BadRequestError,
    InsufficientCoverageError,
    NotFoundError,
    OverloadedError,
    RedisUnavailableError,
)
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.http.protocol.refusal_pace import TICK_S
from hedgerow.gateway.http.search.search_app import SearchApp
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.search.documents.answer_memory import SMALL_BYTES, AnswerMemory
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from tests.support.connections import RecordingTransport, Way, by_asgi, connect, plain, turn
from tests.support.fake_gateway import FakeGateway
from tests.support.sample_results import make_result
from tests.support.virtual_time import run_virtually

TOKEN = GatewaySettings(token=SecretStr("s3cret"))


def request(
    body: bytes = b'{"query": "wing"}',
    *headers: str,
    target: str = "/v1/collections/films/search",
    method: str = "POST",
    version: str = "1.1",
) -> bytes:
    """The request of a search, or nearly one."""
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers]
    if not any(one.startswith("Transfer-Encoding") for one in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
def through_asgi(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that come to `SearchApp` by ASGI."""
    paths = []
    call = SearchApp.__call__

    async def counted(app: SearchApp, scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await call(app, scope, receive, send)

    monkeypatch.setattr(SearchApp, "__call__", counted)
    return paths


async def exchange(
    way: Way,
    *parts: bytes,
    answer: Any = None,
    settings: GatewaySettings | None = None,
) -> tuple[list[bytes | str], list[SearchQuery]]:
    """What a connection does on `parts`, and what it asks its gateway."""
    gateway = FakeGateway()
    gateway.answer = answer or make_result()
    app = create_app(gateway, settings or GatewaySettings())
    protocol, transport = connect(way(app))
    for part in parts:
        protocol.data_received(part)
        await turn()
    assert not protocol._server.tasks
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
    """Head, body, close and log are those of ASGI, without it."""
    sent = request(b'{"query": "wing", "k": 3}', *headers)
    with structlog.testing.capture_logs() as logs:
        found = await exchange(plain, sent, sent, answer=answer)
    assert through_asgi == []
    with structlog.testing.capture_logs() as expected_logs:
        expected = await exchange(by_asgi, sent, sent, answer=answer)
    assert found == expected
    assert logs == expected_logs
    assert b"date: " in joined(found[0])


@pytest.mark.parametrize("body", [b"", b"{", b'{"query": 1}', b'{"query": "a", "kk": 1}', b"\xff"])
async def test_a_bad_body_is_refused_as_through_asgi(body: bytes) -> None:
    """The same problem, byte for byte."""
    found = await exchange(plain, request(body))
    assert found == await exchange(by_asgi, request(body))
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
async def test_what_is_not_plain_goes_through_asgi(through_asgi: list[str], sent: bytes) -> None:
    """What needs decoding, an invitation or a refusal unread is left to the application."""
    found = await exchange(plain, sent)
    assert len(through_asgi) == 1
    assert found == await exchange(by_asgi, sent)


async def test_searches_and_other_requests_take_turns_on_a_connection() -> None:
    """Whichever way a request took, the next one may take the other."""
    parts = [request(), NOT_PLAIN["chunks"], request(b"{"), NOT_PLAIN["a parameter"], request()]
    found = await exchange(plain, *parts)
    assert found == await exchange(by_asgi, *parts)
    assert len(found[1]) == 3


async def test_pipelined_searches_are_answered_in_turn() -> None:
    """What arrives while a search is on its way waits for its answer."""
    sent = request(b'{"query": "a"}') + request(b'{"query": "b"}') + request(b'{"query": "c"}')
    found, searches = await exchange(plain, sent)
    expected, _ = await exchange(by_asgi, sent)
    assert joined(found) == joined(expected)
    assert [query.query for query in searches] == ["a", "b", "c"]


async def test_a_pipelined_search_waits_for_the_one_before_it() -> None:
    """However long that takes, answers come in the order of the requests."""
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
    found, searches = await exchange(plain, sent[:20], sent[20:-9], sent[-9:-4], sent[-4:])
    assert [query.query for query in searches] == ["wing"]
    assert found == (await exchange(plain, sent))[0]
    assert through_asgi == []


@pytest.mark.parametrize("given", ["Bearer s3cret", "bearer s3cret", "Bearer wrong", "Basic x"])
async def test_the_token_is_demanded(given: str) -> None:
    """A search without the right token is refused, as through ASGI."""
    sent = request(b'{"query": "wing"}', f"Authorization: {given}")
    found = await exchange(plain, sent, settings=TOKEN)
    assert found == await exchange(by_asgi, sent, settings=TOKEN)
    assert len(found[1]) == (1 if given.endswith("s3cret") else 0)


class SlowGateway(FakeGateway):
    """A gateway that answers when the test allows it."""

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


def begin(gateway: FakeGateway, way: Way = plain) -> tuple[Any, RecordingTransport]:
    """Have a search sent."""
    protocol, transport = connect(way(create_app(gateway, GatewaySettings())))
    protocol.data_received(request())
    return protocol, transport


@pytest.mark.parametrize("num_turns", [0, 1])
async def test_a_client_that_hangs_up_cancels_its_search(num_turns: int) -> None:
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
    assert not protocol._server.tasks
    assert not protocol._server.connections
    assert logs == []


async def test_a_client_that_leaves_amid_its_body_asks_nothing() -> None:
    """What came of a body is not searched."""
    gateway = FakeGateway()
    protocol, transport = connect(create_app(gateway, GatewaySettings()))
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
    assert not protocol._server.tasks


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
    """A connection that is to shut down during a search answers it, says so, and closes."""
    calls = []
    for way in (plain, by_asgi):
        gateway = SlowGateway()
        protocol, transport = begin(gateway, way)
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


async def test_a_search_that_the_server_cancels_is_a_500() -> None:
    """At the end of a drain's time the server cancels what runs: it is answered, and logged."""
    calls = []
    for way in (plain, by_asgi):
        protocol, transport = begin(SlowGateway(), way)
        await turn()
        with structlog.testing.capture_logs() as logs:
            for task in protocol._server.tasks:
                task.cancel()
            await turn()
        calls.append(transport.calls)
        assert [one["event"] for one in logs] == ["request_failed"]
        assert logs[0]["path"] == "/v1/collections/films/search"
        assert b"HTTP/1.1 500 " in transport.written
        assert not protocol._server.tasks
        protocol.connection_lost(None)
    assert calls[0] == calls[1]


async def test_an_answer_leaves_no_cycle() -> None:
    """A search leaves nothing for the garbage collector."""
    protocol, _ = begin(FakeGateway())
    await turn()
    gc.collect()  # garbage of other tests may have finalizers that give this loop work
    await turn()
    gc.freeze()
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


@pytest.mark.parametrize("way", [plain, by_asgi])
@pytest.mark.parametrize("is_left", [False, True])
@pytest.mark.parametrize("query", [b"wing", b"insufficient"])
async def test_an_answer_is_held_until_it_is_read(way: Way, is_left: bool, query: bytes) -> None:
    """Its memory is given back once the client has read it, or has gone."""
    gateway = HoldingGateway()
    app = create_app(gateway, GatewaySettings())
    protocol, transport = connect(way(app), room=1000)
    protocol.data_received(request(b'{"query": "%b"}' % query))
    await turn()
    assert len(transport.written) > SMALL_BYTES
    if way is plain or query == b"wing":
        assert gateway.memory.held_bytes == 2 * SMALL_BYTES
    if is_left:
        protocol.connection_lost(None)
    else:
        protocol.resume_writing()
    await turn()
    assert gateway.memory.held_bytes == 0
    assert not protocol._server.tasks


FULL = OverloadedError("4 queries are in flight, which is the limit", "limit", 0.04)


async def test_an_early_refusal_is_the_same_as_a_late_one() -> None:
    """Byte for byte what the server's own way answers, and no search is begun."""
    gateway = FakeGateway()
    gateway.refusal = FULL
    protocol, transport = begin(gateway)
    assert transport.calls == [transport.written]  # within the turn
    assert not protocol._server.tasks
    expected, _ = await exchange(by_asgi, request(), answer=FULL)
    assert transport.written == joined(expected)
    assert gateway.searches == []
    protocol.connection_lost(None)


@pytest.mark.parametrize("body", [b"{", b'{"query": "a", "deadline_ms": -1}'])
async def test_a_bad_body_is_its_callers_fault_even_in_an_overload(body: bytes) -> None:
    """A search that cannot be used gets a 400, whether or not there is room."""
    gateway = FakeGateway()
    gateway.refusal = FULL
    protocol, transport = connect(create_app(gateway, GatewaySettings()))
    protocol.data_received(request(body))
    await turn()
    assert transport.written.startswith(b"HTTP/1.1 400")
    protocol.connection_lost(None)


async def test_pipelined_searches_are_refused_in_turn() -> None:
    """Each gets its own refusal, also in one packet with other requests between."""
    gateway = FakeGateway()
    gateway.refusal = FULL
    table = ConnectionTable(ConnectionSettings(max_held_refusals=0), Counters())
    app = create_app(gateway, GatewaySettings())
    protocol, transport = connect(app, table=table)
    protocol.data_received(2 * request() + NOT_PLAIN["another path"] + 2 * request())
    for _ in range(3):
        await turn()
    statuses = re.findall(rb"HTTP/1.1 (\d+)", transport.written)
    assert statuses == [b"429", b"429", b"200", b"429", b"429"]
    protocol.connection_lost(None)


def refused(body: bytes, table: ConnectionTable) -> tuple[Any, RecordingTransport]:
    """A connection on which a search was just refused, and asked again."""
    gateway = FakeGateway()
    gateway.refusal = FULL
    app = create_app(gateway, GatewaySettings())
    protocol, transport = connect(app, table=table)
    protocol.data_received(request())
    assert transport.num_writes == 1
    protocol.data_received(request(body))
    return protocol, transport


@pytest.mark.parametrize(
    ("body", "wait_s"),
    [
        (b'{"query": "a", "deadline_ms": 20000}', 1.0),  # the least that Retry-After says
        (b'{"query": "a", "deadline_ms": 200}', 0.2),
    ],
)
def test_a_second_refusal_waits(body: bytes, wait_s: float) -> None:
    """It leaves when the caller should have asked, or with the deadline; then the next one may."""

    async def main() -> None:
        table = ConnectionTable(ConnectionSettings(), Counters())
        protocol, transport = refused(body, table)
        assert (transport.num_writes, table.pace.num_held) == (1, 1)
        await asyncio.sleep(wait_s - 2 * TICK_S)
        assert transport.num_writes == 1
        await asyncio.sleep(2 * TICK_S)
        assert (transport.num_writes, table.pace.num_held) == (2, 0)
        await asyncio.sleep(1.0)
        protocol.data_received(request())
        assert transport.num_writes == 3  # it has waited as it was asked to
        protocol.connection_lost(None)

    run_virtually(main())


def test_what_is_admitted_does_not_wait() -> None:
    """A connection that was refused is answered as soon as there is room."""

    async def main() -> None:
        gateway = FakeGateway()
        gateway.refusal = FULL
        protocol, transport = begin(gateway)
        gateway.refusal = None
        protocol.data_received(request())
        await turn()
        assert b"HTTP/1.1 200" in transport.written
        protocol.connection_lost(None)

    run_virtually(main())


def test_a_client_that_hangs_up_waits_no_more() -> None:
    """Its refusal is not sent, and leaves room for another."""

    async def main() -> None:
        table = ConnectionTable(ConnectionSettings(), Counters())
        protocol, transport = refused(b'{"query": "a"}', table)
        protocol.connection_lost(None)
        assert table.pace.num_held == 0
        await asyncio.sleep(2.0)
        assert transport.num_writes == 1

    run_virtually(main())
