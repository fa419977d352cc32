"""Who may ask over HTTP: hosts, origins, rights and rates, on both paths of a search."""

import json

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import ANONYMOUS, Right
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.access.key_ring import KeyRing
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.http.requests.guard import Guard
from hedgerow.gateway.http.requests.rights import RIGHTS
from tests.support.connections import Way, by_asgi, connect, plain, turn
from tests.support.fake_gateway import FakeGateway
from tests.support.openapi import OPENAPI
from tests.unit.support.access import access_by, make_key

FILMS = "/v1/collections/films"
WRITES = [
    ("POST", f"{FILMS}/search"),
    ("PUT", FILMS),
    ("PATCH", FILMS),
    ("DELETE", FILMS),
    ("POST", f"{FILMS}/documents"),
    ("PUT", f"{FILMS}/expiry"),
    ("DELETE", f"{FILMS}/expiry"),
    ("PUT", f"{FILMS}/synonyms"),
    ("DELETE", f"{FILMS}/synonyms"),
    ("POST", f"{FILMS}/documents:delete"),
    ("PUT", f"{FILMS}/documents/1"),
    ("PATCH", f"{FILMS}/documents/1"),
    ("DELETE", f"{FILMS}/documents/1"),
    ("POST", "/v1/shards/0/breaker"),
    ("POST", "/v1/snapshots"),
    ("POST", "/v1/aliases"),
    ("PUT", "/v1/aliases/a"),
    ("DELETE", "/v1/aliases/a"),
]


def client_of(
    gateway: FakeGateway, access: AccessControl, host: str = "localhost:8080"
) -> httpx.AsyncClient:
    """Speak to the application in this process."""
    transport = httpx.ASGITransport(create_app(gateway, GatewaySettings(), access))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


def untouched(gateway: FakeGateway) -> bool:
    """Whether nothing was asked of the gateway."""
    return not (
        gateway.searches
        or gateway.breakers
        or gateway.collections.defined
        or gateway.documents.loads
        or gateway.documents.deleted
        or gateway.snapshots.num_asked
    )


async def raw(request: bytes, access: AccessControl, way: Way = plain) -> tuple[bytes, FakeGateway]:
    """What a connection answers to a request as it is on the wire."""
    gateway = FakeGateway()
    app = create_app(gateway, GatewaySettings(), access)
    protocol, transport = connect(way(app))
    protocol.data_received(request)
    await turn()
    protocol.connection_lost(None)
    return transport.written, gateway


def search(*headers: str, body: bytes = b'{"query": "wing"}', version: str = "1.1") -> bytes:
    """A search with exactly these headers and its length."""
    lines = [f"POST {FILMS}/search HTTP/{version}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(("method", "path"), [*WRITES, ("GET", "/v1/status"), ("GET", "/docs")])
async def test_an_open_gateway_answers_to_no_foreign_name(method: str, path: str) -> None:
    """A request for a foreign host name is a 403 that names the setting."""
    gateway = FakeGateway()
    async with client_of(gateway, AccessControl(GatewaySettings()), "evil.example") as client:
        response = await client.request(method, path, content=b"{}")
    assert (response.status_code, response.json()["type"]) == (
        403,
        "urn:problem-type:hedgerow:forbidden",
    )
    assert "gateway.allowed_hosts" in response.json()["detail"]
    assert untouched(gateway)


async def test_health_checks_answer_to_every_name() -> None:
    """An orchestrator asks by an address that no setting knows."""
    async with client_of(FakeGateway(), AccessControl(GatewaySettings()), "10.9.8.7") as client:
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "access",
    [
        AccessControl(GatewaySettings(allowed_hosts=["search.example"])),
        AccessControl(GatewaySettings(allowed_hosts=["*"])),
        AccessControl(GatewaySettings(host="search.example")),
        AccessControl(GatewaySettings(token=SecretStr("s3cret"))),
    ],
)
async def test_names_that_it_was_told_are_answered(access: AccessControl) -> None:
    """One that is listed or bound, all by a wildcard, and all where a token is demanded."""
    headers = {"Authorization": "Bearer s3cret"}
    async with client_of(FakeGateway(), access, "search.example") as client:
        assert (await client.get("/v1/status", headers=headers)).status_code == 200


@pytest.mark.parametrize("way", [plain, by_asgi])
@pytest.mark.parametrize("path", [f"{FILMS}/search", "/healthz"])
@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("Host: localhost", "Host: localhost"),
        ("Host: localhost", "Host: evil.example"),
        ("Host: local host",),
    ],
)
async def test_http_1_1_demands_one_host(way: Way, path: str, hosts: tuple[str, ...]) -> None:
    """None, two, and what is no host are a 400 that names the header, on health checks too."""
    if hosts == ("Host: local host",) and path == "/healthz":
        return  # its name is of no interest
    request = search(*hosts).replace(f"{FILMS}/search".encode(), path.encode())
    written, gateway = await raw(request, AccessControl(GatewaySettings()), way)
    assert written.startswith(b"HTTP/1.1 400 "), written
    assert json.loads(written.rpartition(b"\r\n\r\n")[2])["field"] == "Host"
    assert untouched(gateway)


async def test_http_1_0_needs_a_host_only_where_names_are_checked() -> None:
    """RFC 9112 does not demand one of it; without a token the gateway does."""
    request = search("Authorization: Bearer s3cret", version="1.0")
    written, _ = await raw(request, AccessControl(GatewaySettings()))
    assert b" 403 " in written.partition(b"\r\n")[0]
    written, _ = await raw(request, AccessControl(GatewaySettings(token=SecretStr("s3cret"))))
    assert b" 200 " in written.partition(b"\r\n")[0]


FOREIGN = [
    {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("token", [None, SecretStr("s3cret")])
async def test_a_page_of_another_origin_may_not_write(
    headers: dict[str, str], method: str, path: str, token: SecretStr | None
) -> None:
    """Each route that may change something refuses it, with a token and without."""
    gateway = FakeGateway()
    access = AccessControl(GatewaySettings(token=token))
    headers = {"Authorization": "Bearer s3cret", **headers}
    async with client_of(gateway, access) as client:
        response = await client.request(method, path, content=b"{}", headers=headers)
    assert response.status_code == 403
    assert untouched(gateway)


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_search_of_another_origin_is_refused_on_the_short_way_too(
    headers: dict[str, str],
) -> None:
    """The connection that answers searches itself asks the same guard."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    written, gateway = await raw(
        search("Host: localhost", *lines), AccessControl(GatewaySettings())
    )
    assert written.startswith(b"HTTP/1.1 403 ")
    assert untouched(gateway)


async def test_a_form_of_no_browser_is_answered() -> None:
    """A body that curl -d calls a form has no Origin, and is no page's."""
    request = search("Host: 127.0.0.1:8080", "Content-Type: application/x-www-form-urlencoded")
    written, gateway = await raw(request, AccessControl(GatewaySettings()))
    assert written.startswith(b"HTTP/1.1 200 ")
    assert len(gateway.searches) == 1


APP = "https://app.example"


async def test_pages_that_are_allowed_may_read_and_write() -> None:
    """A preflight is answered, answers and refusals carry the origin, and never credentials."""
    key, secret = make_key("page", Right.SEARCH)
    access = access_by(key, cors_origins=[APP])
    async with client_of(FakeGateway(), access) as client:
        asked = {
            "Origin": APP,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        preflight = await client.options(f"{FILMS}/search", headers=asked)
        headers = {"Origin": APP, "Authorization": f"Bearer {secret}"}
        found = await client.post(f"{FILMS}/search", json={"query": "a"}, headers=headers)
        refused = await client.post(f"{FILMS}/documents", content=b"", headers=headers)
        unknown = await client.post(f"{FILMS}/search", json={}, headers={"Origin": APP})
    answers = (preflight, found, refused, unknown)
    assert [one.status_code for one in answers] == [200, 200, 403, 401]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    for one in answers:
        assert one.headers["access-control-allow-origin"] == APP
        assert "Origin" in one.headers["vary"]
        assert "access-control-allow-credentials" not in one.headers


@pytest.mark.parametrize("origins", [[], [APP]])
async def test_other_pages_get_no_leave(origins: list[str]) -> None:
    """Without the setting, or for another origin, no header lets a page read the answer."""
    settings = GatewaySettings(cors_origins=origins)
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with client_of(FakeGateway(), AccessControl(settings)) as client:
        preflight = await client.options(f"{FILMS}/search", headers=headers)
        read = await client.get("/v1/status", headers=headers)
    assert preflight.status_code in {400, 405}
    for one in (preflight, read):
        assert "access-control-allow-origin" not in one.headers


@pytest.mark.parametrize("origin", ["*", "null", "app.example", "https://app.example/path", ""])
def test_an_origin_is_written_as_browsers_do(origin: str) -> None:
    """A wildcard and null, which would mean everybody, are no origins."""
    with pytest.raises(ValidationError):
        GatewaySettings(cors_origins=[origin])


@pytest.mark.parametrize("name", ["http://a", "a:8080", "a/b", "", "*.example.org", "[::g]"])
def test_a_host_is_written_without_scheme_and_port(name: str) -> None:
    """What could never equal a Host header's name is refused at the start."""
    with pytest.raises(ValidationError):
        GatewaySettings(allowed_hosts=[name])


@pytest.mark.parametrize("token", ["", " ", "\t\n", " s3cret", "s3cret\n"])
def test_an_empty_token_is_refused_at_the_start(token: str) -> None:
    """So is one with white space at an end, which no header could match."""
    with pytest.raises(ValidationError, match="token"):
        GatewaySettings(token=SecretStr(token))


def test_every_route_has_a_right() -> None:
    """The table names each route of the application, and no other."""
    paths = OPENAPI["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert routes == {(method, path.replace(":path", "")) for method, path in RIGHTS}


def address_of(path: str) -> str:
    """A path of the table, with a value for each parameter."""
    places = {"name": "films", "shard": "0", "fingerprint": "ab", "document_id:path": "1"}
    places |= {"worker": "w-a", "alias": "a"}
    for name, value in places.items():
        path = path.replace(f"{{{name}}}", value)
    return f"{path}?prefix=a&field=title" if path.endswith("/suggest") else path


BODIES = {
    "/v1/shards/{shard}/breaker": b'{"state": "closed"}',
    "/v1/collections/{name}/expiry": b'{"field": "day"}',
    "/v1/collections/{name}/synonyms": b"{}",
    "/v1/search:batch": b'{"searches": []}',
    "/v1/aliases": b'{"changes": [{"alias": "a", "collection": null}]}',
    "/v1/aliases/{alias}": b'{"collection": "films"}',
    "/v1/reindex": b'{"from": "films-1", "to": "films-2", "alias": "films"}',
}


@pytest.mark.parametrize(("route", "right"), RIGHTS.items())
@pytest.mark.parametrize("given", list(Right))
async def test_a_key_reaches_what_it_has_the_right_to(
    route: tuple[str, str], right: Right | None, given: Right
) -> None:
    """Each route lets the right in that the table names, and answers others with a 403."""
    method, path = route
    key, secret = make_key("k", given)
    gateway = FakeGateway()
    gateway.collections.defined["films"] = {}
    gateway.quarantine.entries = [{"fingerprint": "ab"}]
    gateway.placement.draining = {"w-a"}
    gateway.aliases.there = {"a": "films"}
    headers = {"Authorization": f"Bearer {secret}"}
    body = BODIES.get(path, b'{"query": "a"}')
    async with client_of(gateway, access_by(key)) as client:
        response = await client.request(method, address_of(path), content=body, headers=headers)
    if right is None and path == "/v1/aliases/{alias}":  # as the collection that it stands for
        right = Right.SEARCH
    if right in {None, given}:
        assert response.is_success, response.text
    else:
        assert response.status_code == 403
        assert f"lacks the right '{right}'" in response.json()["detail"]


async def test_a_key_of_some_collections_sees_no_others() -> None:
    """Others are a 403, whether they exist or not, and in no list; so is what is the cluster's."""
    key, secret = make_key("k", collections=("films",))
    gateway = FakeGateway()
    gateway.collections.defined = {"films": {}, "secret": {}}
    headers = {"Authorization": f"Bearer {secret}"}
    async with client_of(gateway, access_by(key)) as client:
        client.headers = httpx.Headers(headers)
        listed = (await client.get("/v1/collections")).json()["collections"]
        assert [one["name"] for one in listed] == ["films"]
        assert (await client.get(FILMS)).status_code == 200
        for name in ("secret", "nothing"):
            for method, path in (("POST", "/search"), ("GET", ""), ("GET", "/documents/films")):
                response = await client.request(
                    method, f"/v1/collections/{name}{path}", content=b'{"query": "a"}'
                )
                assert response.status_code == 403
                assert repr(name) in response.json()["detail"]
        assert (await client.get("/v1/status")).status_code == 403
    assert gateway.searches == []


@pytest.mark.parametrize("way", [plain, by_asgi])
@pytest.mark.parametrize(("target", "status"), [("films", b"200"), ("secret", b"403")])
async def test_an_alias_opens_no_collection(way: Way, target: str, status: bytes) -> None:
    """A key of some collections may search an alias of one of them; an alias of another is a 403.

    What is searched is the collection that the key was checked for, by its own name.
    """
    key, secret = make_key("k", collections=("films", "a"))
    gateway = FakeGateway()
    gateway.aliases.there = {"a": target}
    app = create_app(gateway, GatewaySettings(), access_by(key))
    protocol, transport = connect(way(app))
    request = search("Host: localhost", f"Authorization: Bearer {secret}")
    protocol.data_received(request.replace(FILMS.encode(), b"/v1/collections/a"))
    await turn()
    protocol.connection_lost(None)
    assert transport.written.startswith(b"HTTP/1.1 " + status)
    assert target.encode() not in transport.written or status == b"200"
    assert [query.collection for query in gateway.searches] == ["films"] * (status == b"200")


@pytest.mark.parametrize("target", ["films", "secret"])
async def test_a_key_of_some_collections_uses_their_aliases(target: str) -> None:
    """It reads and writes through them, by the collection's own name, and can change none.

    A collection is not made or removed by an alias, so for that the name itself has to be the
    key's.
    """
    key, secret = make_key("k", collections=("films",))
    gateway = FakeGateway()
    gateway.collections.defined = {"films": {}, "secret": {}}
    gateway.aliases.there = {"a": target, "other": "secret"}
    may = target == "films"
    async with client_of(gateway, access_by(key)) as client:
        client.headers = httpx.Headers({"Authorization": f"Bearer {secret}"})
        for method, path in (("GET", ""), ("POST", "/documents"), ("PUT", "/documents/1")):
            response = await client.request(method, f"/v1/collections/a{path}", content=b"{}")
            assert response.status_code == (200 if may else 403)
            assert may or "secret" not in response.json()["detail"]
        assert [load[0] for load in gateway.documents.loads] == ["films"] * may
        for method, path in (
            ("PUT", "/v1/collections/a"),
            ("DELETE", "/v1/collections/a"),
            ("PUT", "/v1/aliases/a"),
            ("DELETE", "/v1/aliases/a"),
            ("POST", "/v1/aliases"),
        ):
            response = await client.request(method, path, content=b"{}")
            assert response.status_code == 403, (method, path)
        listed = (await client.get("/v1/aliases")).json()["aliases"]
        assert listed == [{"alias": "a", "collection": "films"}] * may
        assert (await client.get("/v1/aliases/a")).status_code == (200 if may else 403)
        assert (await client.get("/v1/aliases/nothing")).status_code == 403
    assert gateway.collections.defined.keys() == {"films", "secret"}


async def test_a_search_is_asked_on_behalf_of_its_key() -> None:
    """Admission control learns whose search it is, on both ways."""
    key, secret = make_key("web", share=0.25)
    authorization = f"Authorization: Bearer {secret}"
    for extra in ((), ("Accept: a", "Accept: b")):  # what comes twice goes through ASGI
        _, gateway = await raw(search("Host: h", authorization, *extra), access_by(key))
        (asked,) = gateway.searches
        assert (asked.caller.name, asked.caller.share) == ("web", 0.25)
    _, gateway = await raw(search("Host: localhost"), AccessControl(GatewaySettings()))
    assert gateway.searches[0].caller is ANONYMOUS


@pytest.mark.parametrize("collections", [None, ("films",), ("books",)])
@pytest.mark.parametrize("right", list(Right))
@pytest.mark.parametrize("given", ["key", "none", "wrong"])
async def test_both_ways_of_a_search_decide_alike(
    right: Right, collections: tuple[str, ...] | None, given: str
) -> None:
    """Byte for byte, for any caller and request."""
    key, secret = make_key("k", right, collections=collections)
    lines = {"key": [f"Authorization: Bearer {secret}"], "wrong": ["Authorization: Bearer x"]}
    request = search("Host: search.example", *lines.get(given, []))
    found, _ = await raw(request, access_by(key))
    expected, _ = await raw(request, access_by(key), by_asgi)
    assert found == expected
    is_let_in = given == "key" and right is Right.SEARCH and collections != ("books",)
    assert found.startswith(b"HTTP/1.1 200 ") is is_let_in


@pytest.mark.parametrize("way", [plain, by_asgi])
async def test_a_rate_is_counted_once_a_request(way: Way) -> None:
    """Two requests of a rate of two a second pass, the third is a 429 that says when to come."""
    key, secret = make_key("k", rate_per_s=2)
    ring = KeyRing()
    ring.replace([key])
    access = AccessControl(GatewaySettings(), ring, clock=lambda: 5.0)
    request = search("Host: localhost", f"Authorization: Bearer {secret}")
    for status in (200, 200, 429):
        written, _ = await raw(request, access, way)
        assert written.startswith(b"HTTP/1.1 %d " % status)
    assert b"retry-after: 1\r\n" in written.lower()
    problem = json.loads(written.rpartition(b"\r\n\r\n")[2])
    assert (problem["cause"], problem["retry_after_s"]) == ("rate", 0.5)
    (shown,) = access.to_json({})["keys"]
    assert (shown["requests"], shown["refused"]["rate"]) == (2, 1)


def test_the_guard_stands_before_every_application() -> None:
    """Without a token, it still checks the host and the origin."""
    assert isinstance(create_app(FakeGateway(), GatewaySettings()), Guard)
