"""Answers in one write: what is held, for how long, and what it must come before."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.coalesced_writes import CoalescedWrites, CoalescingProtocol
from tests.unit.connections import RecordingTransport, connect, turn

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def start(send: Send, *headers: tuple[bytes, bytes]) -> None:
    """Send the head of an answer."""
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})


async def body(send: Send, chunk: bytes, *, more_body: bool = False) -> None:
    """Send a part of its body."""
    await send({"type": "http.response.body", "body": chunk, "more_body": more_body})


async def test_an_answer_is_one_write() -> None:
    """Head and body of each answer on a connection leave together."""

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        await start(send, (b"content-length", b"4"))
        await body(send, b"done")

    protocol, transport = connect(CoalescingProtocol, app)
    for num_answers in (1, 2):
        protocol.data_received(REQUEST)
        await turn()
        assert transport.num_writes == num_answers
    assert transport.calls[0] == transport.calls[1]
    assert transport.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert transport.written.endswith(b"\r\n\r\ndone")
    protocol.connection_lost(None)


async def test_a_head_does_not_wait_for_a_body_that_is_late() -> None:
    """A head, or a part of a body, leaves though the next part is still to be made."""
    may_go_on = asyncio.Semaphore(0)

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        await start(send, (b"content-length", b"4"))
        for chunk in (b"do", b"ne"):
            await may_go_on.acquire()
            await body(send, chunk, more_body=chunk == b"do")

    protocol, transport = connect(CoalescingProtocol, app)
    protocol.data_received(REQUEST)
    for end in (b"\r\n\r\n", b"do", b"done"):
        await turn()
        assert transport.written.endswith(end)
        may_go_on.release()
    protocol.connection_lost(None)


async def test_the_invitation_to_send_a_body_leaves() -> None:
    """A client that waits for 100 Continue gets it before its body is waited for."""
    got = []

    async def app(_scope: Any, receive: Any, send: Send) -> None:
        got.append((await receive())["body"])
        await start(send, (b"content-length", b"0"))
        await body(send, b"")

    protocol, transport = connect(CoalescingProtocol, app)
    protocol.data_received(
        b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    await turn()
    assert transport.calls == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    protocol.data_received(b"hi")
    await turn()
    assert got == [b"hi"]
    assert b"200 OK" in transport.written
    protocol.connection_lost(None)


async def test_a_connection_is_closed_after_what_was_written() -> None:
    """An answer to HEAD, of which only the head is written, comes before the close."""

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        await start(send, (b"content-length", b"4"), (b"connection", b"close"))
        await body(send, b"done")

    protocol, transport = connect(CoalescingProtocol, app)
    protocol.data_received(REQUEST.replace(b"GET", b"HEAD"))
    await turn()
    assert transport.num_writes == 1
    assert transport.calls[1:] == ["close"]
    protocol.connection_lost(None)


async def test_a_full_transport_stops_the_application() -> None:
    """What was held counts: once a write has filled the buffer, nothing more is sent to it."""
    num_sent = 0

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        nonlocal num_sent
        await start(send, (b"content-length", b"3"))
        for num_sent in (1, 2, 3):
            await body(send, b"x", more_body=num_sent < 3)

    protocol, transport = connect(CoalescingProtocol, app, room=10)  # the head alone is longer
    protocol.data_received(REQUEST)
    await turn()
    assert num_sent == 2
    assert transport.num_writes == 1
    protocol.resume_writing()
    await turn()
    assert num_sent == 3
    assert transport.written.endswith(b"\r\n\r\nxxx")
    protocol.connection_lost(None)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=3), st.sampled_from(["turn", "at once", "pause_reading", "close"])
        )
    )
)
def test_nothing_is_lost_or_overtaken(steps: list[bytes | str]) -> None:
    """Whatever is asked in whatever order reaches the transport so, writes within a turn."""

    async def scenario() -> None:
        transport = RecordingTransport()
        coalesced = CoalescedWrites(transport, asyncio.get_running_loop())
        asked: list[bytes | str] = []
        for step in steps:
            if isinstance(step, bytes):
                coalesced.write(step)
                asked.append(step)
            elif step == "at once":
                coalesced.write_at_once(b"!")
                asked.append(b"!")
                assert transport.written == b"".join(x for x in asked if isinstance(x, bytes))
            elif step == "turn":
                await turn()
                assert transport.written == b"".join(x for x in asked if isinstance(x, bytes))
            else:
                getattr(coalesced, step)()
                asked.append(step)
        await turn()
        assert joined(transport.calls) == joined(asked)

    asyncio.run(scenario())


def joined(calls: list[bytes | str]) -> list[bytes | str]:
    """The calls with writes in a row as one."""
    found: list[bytes | str] = [b""]
    for call in calls:
        last = found[-1]
        if isinstance(call, bytes) and isinstance(last, bytes):
            found[-1] = last + call
        else:
            found.append(call)
    return [call for call in found if call != b""]
