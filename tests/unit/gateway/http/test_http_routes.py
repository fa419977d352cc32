"""Collections, health, status, breakers, and what all routes have in common."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from hedgerow.common.errors import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    UnavailableError,
)
from hedgerow.gateway.access.caller import ANONYMOUS
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.http.requests.rights import RIGHTS
from hedgerow.gateway.shapes.collection import CollectionsAnswer, CurveAnswer
from hedgerow.gateway.shapes.problem import Problem
from tests.support.fake_gateway import FakeGateway
from tests.support.shapes import check_shape
from tests.unit.support.http_client import FILMS, connect


async def test_a_collection_is_created_listed_described_and_removed(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """PUT defines, GET shows the same alone and in the list, DELETE removes."""
    definition = {"fields": {"title": "text"}, "rank_profile": "bm25"}
    put = await client.put(FILMS, json=definition)
    assert put.status_code == 200
    assert gateway.collections.defined == {"films": definition}
    got = await client.get(FILMS)
    assert put.json() == got.json()
    listed = (await client.get("/v1/collections")).json()
    assert listed == {"collections": [got.json()]}
    check_shape(listed, CollectionsAnswer)
    removed = await client.delete(FILMS)
    assert (removed.status_code, removed.content) == (204, b"")
    assert gateway.collections.defined == {}


async def test_a_collection_without_a_body_has_its_fields_inferred(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A PUT with no body defines a collection with every setting left open."""
    assert (await client.put(FILMS)).status_code == 200
    assert gateway.collections.defined == {"films": {}}


@pytest.mark.parametrize("raw", [b"{", b"[]", b"7", b'{"a": NaN}'])
async def test_a_definition_that_is_no_object_is_refused(
    client: httpx.AsyncClient, gateway: FakeGateway, raw: bytes
) -> None:
    """What is not a JSON object is a 400 about the body."""
    response = await client.put(FILMS, content=raw)
    assert (response.status_code, response.json()["field"]) == (400, "body")
    assert gateway.collections.defined == {}


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequestError("fields.year", "is no type"), 400, "bad-request"),
        (NotFoundError("there is no collection 'films'"), 404, "not-found"),
        (ConflictError("its fields are others"), 409, "conflict"),
        (UnavailableError("Redis is away", 3.0), 503, "unavailable"),
        (ConfigurationError("no such profile"), 500, "internal"),
    ],
)
async def test_each_error_has_its_status_and_type(
    client: httpx.AsyncClient, gateway: FakeGateway, error: Exception, status: int, kind: str
) -> None:
    """The errors of the tree become problems of one status and type each."""
    gateway.collections.error = error
    response = await client.put(FILMS, json={})
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"]) == (status, status)
    assert problem["type"] == f"urn:problem-type:hedgerow:{kind}"
    assert problem["detail"] == str(error)


async def test_health_is_told_apart_from_readiness(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A process that lives but cannot answer queries is alive and not ready."""
    assert (await client.get("/readyz")).status_code == 200
    gateway.is_ready = False
    assert (await client.get("/healthz")).status_code == 200
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1


async def test_the_status_is_the_gateways_own(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """GET /v1/status answers what the gateway says, unchanged."""
    assert (await client.get("/v1/status")).json() == await gateway.status()


async def test_the_curve_speaks_of_the_deadline_that_is_asked_about(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """The default deadline, or another within the bounds of a search; 404 without collection."""
    path = f"{FILMS}/coverage-curve"
    usual = await client.get(path)
    check_shape(usual.json(), CurveAnswer)
    assert usual.json()["deadline_ms"] == 300
    other = (await client.get(path, params={"deadline_ms": 310.5})).json()
    assert other["deadline_ms"] == 310.5
    assert other["points"] == usual.json()["points"]
    assert (other["coverage"], other["gain"]) == (1.0, None)
    for bad in ("0", "-1", "nan", "1e9", "soon"):
        response = await client.get(path, params={"deadline_ms": bad})
        assert (response.status_code, response.json()["field"]) == (400, "deadline_ms")
    gateway.collections.error = NotFoundError("there is no collection 'films'")
    assert (await client.get(path)).status_code == 404


async def test_a_breaker_is_set_by_hand(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """The route takes the three states and nothing else."""
    for state in ("forced_open", "disabled", "closed"):
        response = await client.post("/v1/shards/3/breaker", json={"state": state})
        assert response.status_code == 200
        assert gateway.breakers == {3: state}
    for body in ({"state": "open"}, {}, {"state": "closed", "for_s": 3}):
        assert (await client.post("/v1/shards/3/breaker", json=body)).status_code == 400
    response = await client.post("/v1/shards/three/breaker", json={"state": "closed"})
    assert (response.status_code, response.json()["field"]) == (400, "shard")
    assert gateway.breakers == {3: "closed"}


async def test_the_framework_s_own_refusals_are_problems(client: httpx.AsyncClient) -> None:
    """An unknown path is 404 and a wrong method 405 with Allow, both as problems."""
    unknown = await client.get("/v1/nothing")
    assert unknown.status_code == 404
    wrong = await client.get(f"{FILMS}/search")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    for response in (unknown, wrong):
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"{FILMS}/"), ("POST", f"{FILMS}/search/"), ("GET", "/v1/status/"), ("GET", "/docs/")],
)
async def test_a_path_with_another_slash_leads_nowhere(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    """It is a 404, and no redirect, after which a key might be sent in the clear."""
    response = await client.request(method, path)
    assert (response.status_code, "location" in response.headers) == (404, False)
    assert response.json()["detail"] == f"there is nothing at {path}"


async def test_health_is_also_asked_by_head(client: httpx.AsyncClient) -> None:
    """So do many programs that watch a server; there is no body."""
    for path in ("/healthz", "/readyz"):
        assert (await client.head(path)).status_code == 200
    assert (await client.head("/v1/status")).status_code == 405


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (FILMS, "GET, PUT, PATCH, DELETE"),
        (f"{FILMS}/documents", "POST"),
        (f"{FILMS}/documents/a/b", "GET, PUT, PATCH, DELETE"),
        ("/v1/status", "GET"),
    ],
)
async def test_a_wrong_method_is_told_all_that_the_path_takes(
    client: httpx.AsyncClient, path: str, allowed: str
) -> None:
    """Allow names the methods of every route of the path (RFC 9110, section 10.2.1)."""
    wrong = await client.request("TRACE", path)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
        ("Bearer s3cre", 401),
        ("Bearer s3crett", 401),
        ("Bearer ", 401),
        ("Bearer s3cr\u00e9t", 401),
        ("Basic s3cret", 401),
        ("s3cret", 401),
        (None, 401),
    ],
)
async def test_a_token_is_demanded(
    gateway: FakeGateway, authorization: str | None, status: int
) -> None:
    """With a token set, requests without exactly it are 401, health checks excepted."""
    client = connect(gateway, token=SecretStr("s3cret"))
    headers = [] if authorization is None else [(b"Authorization", authorization.encode())]
    for path in ("/v1/status", "/v1/collections", "/docs", "/openapi.json"):
        response = await client.get(path, headers=headers)
        assert response.status_code == status, path
        if status == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.headers["content-type"] == "application/problem+json"
    assert (await client.get("/nothing", headers=headers)).status_code in {401, 404}
    for path in ("/healthz", "/readyz"):
        assert (await client.get(path)).status_code == 200, path


async def test_the_body_limit_holds_for_definitions(gateway: FakeGateway) -> None:
    """PUT and the breaker route refuse a body over the limit with 413."""
    client = connect(gateway, max_body_bytes=20)
    long = json.dumps({"fields": {"title": "text"}}).encode()
    assert (await client.put(FILMS, content=long)).status_code == 413
    long = json.dumps({"state": "closed"}).encode() + b"  "
    assert (await client.post("/v1/shards/3/breaker", content=long)).status_code == 413


IN_PROGRESS = [
    ("GET", "/v1/collections"),
    ("PUT", FILMS),
    ("PATCH", FILMS),
    ("GET", FILMS),
    ("DELETE", FILMS),
    ("POST", f"{FILMS}/optimise"),
    ("GET", f"{FILMS}/documents/1"),
    ("PUT", f"{FILMS}/expiry"),
    ("GET", f"{FILMS}/expiry"),
    ("DELETE", f"{FILMS}/expiry"),
    ("PUT", f"{FILMS}/synonyms"),
    ("GET", f"{FILMS}/synonyms"),
    ("DELETE", f"{FILMS}/synonyms"),
    ("POST", f"{FILMS}/documents:delete"),
    ("PATCH", f"{FILMS}/documents/1"),
    ("DELETE", f"{FILMS}/documents/1"),
    ("GET", "/v1/aliases"),
    ("POST", "/v1/aliases"),
    ("GET", "/v1/aliases/a"),
    ("PUT", "/v1/aliases/a"),
    ("DELETE", "/v1/aliases/a"),
    ("GET", "/v1/status"),
    ("POST", "/v1/snapshots"),
    ("POST", "/v1/reload"),
    ("GET", "/v1/quarantine"),
    ("DELETE", "/v1/quarantine/ab"),
    ("GET", "/v1/placement"),
    ("PUT", "/v1/placement/draining/w-a"),
    ("DELETE", "/v1/placement/draining/w-a"),
    ("POST", "/v1/placement/rebalance"),
    ("GET", "/v1/split"),
    ("POST", "/v1/split"),
    ("DELETE", "/v1/split"),
    ("GET", "/v1/reindex"),
    ("POST", "/v1/reindex"),
    ("DELETE", "/v1/reindex"),
]
BODIES = {  # of those that are read before
    ("POST", "/v1/aliases"): b'{"changes": []}',
    ("PUT", f"{FILMS}/expiry"): b'{"field": "day"}',
    ("PUT", f"{FILMS}/synonyms"): b"{}",
    ("POST", f"{FILMS}/documents:delete"): b'{"query": "a"}',
    ("PUT", "/v1/aliases/a"): b'{"collection": "films"}',
    ("POST", "/v1/reindex"): b'{"from": "films-1", "to": "films-2", "alias": "films"}',
}
# They have limits of their own, or answer from memory within one turn of the loop; metrics are
# wanted most while the gateway is busy, and scrapes that come together share the work.
NOT_COUNTED = {
    ("POST", "/v1/collections/{name}/search"),
    ("POST", "/v1/search:batch"),
    ("POST", "/v1/collections/{name}/documents"),
    ("PUT", "/v1/collections/{name}/documents/{document_id:path}"),
    ("GET", "/v1/collections/{name}/coverage-curve"),
    ("GET", "/v1/collections/{name}/suggest"),
    ("POST", "/v1/shards/{shard}/breaker"),
    ("GET", "/v1/events"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
}


def test_every_route_is_counted_or_has_a_reason_not_to_be() -> None:
    """A route that is added is decided upon."""
    assert len(RIGHTS) == len(IN_PROGRESS) + len(NOT_COUNTED)
    assert RIGHTS.keys() >= NOT_COUNTED


@pytest.mark.parametrize(("method", "path"), IN_PROGRESS)
async def test_requests_beyond_the_limit_are_refused(
    client: httpx.AsyncClient, gateway: FakeGateway, method: str, path: str
) -> None:
    """While all places are taken, it is a 429 that says when to try again, and nothing is done."""
    gateway.requests = RequestAdmission(1)
    place = gateway.requests.admit(ANONYMOUS, "127.0.0.1", 0.0)
    response = await client.request(method, path, content=BODIES.get((method, path), b""))
    assert (response.status_code, response.json()["cause"]) == (429, "requests")
    assert int(response.headers["retry-after"]) >= 1
    check_shape(response.json(), Problem)
    assert not gateway.collections.defined
    assert not gateway.documents.deleted
    assert not gateway.conditional_writes.writes
    assert not gateway.delete_by_query.asked
    assert not gateway.expiry.fields
    assert not gateway.aliases.there
    assert not gateway.snapshots.num_asked
    gateway.requests.end(place, 1.0)
    assert (await client.put(FILMS)).status_code == 200


async def test_a_request_that_ends_gives_its_place_back(
    client: httpx.AsyncClient, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it ends, with an answer, an error, or its client gone."""
    gateway.requests = RequestAdmission(1)
    for outcome in (gateway.reader.document, NotFoundError("no"), RuntimeError("no")):
        gateway.reader.document = outcome
        await client.get(f"{FILMS}/documents/1")
        assert gateway.requests.num_in_flight == 0

    begun = asyncio.Event()

    async def forever(*_: Any, **__: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(gateway.reader, "stored", forever)
    asked = asyncio.create_task(client.get(f"{FILMS}/documents/1"))
    await begun.wait()
    assert gateway.requests.num_in_flight == 1
    asked.cancel()
    await asyncio.wait({asked})
    assert gateway.requests.num_in_flight == 0
