"""GET /v1/events as it is on the wire."""

import asyncio
import json

import httpx
import msgspec

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.live.journal import Journal
from hedgerow.gateway.shapes.live import LiveEvent, LiveHistory
from tests.support.connections import connect, turn
from tests.support.fake_gateway import FakeGateway, make_live
from tests.support.shapes import check_shape
from tests.unit.support.access import access_by, make_key

REQUEST = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


def streaming(journal: Journal, max_viewers: int = 20) -> FakeGateway:
    """A gateway whose stream goes on."""
    gateway = FakeGateway()
    gateway.live = make_live(journal, max_viewers)
    return gateway


async def test_events_are_sent_as_they_happen() -> None:
    """The stream begins with the history, and each message is an event of that name, in JSON."""
    journal = Journal(lambda: 7)
    protocol, transport = connect(create_app(streaming(journal), GatewaySettings()))
    protocol.data_received(REQUEST)
    await turn()
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"content-type: text/event-stream" in head
    assert b"cache-control: no-store" in head
    assert b"transfer-encoding: chunked" in head
    lines = body.split(b"\n")
    assert b"event: history" in lines
    history = json.loads(next(line for line in lines if line.startswith(b"data: "))[6:])
    check_shape(history, LiveHistory)
    before = len(transport.written)
    journal.write("worker", "bad", "w1 has gone\nevent: status", worker="w1")
    await turn()
    sent = transport.written[before:].split(b"\r\n")[1]
    name, data = sent.rstrip(b"\n").split(b"\n")  # what is in a text is no line of the stream
    assert name == b"event: event"
    event = msgspec.json.decode(data.removeprefix(b"data: "), type=LiveEvent)
    assert (event.kind, event.text, event.worker) == ("worker", "w1 has gone\nevent: status", "w1")
    protocol.connection_lost(None)
    await turn()


async def test_a_viewer_that_leaves_makes_room() -> None:
    """Nothing is kept for it, and the next one is admitted."""
    gateway = streaming(Journal(lambda: 7), max_viewers=1)
    app = create_app(gateway, GatewaySettings())
    for _ in range(3):
        protocol, transport = connect(app)
        protocol.data_received(REQUEST)
        await turn()
        assert transport.written.startswith(b"HTTP/1.1 200 OK")
        protocol.connection_lost(None)
        await turn()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_viewer_too_many_is_refused() -> None:
    """It gets a 429 that names the setting and the cause."""
    gateway = streaming(Journal(lambda: 7), max_viewers=0)
    transport = httpx.ASGITransport(create_app(gateway, GatewaySettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/v1/events")
    assert response.status_code == 429
    assert response.json()["cause"] == "viewers"
    assert "gateway.max_viewers" in response.json()["detail"]
    assert int(response.headers["retry-after"]) >= 1


async def test_the_stream_ends_at_the_drain() -> None:
    """It is ended in good order, so that the drain need not wait for it."""
    gateway = streaming(Journal(lambda: 7))
    protocol, transport = connect(create_app(gateway, GatewaySettings()))
    protocol.data_received(REQUEST)
    await turn()
    gateway.live.close()
    await turn()
    assert transport.written.endswith(b"0\r\n\r\n")


async def test_the_stream_of_a_revoked_key_ends() -> None:
    """A stream outlasts the check of its key, so revoking the key ends it."""
    key, secret = make_key("ops", Right.ADMIN)
    gateway = streaming(Journal(lambda: 7))
    protocol, transport = connect(create_app(gateway, GatewaySettings(), access_by(key)))
    header = f"Authorization: Bearer {secret}\r\n\r\n".encode()
    protocol.data_received(REQUEST.replace(b"\r\n\r\n", b"\r\n" + header))
    await turn()
    assert transport.written.startswith(b"HTTP/1.1 200 OK")
    gateway.live.keep_keys([])
    await turn()
    assert transport.written.endswith(b"0\r\n\r\n")
