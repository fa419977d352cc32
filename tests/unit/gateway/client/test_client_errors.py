"""How the Python client treats partial answers, problems, and missing answers."""

import math
from typing import Any

import httpx
import pytest

from hedgerow.common.errors import (
    BadBodyError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    HedgerowError,
    InsufficientCoverageError,
    InsufficientStorageError,
    LoadInterruptedError,
    NotFoundError,
    OverloadedError,
    RedisUnavailableError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.writes.load import LoadReport
from tests.support.sample_results import make_result
from tests.unit.support.either_client import URL, EitherClient


def test_a_partial_answer_is_an_answer(ask: EitherClient) -> None:
    """An answer that lacks a shard is returned, and says so."""
    found = ask("search", "films", "wing")
    assert (found.coverage.fraction, found.coverage.is_full) == (0.875, False)
    assert (found.shards.ok, found.shards.timed_out, found.shards.total) == (7, 1, 8)


def test_below_the_minimum_coverage_the_error_carries_the_answer(ask: EitherClient) -> None:
    """504 says what there is; 503, if no shard could be asked, also says when to try again."""
    ask.gateway.answer = InsufficientCoverageError("coverage is 0.875", make_result())
    with pytest.raises(InsufficientCoverageError, match=r"coverage is 0\.875") as raised:
        ask("search", "films", "wing", minimum_coverage=0.9)
    assert raised.value.result.hits[0].id == "184"
    assert raised.value.result.coverage.fraction == 0.875
    assert raised.value.retry_after_s is None
    nobody = make_result(hits=[], outcomes={Outcome.UNAVAILABLE: 8}, coverage=coverage_of(0, 9, {}))
    ask.gateway.answer = InsufficientCoverageError("no shard has answered", nobody)
    with pytest.raises(InsufficientCoverageError) as raised:
        ask("search", "films", "wing")
    assert raised.value.retry_after_s == 1.0
    assert raised.value.result.shards.unavailable == 8


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (
            BadRequestError("filter", "names no field", 3),
            {"field": "filter", "reason": "names no field", "position": 3},
        ),
        (
            BadBodyError([("k", "is too large"), ("fields", "is odd")]),
            {"errors": [("k", "is too large"), ("fields", "is odd")], "field": "k"},
        ),
        (TooLargeError("body", "is too large"), {"field": "body", "reason": "is too large"}),
        (NotFoundError("there is no collection 'films'"), {}),
        (
            OverloadedError("too many queries", "batch_share", 0.125),
            {"cause": "batch_share", "retry_after_s": 0.125},
        ),
        (
            OverloadedError("long queues", "backlog", 2.5),
            {"cause": "backlog", "retry_after_s": 2.5},
        ),
        (UnavailableError("no worker is live", 3.0), {"retry_after_s": 3.0}),
        (HedgerowError("a thing that went wrong"), {}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_problem_is_the_error_that_the_gateway_raised(
    ask: EitherClient, error: HedgerowError, attributes: dict[str, Any]
) -> None:
    """Class, text and attributes of an error survive the way over HTTP."""
    ask.gateway.answer = error
    with pytest.raises(HedgerowError) as raised:
        ask("search", "films", "wing")
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    assert {name: getattr(raised.value, name) for name in attributes} == attributes


def test_the_other_problems_have_their_errors(ask: EitherClient) -> None:
    """A conflict, a stopped load and what of it is safe, a lack of room, an unreachable Redis."""
    ask.gateway.collections.error = ConflictError("its fields are others")
    with pytest.raises(ConflictError, match="its fields are others"):
        ask("put_collection", "films")
    report = LoadReport(accepted=7, is_applied=False)
    ask.gateway.documents.error = LoadInterruptedError("replicas are behind", report, 4.0)
    with pytest.raises(LoadInterruptedError, match="replicas are behind") as raised:
        ask("index", "films", [{"id": "1"}])
    assert (raised.value.report.accepted, raised.value.retry_after_s) == (7, 4.0)
    shortages = [{"where": "w0", "resource": "disk", "state": "low", "detail": "no room"}]
    ask.gateway.documents.error = InsufficientStorageError("w0: no room", shortages, report, 6.0)
    with pytest.raises(InsufficientStorageError, match="w0: no room") as refused:
        ask("index", "films", [{"id": "1"}])
    assert refused.value.shortages == shortages
    assert (refused.value.report.accepted, refused.value.retry_after_s) == (7, 6.0)
    ask.gateway.collections.error = InsufficientStorageError("w0: no room", shortages)
    with pytest.raises(InsufficientStorageError) as refused:
        ask("put_collection", "films")
    assert refused.value.report is None
    ask.gateway.quarantine.error = RedisUnavailableError("Redis does not answer")
    with pytest.raises(UnavailableError, match="Redis does not answer"):
        ask("list_quarantine")


@pytest.mark.parametrize("member", ["query", "filter"])
def test_bytes_are_no_text_to_search_for(ask: EitherClient, member: str) -> None:
    """Bytes in place of a text are an error that names the member; JSON would have their Base64."""
    search: dict[str, Any] = {"query": "wing", member: b"wing"}
    with pytest.raises(BadRequestError, match="is bytes") as raised:
        ask("search", "films", **search)
    assert raised.value.field == member
    with pytest.raises(BadRequestError, match="is bytes"):
        ask("search_batch", [{"collection": "films", **search}])


@pytest.mark.parametrize("deadline_ms", [math.nan, math.inf, -math.inf])
def test_a_deadline_that_is_no_time_is_named(ask: EitherClient, deadline_ms: float) -> None:
    """Nothing can be waited for that long, and it is no JSON."""
    with pytest.raises(BadRequestError) as raised:
        ask("search", "films", "wing", deadline_ms=deadline_ms)
    assert raised.value.field == "deadline_ms"


def test_a_missing_token_is_an_error_of_its_own(ask: EitherClient) -> None:
    """A 401 has a class of its own, since no other attempt would do better."""
    problem = {"type": "urn:problem-type:hedgerow:unauthorized", "detail": "it wants a token"}
    ask.answer = lambda _: httpx.Response(401, json=problem)
    with pytest.raises(UnauthorizedError, match="it wants a token"):
        ask("status")


def test_a_missing_right_is_an_error_of_its_own(ask: EitherClient) -> None:
    """A 403 is not a 401: the key is known, and another one may have the right."""
    problem = {"type": "urn:problem-type:hedgerow:forbidden", "detail": "key 'a' lacks 'write'"}
    ask.answer = lambda _: httpx.Response(403, json=problem)
    with pytest.raises(ForbiddenError, match="lacks 'write'"):
        ask("status")


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("Connection refused"),
        httpx.ReadTimeout("timed out"),
        httpx.RemoteProtocolError("Server disconnected"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_nobody_at_the_url_is_unavailable(ask: EitherClient, failure: Exception) -> None:
    """A gateway that is absent or does not answer is named by its URL; no health check raises."""

    def fail(_request: httpx.Request) -> httpx.Response:
        raise failure

    ask.answer = fail
    with pytest.raises(UnavailableError, match=URL):
        ask("search", "films", "wing")
    assert (ask("is_alive"), ask("is_ready")) == (False, False)


@pytest.mark.parametrize(
    ("status_code", "body", "kind"),
    [
        (200, "<h1>It works!</h1>", HedgerowError),
        (200, '{"hits": []}', HedgerowError),
        (404, "<h1>Not here</h1>", HedgerowError),
        (500, "Internal Server Error", HedgerowError),
        (502, "<h1>Bad gateway</h1>", UnavailableError),
        (429, "", UnavailableError),
        (503, "", UnavailableError),
        (200, b'{"title": "nicht verf\xfcgbar"}', HedgerowError),
        (503, b'{"detail": "nicht verf\xfcgbar"}', UnavailableError),
        (200, b'{"hits": ' + b"[" * 100_000, HedgerowError),
        (502, b'{"detail": ' + b"[" * 100_000, UnavailableError),
        (200, b'{"hits": [', HedgerowError),
        (204, "", HedgerowError),
    ],
)
def test_what_is_no_gateway_is_told_as_such(
    ask: EitherClient, status_code: int, body: str | bytes, kind: type[HedgerowError]
) -> None:
    """A server that is no gateway is an error; a proxy before one is to be asked again."""
    headers = {"Retry-After": "7"}
    ask.answer = lambda _: httpx.Response(status_code, content=body, headers=headers)
    with pytest.raises(HedgerowError, match=URL) as raised:
        ask("search", "films", "wing")
    assert type(raised.value) is kind
    if isinstance(raised.value, UnavailableError):
        assert raised.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("status_code", "errors", "kind"),
    [
        (400, [{"detail": "is odd", "pointer": "#/k"}, {"detail": "is odder"}], BadRequestError),
        (400, {"k": ["is odd"]}, BadRequestError),
        (400, ["k is odd", 7], BadRequestError),
        (502, None, UnavailableError),
        (504, None, UnavailableError),
    ],
)
def test_problems_of_proxies_are_errors_of_the_tree(
    ask: EitherClient, status_code: int, errors: object, kind: type[HedgerowError]
) -> None:
    """RFC 9457 leaves it to each server which members a problem has."""
    problem = {"detail": "it is odd", "errors": errors}
    ask.answer = lambda _: httpx.Response(status_code, json=problem)
    with pytest.raises(HedgerowError, match="it is odd") as raised:
        ask("search", "films", "wing")
    assert type(raised.value) is kind
