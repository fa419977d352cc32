"""Connections within limits: clients that send too much or in a wrong form, and the end."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.protocol.connection_policy import Phase
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server_state import ServerState
from tests.support.connections import connect, turn
from tests.unit.support.asgi_app import (
    MALFORMED,
    REQUEST,
    App,
    post,
    refusal,
    table,
)

LOAD = b"POST /v1/collections/films/documents HTTP/1.1\r\nHost: h\r\n"


# Pipelines


async def test_a_pipeline_is_parsed_one_request_at_a_time() -> None:
    """Of thousands of requests in one packet, one goes to the application, the rest wait."""
    app = App()
    app.may_answer.clear()
    protocol, transport = connect(app)
    protocol.data_received(REQUEST * 5000)
    await turn()
    assert len(app.scopes) == 1
    assert transport.calls == ["pause_reading"]
    app.may_answer.set()
    while len(app.bodies) < 5000:
        await turn()
    await turn()
    assert transport.written.count(b"HTTP/1.1 204") == 5000
    assert transport.calls.count("resume_reading") == 1
    protocol.connection_lost(None)


async def test_an_application_that_wants_more_does_not_get_the_next_request() -> None:
    """Reading stays paused while requests wait, also when the application asks for its body."""
    may_answer = asyncio.Event()
    num_asked = 0

    async def app(_: Any, receive: Any, send: Any) -> None:
        nonlocal num_asked
        await receive()
        watch = asyncio.ensure_future(receive())
        num_asked += 1
        await may_answer.wait()
        watch.cancel()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    protocol, transport = connect(app)
    protocol.data_received(REQUEST * 3)
    await turn()
    assert num_asked == 1
    assert transport.calls == ["pause_reading"]
    may_answer.set()
    await turn()
    await turn()
    assert num_asked == 3
    protocol.connection_lost(None)


@given(st.lists(st.integers(1, 40), min_size=1))
def test_packets_of_any_size_carry_the_same_requests(sizes: list[int]) -> None:
    """Each request is answered once, and its body is its own."""

    async def scenario() -> None:
        app = App()
        protocol, transport = connect(app)
        chunked = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        stream = REQUEST + post(6) + b"GET / \n"[:6] + chunked + b"3\r\nabc\r\n0\r\n\r\n" + REQUEST
        offset = 0
        for number in range(len(stream)):
            if offset >= len(stream):
                break
            size = sizes[number % len(sizes)]
            protocol.data_received(stream[offset : offset + size])
            offset += size
        while len(app.bodies) < 4:
            await turn()
        await turn()
        assert app.bodies == [b"", b"GET / ", b"abc", b""]
        assert transport.written.count(b"HTTP/1.1 204") == 4
        protocol.connection_lost(None)

    asyncio.run(scenario())


async def test_a_body_of_tiny_chunks_leaves_turns_to_others() -> None:
    """What takes many callbacks is not parsed in one turn of the loop."""
    app = App()
    protocol, _transport = connect(app)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    tricky = b"4\r\n\r\n\r\n\r\n" * 7000
    protocol.data_received(tricky)
    assert protocol._reader.num_held > len(tricky) * 3 / 4
    protocol_calls = 0
    while not app.bodies:
        if not protocol._reader.num_held:
            protocol.data_received(b"0\r\n\r\n")
        await turn()
        protocol_calls += 1
        assert protocol_calls < 1000
    assert app.bodies == [b"\r\n\r\n" * 7000]
    protocol.connection_lost(None)


# Heads


@pytest.mark.parametrize("size", [100, 65_536])
async def test_a_head_that_is_too_large_is_refused(size: int) -> None:
    """It is a 431, however it comes; the application hears nothing of it."""
    app = App()
    protocol, transport = connect(app, table=table(max_head_bytes=2000))
    sent = b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 100_000
    for start in range(0, len(sent), size):
        protocol.data_received(sent[start : start + size])
    status, problem = refusal(transport)
    assert status == 431
    assert "2000 bytes" in problem["detail"]
    assert transport.calls[-1] == "write_eof"
    assert not app.scopes
    protocol.connection_lost(None)


async def test_too_many_headers_are_refused() -> None:
    """It is a 431, before the head has ended."""
    protocol, transport = connect(App(), table=table(max_headers=10))
    protocol.data_received(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 12)
    assert refusal(transport)[0] == 431
    protocol.connection_lost(None)


async def test_trailers_are_dropped() -> None:
    """What comes after a chunked body is no header of the request, which was judged without it."""
    app = App()
    protocol, _ = connect(app)
    protocol.data_received(
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    )
    await turn()
    assert app.bodies == [b"a"]
    assert dict(app.scopes[0]["headers"]).keys() == {b"host", b"transfer-encoding"}
    protocol.connection_lost(None)


# Malformed requests

HOST = b"Host: h\r\n"


@pytest.mark.parametrize(("status", "sent"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("size", [1, 10_000])
async def test_what_is_malformed_is_refused_once(status: int, sent: bytes, size: int) -> None:
    """There is one problem, nothing after it is answered, and no application waits."""
    app = App()
    protocol, transport = connect(app)
    sent += REQUEST * 3
    for start in range(0, len(sent), size):
        protocol.data_received(sent[start : start + size])
        await asyncio.sleep(0)
    await turn()
    assert refusal(transport)[0] == status
    assert "write_eof" in transport.calls
    assert not protocol._server.tasks
    assert app.num_left == len(app.scopes) == ("bad chunk" in str(sent) or b"\n-1\r\n" in sent)
    protocol.connection_lost(None)


async def test_a_url_may_name_the_host() -> None:
    """The absolute form of a target is taken, when it and the Host header agree."""
    app = App()
    protocol, _ = connect(app)
    protocol.data_received(b"GET http://H:80/a?b=c HTTP/1.1\r\nHost: h:80\r\n\r\n")
    await turn()
    assert (app.scopes[0]["path"], app.scopes[0]["query_string"]) == ("/a", b"b=c")
    protocol.connection_lost(None)


async def test_an_upgrade_is_answered_in_http_1() -> None:
    """The connection is closed then, and what was sent in the other protocol is not parsed."""
    app = App()
    protocol, transport = connect(app)
    protocol.data_received(
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + REQUEST
    )
    await turn()
    assert len(app.scopes) == 1
    assert b"connection: close" in transport.written
    assert transport.calls[-1] in ("write_eof", "resume_reading")
    protocol.connection_lost(None)


async def test_malformed_requests_are_counted_and_logged_rarely(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A hundred of them are one line of the log."""
    counters = Counters()
    shared = ConnectionTable(ConnectionSettings(), counters)
    for _ in range(100):
        protocol, _ = connect(App(), table=shared)
        protocol.data_received(b"nonsense\x1b[31m\r\n\r\n")
        protocol.connection_lost(None)
    assert counters.as_dict() == {"http_bad_requests": 100}
    log = capsys.readouterr().out
    assert log.count("http_bad_requests") == 1
    assert "\x1b[31m" not in log


# Refusals before the body has come


async def test_a_refusal_before_a_large_body_reaches_its_client() -> None:
    """It says that the connection ends, what follows is discarded, and it ends with the client."""
    protocol, transport = connect(App(reads=False))
    protocol.data_received(post(5_000_000) + b"a" * 1000)
    await turn()
    assert transport.written.startswith(b"HTTP/1.1 204")
    assert b"connection: close" in transport.written
    assert transport.calls[-1] == "write_eof"
    assert not transport.is_closing()
    for _ in range(100):
        protocol.data_received(b"a" * 50_000)
    assert not transport.is_closing()
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    "head", [post(5_000_000), REQUEST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_body_that_was_read_keeps_the_connection(head: bytes) -> None:
    """However long it was, and in whatever form it came."""
    app = App()
    protocol, transport = connect(app)
    is_chunked = b"chunked" in head
    protocol.data_received(head)
    for _ in range(100):
        await turn()
        protocol.data_received(b"c350\r\n" * is_chunked + b"a" * 50_000 + b"\r\n" * is_chunked)
    protocol.data_received(b"0\r\n\r\n" * is_chunked)
    await turn()
    protocol.data_received(REQUEST)
    await turn()
    assert [len(body) for body in app.bodies] == [5_000_000, 0]
    assert b"connection: close" not in transport.written
    protocol.connection_lost(None)


async def test_a_small_rest_is_discarded_and_the_connection_stays() -> None:
    """A refusal costs no connection where little of the body is to come."""
    app = App(reads=False)
    protocol, transport = connect(app)
    protocol.data_received(post(1000) + b"a" * 10)
    await turn()
    assert b"connection: close" not in transport.written
    protocol.data_received(b"GET / HTTP/1.1\r\n"[:16] + b"a" * (990 - 16) + REQUEST)
    await turn()
    assert len(app.scopes) == 2
    assert transport.written.count(b"HTTP/1.1 204") == 2
    protocol.connection_lost(None)


async def test_a_body_that_was_not_invited_ends_the_connection() -> None:
    """A client that got an answer instead of its invitation may send the body or not."""
    protocol, transport = connect(App(reads=False))
    protocol.data_received(post(10, "Expect: 100-continue"))
    await turn()
    assert b"connection: close" in transport.written
    protocol.connection_lost(None)


async def test_what_waits_for_clients_is_bounded_at_once() -> None:
    """The answer that passes the limit for all costs the oldest that was not taken."""
    shared = table(max_unsent_bytes=1500)
    connections = [connect(App(), table=shared) for _ in range(3)]
    for protocol, transport in connections[:2]:
        transport.unsent_bytes = 1000
        protocol.pause_writing()
    assert [transport.calls for _, transport in connections] == [["abort"], [], []]
    for protocol, _ in connections:
        protocol.connection_lost(None)


# The end


async def test_a_drain_closes_what_is_idle_and_finishes_what_is_not() -> None:
    """A connection that is sending an answer says that it ends, and the others end at once."""
    app = App()
    app.may_answer.clear()
    calls = []
    for sent in (b"", b"GET", REQUEST, REQUEST * 2, b"nonsense\r\n\r\n"):
        protocol, transport = connect(app)
        protocol.data_received(sent)
        await turn()
        transport.calls.clear()
        protocol.shutdown()
        calls.append(transport.calls.copy())
        app.may_answer.set()
        await turn()
        app.may_answer.clear()
        if sent.startswith(REQUEST):
            assert transport.written.count(b"HTTP/1.1 204") == 1
            assert b"connection: close" in transport.written
            assert "close" in transport.calls
        protocol.connection_lost(None)
    assert calls == [["close"], ["close"], [], [], ["abort"]]


async def test_a_connection_that_comes_during_a_drain_is_closed() -> None:
    """It was accepted before the listener was closed, and its request would begin too late."""
    server = ServerState(App(), table())
    server.is_draining = True
    protocol, transport = connect(server.app, server=server)
    assert transport.calls == ["close"]
    protocol.connection_lost(None)


async def test_a_connection_that_is_lost_leaves_nothing() -> None:
    """Nothing is written to it, and no timer is left."""
    shared = table()
    protocol, transport = connect(App(), table=shared)
    protocol.data_received(REQUEST * 2 + b"GET")
    protocol.connection_lost(ConnectionResetError())
    await turn()
    assert shared.num_connections == 0
    assert transport.written == b""
    assert protocol.state.phase is not Phase.LINGER


@pytest.mark.parametrize("sent", [b"", b"GET", REQUEST, REQUEST * 2, post(10), b"nonsense\r\n\r\n"])
async def test_a_connection_that_is_lost_is_gone_at_once(sent: bytes) -> None:
    """The garbage collector, which comes seldom in a gateway, has nothing to find of it."""
    app = App()
    protocol, transport = connect(app)
    protocol.data_received(sent)
    await turn()
    gc.disable()
    try:
        protocol.connection_lost(None)
        await turn()
        gone = weakref.ref(protocol)
        del protocol, transport.protocol
        assert gone() is None
    finally:
        gc.enable()


async def test_what_is_held_ends_with_its_connection() -> None:
    """A client that hangs up between two of its requests is asked for no more."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
    app = App(reads=False)
    protocol, _ = connect(app)
    protocol.data_received(REQUEST * 2)
    await asyncio.sleep(0)  # the first is answered, and the second is about to be parsed
    assert protocol.state.phase is Phase.HEAD
    protocol.connection_lost(None)
    await turn()
    assert len(app.scopes) == 1
    assert errors == []
