"""The search route: what it takes, what it refuses, and what it answers."""

import asyncio
import json
from collections import deque
from typing import Any

import httpx
import pytest
import structlog
from pydantic import SecretStr

from hedgerow.common.errors import (
    BadRequestError,
    InsufficientCoverageError,
    NotFoundError,
    OverloadedError,
    RedisUnavailableError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.shapes.answer import SearchAnswer
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_writes import FakeAliases, FakeCollections
from tests.support.sample_results import make_result
from tests.support.shapes import check_shape
from tests.support.virtual_time import run_virtually

PATH = "/v1/collections/films/search"
SETTINGS = GatewaySettings(
    default_k=7, max_k=50, default_deadline_ms=250, max_deadline_ms=900, max_query_chars=20
)


@pytest.fixture
def client(gateway: FakeGateway) -> httpx.AsyncClient:
    """Speak to the application in this process."""
    transport = httpx.ASGITransport(create_app(gateway, SETTINGS))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def test_every_member_of_the_body_reaches_the_gateway(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A search that names everything arrives as it was written."""
    body: dict[str, Any] = {
        "query": "wing flow",
        "k": 3,
        "deadline_ms": 100.5,
        "rank_profile": "noop",
        "filter": "year:>1990",
        "fields": ["title", "year"],
        "minimum_coverage": 0.9,
        "explain": True,
        "syntax": "strict",
        "priority": "batch",
    }
    assert (await client.post(PATH, json=body)).status_code == 200
    expected: dict[str, Any] = {**body, "collection": "films", "fields": ("title", "year")}
    assert gateway.searches == [SearchQuery(**expected, peer="127.0.0.1")]


async def test_aliases_are_those_of_the_collections_that_there_are_now(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A gateway has other collections after a split, with aliases that change later."""
    gateway.aliases = FakeAliases()
    gateway.collections = FakeCollections(gateway.aliases)
    gateway.aliases.there["films"] = "movies"
    assert (await client.post(PATH, json={"query": "wing"})).status_code == 200
    assert [one.collection for one in gateway.searches] == ["movies"]


async def test_what_is_left_out_has_the_settings_defaults(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A search of only a query gets the defaults of the settings and of docs/http-search.md."""
    assert (await client.post(PATH, json={"query": "wing"})).status_code == 200
    expected = SearchQuery("films", "wing", k=7, deadline_ms=250, peer="127.0.0.1")
    assert gateway.searches == [expected]


async def test_the_answer_is_the_result_as_json(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """The body is the result's JSON, and fits the schema that /docs shows."""
    result = make_result()
    gateway.answer = result
    response = await client.post(PATH, json={"query": "wing"})
    assert response.headers["content-type"] == "application/json"
    assert response.json() == json.loads(json.dumps(result.to_json()))
    check_shape(response.json(), SearchAnswer)


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({}, "query", "required"),
        ({"query": 1}, "query", "string"),
        ({"query": "x" * 21}, "query", "at most 20 characters"),
        ({"query": "a", "filter": "x" * 21}, "filter", "at most 20 characters"),
        ({"query": "a", "k": True}, "k", "integer"),
        ({"query": "a", "k": "10"}, "k", "integer"),
        ({"query": "a", "k": 1.5}, "k", "integer"),
        ({"query": "a", "k": None}, "k", "integer"),
        ({"query": "a", "k": 0}, "k", "greater than or equal to 1"),
        ({"query": "a", "k": 51}, "k", "less than or equal to 50"),
        ({"query": "a", "deadline_ms": "300"}, "deadline_ms", "number"),
        ({"query": "a", "deadline_ms": True}, "deadline_ms", "number"),
        ({"query": "a", "deadline_ms": 0}, "deadline_ms", "greater than 0"),
        ({"query": "a", "deadline_ms": 901}, "deadline_ms", "less than or equal to 900"),
        ({"query": "a", "deadline_ms": float("nan")}, "deadline_ms", "finite"),
        ({"query": "a", "deadline_ms": float("inf")}, "deadline_ms", "finite"),
        ({"query": "a", "rank_profile": 3}, "rank_profile", "string"),
        ({"query": "a", "fields": "title"}, "fields", "true, false or a list of names"),
        ({"query": "a", "fields": ["title", 1]}, "fields", "true, false or a list of names"),
        ({"query": "a", "fields": 1}, "fields", "true, false or a list of names"),
        ({"query": "a", "minimum_coverage": 1.1}, "minimum_coverage", "less than or equal to 1"),
        ({"query": "a", "minimum_coverage": -0.1}, "minimum_coverage", "greater than or equal"),
        ({"query": "a", "explain": "yes"}, "explain", "boolean"),
        ({"query": "a", "syntax": "loose"}, "syntax", "'lenient' or 'strict'"),
        ({"query": "a", "kk": 10}, "kk", "not a known field"),
        ([], "body", "object"),
        ("query", "body", "object"),
    ],
)
async def test_a_bad_member_is_named_with_the_reason(
    client: httpx.AsyncClient, gateway: FakeGateway, body: Any, field: str, reason: str
) -> None:
    """Each bad member of a search is a 400 that names it, and nothing is sent."""
    response = await client.post(PATH, content=json.dumps(body))
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "urn:problem-type:hedgerow:bad-request"
    assert problem["status"] == 400
    assert problem["field"] == field
    assert reason in problem["reason"]
    assert problem["errors"] == [{"field": field, "reason": problem["reason"]}]
    assert gateway.searches == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"query": "a",}', b"\xff", b'{"query": "\\ud800"}', b"{'query': 'a'}"]
)
async def test_a_body_that_is_not_json_is_refused(client: httpx.AsyncClient, raw: bytes) -> None:
    """Anything but JSON is a 400 that says so."""
    response = await client.post(PATH, content=raw)
    assert response.status_code == 400
    assert response.json()["field"] == "body"
    assert "JSON" in response.json()["reason"]


async def test_all_bad_members_are_listed(client: httpx.AsyncClient) -> None:
    """Several bad members are all named, in one answer."""
    response = await client.post(PATH, json={"query": 1, "k": "x", "explain": 3, "who": 1})
    assert {error["field"] for error in response.json()["errors"]} == {
        "query",
        "k",
        "explain",
        "who",
    }


async def test_a_body_over_the_limit_is_refused_unread(gateway: FakeGateway) -> None:
    """A body that announces more than the limit is a 413 before any of it is read."""
    num_read = 0

    async def body() -> Any:
        nonlocal num_read
        num_read += 1
        yield b"x" * 1000

    app = create_app(gateway, GatewaySettings(max_body_bytes=999))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post(PATH, content=body(), headers={"Content-Length": "1000"})
        assert response.status_code == 413
        assert response.json()["field"] == "body"
        assert num_read == 0
        just_right = b'{"query": "a"}'.ljust(999)
        assert (await client.post(PATH, content=just_right)).status_code == 200


async def test_a_body_that_announces_no_size_is_refused_at_the_limit(gateway: FakeGateway) -> None:
    """A chunked body is read up to the limit and no further."""
    num_read = 0

    async def body() -> Any:
        nonlocal num_read
        for _ in range(1000):
            num_read += 1
            yield b"x" * 100

    app = create_app(gateway, GatewaySettings(max_body_bytes=999))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post(PATH, content=body())
    assert response.status_code == 413
    assert num_read <= 11


@pytest.mark.parametrize(
    ("outcomes", "is_ready", "status"),
    [
        ({Outcome.OK: 7, Outcome.TIMED_OUT: 1}, True, 504),
        ({Outcome.TIMED_OUT: 8}, True, 504),
        ({Outcome.FAILED: 1, Outcome.UNAVAILABLE: 7}, True, 504),
        ({Outcome.UNAVAILABLE: 8, Outcome.OK: 0}, True, 503),
        ({Outcome.UNAVAILABLE: 7, Outcome.BREAKER_OPEN: 1}, True, 503),
        ({Outcome.TIMED_OUT: 8}, False, 503),
    ],
)
async def test_too_little_coverage_is_a_problem_with_what_there_is(
    client: httpx.AsyncClient,
    gateway: FakeGateway,
    outcomes: dict[Outcome, int],
    is_ready: bool,
    status: int,
) -> None:
    """Below the minimum: 504; without a live worker: 503; both carry hits, coverage and shards."""
    result = make_result(outcomes=outcomes)
    gateway.answer = InsufficientCoverageError("coverage is 0.875", result)
    gateway.is_ready = is_ready
    response = await client.post(PATH, json={"query": "a", "minimum_coverage": 0.9})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    answer = result.to_json()
    assert problem["type"] == "urn:problem-type:hedgerow:insufficient-coverage"
    assert problem["detail"] == "coverage is 0.875"
    for member in ("hits", "coverage", "shards", "total_hits", "took_ms", "deadline_ms"):
        assert problem[member] == json.loads(json.dumps(answer[member])), member
    assert ("retry-after" in response.headers) is (status == 503)


async def test_a_query_that_the_gateway_refuses_keeps_its_position(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """An error in the query's syntax says where it is."""
    gateway.answer = BadRequestError("query", "has an unbalanced quote", 4)
    problem = (await client.post(PATH, json={"query": 'foo "bar', "syntax": "strict"})).json()
    assert (problem["status"], problem["field"], problem["position"]) == (400, "query", 4)
    assert problem["detail"] == "query: has an unbalanced quote"


async def test_an_unknown_collection_is_not_found(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A search of a collection that is not there is a 404."""
    gateway.answer = NotFoundError("there is no collection 'films'")
    response = await client.post(PATH, json={"query": "a"})
    assert (response.status_code, response.json()["type"][-9:]) == (404, "not-found")


async def test_redis_away_is_503_with_retry_after_in_whole_seconds(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """Retry-After is rounded up: RFC 9110 has whole seconds, and 0 would mean at once."""
    gateway.answer = RedisUnavailableError("Redis does not answer", 1.2)
    response = await client.post(PATH, json={"query": "a"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


@pytest.mark.parametrize(
    ("cause", "status"), [("limit", 429), ("batch_share", 429), ("backlog", 503)]
)
async def test_overload_is_a_problem_that_says_when_to_try_again(
    client: httpx.AsyncClient, gateway: FakeGateway, cause: str, status: int
) -> None:
    """Callers who send too much get 429, shards that are behind give 503, with Retry-After."""
    gateway.answer = OverloadedError("too much", cause, 0.25)
    response = await client.post(PATH, json={"query": "a", "priority": "batch"})
    assert (response.status_code, response.headers["retry-after"]) == (status, "1")
    found = response.json()
    assert found["type"].endswith(":overloaded")
    assert (found["cause"], found["retry_after_s"]) == (cause, 0.25)


async def test_an_unforeseen_error_is_a_problem_that_tells_no_secrets(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A bug is a 500 problem; its message stays in the log."""
    gateway.answer = RuntimeError("the password is hunter2")
    with structlog.testing.capture_logs() as logs:
        response = await client.post(PATH, json={"query": "a"})
    assert [(one["event"], one["error"]) for one in logs] == [("request_failed", "RuntimeError")]
    assert logs[0]["exc_info"] is gateway.answer
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in response.text


async def test_fields_that_json_can_only_escape_are_answered(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A lone surrogate, a NaN and a huge integer in a document do not break the answer."""
    fields = {"title": "\ud800", "n": 2**80, "nan": float("nan")}
    gateway.answer = make_result(hits=[Hit("1", 1.0, 0, fields)])
    response = await client.post(PATH, json={"query": "a"})
    assert response.status_code == 200
    assert b"NaN" not in response.content
    assert response.json()["hits"][0]["fields"] == {**fields, "nan": None}


@pytest.mark.parametrize(
    ("name", "collection"), [("a%20b", "a b"), ("caf%C3%A9", "café"), ("%2e", "."), ("a+b", "a+b")]
)
async def test_a_name_is_decoded(
    client: httpx.AsyncClient, gateway: FakeGateway, name: str, collection: str
) -> None:
    """What is escaped in the path reaches the gateway as it was meant."""
    response = await client.post(f"/v1/collections/{name}/search", json={"query": "a"})
    assert response.status_code == 200
    assert [query.collection for query in gateway.searches] == [collection]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/collections/a%ff/search", 400),
        ("/v1/collections//search", 404),
        ("/v1/collections/a%2Fb/search", 404),
        ("/v1/collections/a/b/search", 404),
        ("/v2/v1/collections/a/search", 404),
        (f"{PATH}es", 404),
        (f"{PATH}/", 404),
    ],
)
async def test_other_paths_are_no_searches(
    client: httpx.AsyncClient, gateway: FakeGateway, path: str, status: int
) -> None:
    """A path that only looks like the one of a search is answered as any other path."""
    response = await client.post(path, json={"query": "a"})
    assert (response.status_code, gateway.searches) == (status, [])


async def test_it_may_be_served_under_a_prefix(gateway: FakeGateway) -> None:
    """Below a root path, searches and all else are found as at the root."""
    transport = httpx.ASGITransport(create_app(gateway, SETTINGS), root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api") as client:
        assert (await client.post(PATH, json={"query": "a"})).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
    assert len(gateway.searches) == 1


async def test_a_search_without_the_token_is_not_even_read(gateway: FakeGateway) -> None:
    """The token is checked before anything is said about the search."""
    transport = httpx.ASGITransport(create_app(gateway, GatewaySettings(token=SecretStr("s3cret"))))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.post(f"{PATH}?x=1", content=b"{")).status_code == 401
        headers = {"Authorization": "Bearer s3cret"}
        assert (await client.post(PATH, json={"query": "a"}, headers=headers)).status_code == 200


async def test_the_server_may_announce_its_start_and_end(gateway: FakeGateway) -> None:
    """The lifespan of the protocol passes through to the framework, which answers it."""
    announced = deque([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive() -> Any:
        return announced.popleft()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    app = create_app(gateway, GatewaySettings(token=SecretStr("s3cret")))
    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def search_of(client: "HangingUp", gateway: FakeGateway) -> None:
    """Let a client that hangs up search, in virtual time."""
    raw_path = PATH.encode()
    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": raw_path}
    scope |= {"query_string": b"", "headers": [(b"host", b"localhost")], "http_version": "1.1"}
    run_virtually(create_app(gateway, SETTINGS)(scope, client.receive, client.send))  # type: ignore[arg-type] # an awaitable that is a coroutine


class HangingUp:
    """A client that sends `parts` of a body and hangs up 100 ms later."""

    def __init__(self, *parts: bytes, is_whole: bool) -> None:
        self._parts = deque(parts)
        self._is_whole = is_whole
        self.statuses: list[int] = []

    async def receive(self) -> Any:
        """Give the next part, or the end."""
        if self._parts:
            body = self._parts.popleft()
            more_body = bool(self._parts) or not self._is_whole
            return {"type": "http.request", "body": body, "more_body": more_body}
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Keep the status."""
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])


def test_a_client_that_hangs_up_cancels_its_search() -> None:
    """The search is cancelled as its client leaves, and the unread answer is a 499."""
    cancelled_at: list[float] = []

    class SlowGateway(FakeGateway):
        async def search(self, query: SearchQuery) -> SearchResult:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                cancelled_at.append(asyncio.get_running_loop().time())
                raise
            return await super().search(query)

    client = HangingUp(b'{"query": ', b'"a"}', is_whole=True)
    with structlog.testing.capture_logs() as logs:
        search_of(client, SlowGateway())
    assert cancelled_at == [pytest.approx(0.11)]  # it is looked for after 10 ms
    assert (client.statuses, logs) == ([499], [])


def test_a_body_that_breaks_off_is_no_search() -> None:
    """Part of a body is not searched when the client leaves; it is not a failure, but a 499.

    Though what has come were JSON.
    """
    gateway, client = FakeGateway(), HangingUp(b'{"query": "a"}', is_whole=False)
    with structlog.testing.capture_logs() as logs:
        search_of(client, gateway)
    assert gateway.searches == []
    assert (client.statuses, logs) == ([499], [])
