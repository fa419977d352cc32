"""`GET /metrics` over HTTP: who may read it, its formats, and searches that were not read."""

import httpx
import pytest

from hedgerow.common.errors import BadRequestError, ForbiddenError, UnauthorizedError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http.app import create_app
from tests.support.connections import Way, by_asgi, connect, plain, turn
from tests.support.fake_gateway import FakeGateway
from tests.unit.support.access import access_by, make_key

SEARCH = "POST /v1/collections/films/search HTTP/1.1\r\nHost: localhost\r\n"
WAYS = pytest.mark.parametrize("way", [plain, by_asgi])


async def get(access: AccessControl, host: str = "localhost", **headers: str) -> httpx.Response:
    """Scrape a gateway."""
    app = create_app(FakeGateway(), GatewaySettings(), access)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        return await client.get("/metrics", headers=headers)


async def test_the_format_is_the_preferred_one() -> None:
    """OpenMetrics to Prometheus, text to others; the media type is complete, and `vary` is set."""
    access = AccessControl(GatewaySettings())
    text = await get(access)
    assert text.text == "PROMETHEUS []\n"
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert text.headers["vary"] == "accept"
    other = await get(access, accept="application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert other.text == "OPENMETRICS []\n"
    media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert other.headers["content-type"] == media_type


@pytest.mark.parametrize(
    ("port", "num_processes", "status"), [(8080, 1, 200), (8080, 2, 404), (9101, 2, 200)]
)
async def test_a_port_that_processes_share_has_no_metrics(
    port: int, num_processes: int, status: int
) -> None:
    """Scrapes would be of different processes; a process's own port and a single one have them."""
    app = create_app(FakeGateway(), GatewaySettings(port=8080, processes=num_processes))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url=f"http://localhost:{port}"
    ) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == status
    if status == 404:
        assert "gateway.process_port" in answer.json()["detail"]


async def test_only_the_right_metrics_reads_them() -> None:
    """Once there is a key, others are refused; the key's name is in the metrics then."""
    key, secret = make_key("prometheus", Right.METRICS)
    access = access_by(key)
    assert (await get(access)).status_code == 401
    allowed = await get(access, authorization=f"Bearer {secret}")
    assert allowed.text == "PROMETHEUS ['prometheus']\n"


async def test_the_right_metrics_allows_nothing_else() -> None:
    """A stolen key of Prometheus's neither searches nor changes anything."""
    key, secret = make_key("prometheus", Right.METRICS)
    gateway = FakeGateway()
    app = create_app(gateway, GatewaySettings(), access_by(key))
    headers = {"Authorization": f"Bearer {secret}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", headers=headers
    ) as client:
        for method, path in (("GET", "/v1/status"), ("DELETE", "/v1/collections/films")):
            assert (await client.request(method, path)).status_code == 403
        searched = await client.post("/v1/collections/films/search", content=b'{"query": "a"}')
        assert searched.status_code == 403
        assert (await client.get("/v1/collections")).json() == {"collections": []}


async def test_public_metrics_need_no_key() -> None:
    """Metrics are then public, and nothing else is."""
    key, _ = make_key("k")
    public = access_by(key)
    public.has_public_metrics = True
    assert (await get(public)).status_code == 200
    assert (await get(public, host="prometheus.example")).status_code == 200
    app = create_app(FakeGateway(), GatewaySettings(), public)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/v1/status")).status_code == 401
        assert (await client.get("/metrics/")).status_code != 200


async def test_an_open_gateway_answers_to_known_names_alone() -> None:
    """Public or not: without a key, a page whose name was rebound to this host reads nothing."""
    for is_public in (False, True):
        access = AccessControl(GatewaySettings(), has_public_metrics=is_public)
        assert (await get(access, host="rebound.example")).status_code == 403
    named = AccessControl(GatewaySettings(allowed_hosts=["gateway"]))
    assert (await get(named, host="gateway")).status_code == 200


async def unread(request: str, access: AccessControl, way: Way) -> list[tuple[str, type]]:
    """The searches that are reported to a gateway without being searched."""
    gateway = FakeGateway()
    protocol, _ = connect(way(create_app(gateway, GatewaySettings(), access)))
    protocol.data_received(request.encode())
    await turn()
    protocol.connection_lost(None)
    assert gateway.searches == []
    return [(caller, type(error)) for caller, error in gateway.unread]


@WAYS
async def test_a_body_that_cannot_be_read_counts_once(way: Way) -> None:
    """It counts once for its caller, on either way through the server."""
    key, secret = make_key("shop")
    request = f"{SEARCH}Authorization: Bearer {secret}\r\nContent-Length: 3\r\n\r\nnot"
    ((caller, error),) = await unread(request, access_by(key), way)
    assert caller == "shop"
    assert issubclass(error, BadRequestError)


async def test_a_refused_caller_counts_without_a_name() -> None:
    """A wrong key has no name, and a key without the right was refused before its name counted."""
    key, secret = make_key("loader", Right.WRITE)
    wrong = f"{SEARCH}Authorization: Bearer no\r\nContent-Length: 2\r\n\r\n{{}}"
    assert await unread(wrong, access_by(key), plain) == [("", UnauthorizedError)]
    writer = f"{SEARCH}Authorization: Bearer {secret}\r\nContent-Length: 2\r\n\r\n{{}}"
    assert await unread(writer, access_by(key), plain) == [("", ForbiddenError)]


@WAYS
async def test_a_search_that_was_read_is_left_to_the_gateway(way: Way) -> None:
    """It counts what it is asked itself: nothing is counted twice."""
    gateway = FakeGateway()
    gateway.answer = BadRequestError("query", "is odd")
    protocol, _ = connect(way(create_app(gateway, GatewaySettings())))
    body = '{"query": "x"}'
    protocol.data_received(f"{SEARCH}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    await turn()
    protocol.connection_lost(None)
    assert len(gateway.searches) == 1
    assert gateway.unread == []
