"""Batches of searches: each search has its own result, as if it had been sent by itself."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import structlog

from hedgerow.common.errors import (
    BadRequestError,
    InsufficientCoverageError,
    NotFoundError,
    OverloadedError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.http.search.batch import CONCURRENCY
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.shapes.batch import BatchAnswer
from tests.support.fake_gateway import FakeGateway
from tests.support.garbage import left_by_its_caller, left_to_collector
from tests.support.sample_results import make_result
from tests.support.shapes import check_shape
from tests.support.virtual_time import run_virtually
from tests.unit.gateway.http.test_http_access import client_of
from tests.unit.support.access import access_by, make_key
from tests.unit.support.http_client import connect

PATH = "/v1/search:batch"
Respond = Callable[[SearchQuery], Awaitable[SearchResult]]


class ScriptedGateway(FakeGateway):
    """Answers each search as a function does."""

    def __init__(self, respond: Respond) -> None:
        super().__init__()
        self._respond = respond

    async def search(self, query: SearchQuery) -> SearchResult:
        """Keep the search, and answer by the function."""
        self.searches.append(query)
        return await self._respond(query)


async def _post(gateway: FakeGateway, body: Any, **settings: Any) -> httpx.Response:
    async with connect(gateway, **settings) as client:
        return await client.post(PATH, json=body)


def _searches(num: int, **members: Any) -> list[dict[str, Any]]:
    return [{"collection": "films", "query": f"q{n}", **members} for n in range(num)]


def _statuses(response: httpx.Response) -> list[int]:
    results = response.json()["results"]
    return [200 if "answer" in one else one["problem"]["status"] for one in results]


async def test_each_search_has_its_own_result_in_order() -> None:
    """Of a batch in which two fail, the others are answered, each in its place."""
    partial = make_result(outcomes={Outcome.OK: 7, Outcome.TIMED_OUT: 1})

    async def respond(query: SearchQuery) -> SearchResult:
        match query.query:
            case "unknown":
                raise NotFoundError("there is no collection 'x'")
            case "thin":
                raise InsufficientCoverageError("coverage is 0.875", partial)
            case "bug":
                raise RuntimeError("the password is hunter2")
        await asyncio.sleep(0.001 * (5 - len(query.query)))  # they end in another order
        return make_result(hits=[Hit(query.query, 1.0, 0, None)])

    names = ["a", "unknown", "bb", "thin", "bug", "ccc"]
    searches = [{"collection": "films", "query": name} for name in names]
    with structlog.testing.capture_logs():
        response = await _post(ScriptedGateway(respond), {"searches": searches})
    assert response.status_code == 200
    check_shape(response.json(), BatchAnswer)
    assert _statuses(response) == [200, 404, 200, 504, 500, 200]
    results = response.json()["results"]
    found = [one["answer"]["hits"][0]["id"] for one in results if "answer" in one]
    assert found == ["a", "bb", "ccc"]
    assert (
        results[3]["problem"]["coverage"] == json.loads(json.dumps(partial.to_json()))["coverage"]
    )
    assert "hunter2" not in response.text


async def test_a_search_of_a_batch_reaches_the_gateway_as_a_single_one(
    gateway: FakeGateway,
) -> None:
    """All members arrive as in a single search, with the trace and the address of the caller."""
    body = {"query": "wing", "k": 3, "fields": ["title"], "sort": ["year"], "wait_for": 0.5}
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    async with connect(gateway) as client:
        own = {"collection": "films", "deadline_ms": 100, **body}
        await client.post(PATH, json={"searches": [own]}, headers=trace)
        path = "/v1/collections/films/search"
        await client.post(path, json={"deadline_ms": 100, **body}, headers=trace)
    assert gateway.searches[0] == gateway.searches[1]


async def test_an_alias_is_searched_as_its_collection(gateway: FakeGateway) -> None:
    """The gateway gets the collection's own name."""
    gateway.aliases.there = {"movies": "films"}
    await _post(gateway, {"searches": [{"collection": "movies", "query": "a"}]})
    assert [query.collection for query in gateway.searches] == ["films"]


async def test_a_bad_search_fails_alone_and_is_counted(gateway: FakeGateway) -> None:
    """Its problem names each fault; the search beside it is answered."""
    bad = [
        {"query": "a", "k": 0, "who": 1},
        7,
        {"collection": "films", "query": "a", "deadline_ms": 0},
    ]
    response = await _post(gateway, {"searches": [*bad, *_searches(1)]})
    assert _statuses(response) == [400, 400, 400, 200]
    problems = [one["problem"] for one in response.json()["results"][:3]]
    assert {fault["field"] for fault in problems[0]["errors"]} == {"collection", "k", "who"}
    assert problems[2]["field"] == "deadline_ms"
    assert [type(error).__name__ for _, error in gateway.unread][1:] == [
        "BadRequestError",
        "BadBodyError",
    ]
    assert len(gateway.searches) == 1


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"searches": 3}, 400, "searches"),
        ({}, 400, "searches"),
        ({"searches": [], "deadline_ms": 0}, 400, "deadline_ms"),
        ({"searches": [], "what": 0}, 400, "what"),
        ({"searches": [{}, {}, {}]}, 400, "searches"),
        ({"searches": ["x" * 500]}, 413, "body"),
    ],
)
async def test_a_batch_that_cannot_be_read_is_a_problem(
    gateway: FakeGateway, body: Any, status: int, field: str
) -> None:
    """It is refused as a whole if its body is wrong, too large, or has too many searches."""
    response = await _post(gateway, body, max_batch_searches=2, max_body_bytes=400)
    assert (response.status_code, response.json()["field"]) == (status, field)
    assert len(gateway.unread) == 1


async def test_an_empty_batch_has_no_results(gateway: FakeGateway) -> None:
    """A program need not treat it as a special case."""
    assert (await _post(gateway, {"searches": []})).json()["results"] == []


async def test_a_key_searches_only_what_it_may() -> None:
    """A search of another collection is a 403 of its own, also by an alias."""
    key, secret = make_key("k", Right.SEARCH, collections=["films"])
    gateway = FakeGateway()
    gateway.aliases.there = {"movies": "films", "other": "books"}
    names = ["films", "books", "movies", "other"]
    body = {"searches": [{"collection": name, "query": "a"} for name in names]}
    headers = {"Authorization": f"Bearer {secret}"}
    async with client_of(gateway, access_by(key)) as client:
        response = await client.post(PATH, json=body, headers=headers)
    assert _statuses(response) == [200, 403, 200, 403]
    assert [(query.collection, query.caller.name) for query in gateway.searches] == [
        ("films", "k"),
        ("films", "k"),
    ]


async def test_each_search_counts_for_the_rate_of_its_key() -> None:
    """A batch of ten takes as much of the key's rate as ten requests."""
    key, secret = make_key("k", Right.SEARCH, rate_per_s=4)
    gateway = FakeGateway()
    headers = {"Authorization": f"Bearer {secret}"}
    async with client_of(gateway, access_by(key)) as client:
        response = await client.post(PATH, json={"searches": _searches(10)}, headers=headers)
    assert _statuses(response) == [200] * 4 + [429] * 6
    assert response.json()["results"][9]["problem"]["cause"] == "rate"


def test_few_searches_of_a_batch_are_in_flight_at_once() -> None:
    """A batch of 40 has 8 in flight, and all are answered."""
    num, most = 0, 0

    async def respond(query: SearchQuery) -> SearchResult:
        nonlocal num, most
        num += 1
        most = max(most, num)
        await asyncio.sleep(0.01)
        num -= 1
        return make_result()

    body = {"searches": _searches(40), "deadline_ms": 5000}
    response = run_virtually(_post(ScriptedGateway(respond), body))
    assert most == CONCURRENCY
    assert _statuses(response) == [200] * 40


def test_a_batch_whose_caller_leaves_leaves_no_cycle() -> None:
    """Nothing of its request waits for the garbage collector."""

    async def respond(query: SearchQuery) -> SearchResult:
        await asyncio.sleep(10)
        return make_result()

    async def scenario() -> list[object]:
        async with connect(ScriptedGateway(respond)) as client:

            async def leave() -> None:
                body = {"searches": _searches(10), "deadline_ms": 5000}
                await left_by_its_caller(client.post(PATH, json=body), 0.1)
                await asyncio.sleep(0.1)

            await leave()
            with left_to_collector() as left:
                await leave()
        return [one for one in left if isinstance(one, BaseException)]

    assert run_virtually(scenario()) == []


def test_a_batch_keeps_within_the_room_that_its_caller_has() -> None:
    """With room for two, all are answered, two at a time; refusals are bounded and not final."""
    num = num_refused = 0

    async def respond(query: SearchQuery) -> SearchResult:
        nonlocal num, num_refused
        if num == 2:
            num_refused += 1
            raise OverloadedError("full", "share", 0.1)
        num += 1
        await asyncio.sleep(0.01)
        num -= 1
        return make_result()

    body = {"searches": _searches(20), "deadline_ms": 5000}
    response = run_virtually(_post(ScriptedGateway(respond), body))
    assert _statuses(response) == [200] * 20
    assert num_refused == CONCURRENCY - 2


@pytest.mark.parametrize(("cause", "status"), [("limit", 429), ("backlog", 503)])
async def test_searches_without_room_are_refused_each(
    gateway: FakeGateway, cause: str, status: int
) -> None:
    """If there is room for none, each has a problem that says when to try again."""
    gateway.answer = OverloadedError("full", cause, 0.25)
    response = await _post(gateway, {"searches": _searches(12)})
    assert _statuses(response) == [status] * 12
    problem = response.json()["results"][0]["problem"]
    assert (problem["cause"], problem["retry_after_s"]) == (cause, 0.25)


def test_a_search_has_what_is_left_of_the_time_when_it_begins() -> None:
    """Later ones have less, own deadlines only shorten it, and those past the end do not begin."""

    async def respond(query: SearchQuery) -> SearchResult:
        await asyncio.sleep(0.04)
        return make_result()

    gateway = ScriptedGateway(respond)
    searches = _searches(3 * CONCURRENCY + 1)
    searches[1]["deadline_ms"] = 50
    searches[CONCURRENCY + 1]["deadline_ms"] = 900
    response = run_virtually(_post(gateway, {"searches": searches, "deadline_ms": 100}))
    begun = [round(query.deadline_ms) for query in gateway.searches]
    assert begun == [100, 50] + [100] * 6 + [60] * 8 + [20] * 8
    assert _statuses(response) == [200] * 24 + [429]
    assert response.json()["results"][-1]["problem"]["cause"] == "deadline"
    assert len(gateway.unread) == 1


async def test_what_the_answers_hold_is_bounded_and_given_back() -> None:
    """An answer without room is a problem that says so, and nothing is held once all is sent."""
    fields = {"title": "x" * 20_000}

    async def respond(query: SearchQuery) -> SearchResult:
        return make_result(hits=[Hit("1", 1.0, 0, fields)])

    gateway = ScriptedGateway(respond)
    gateway.memory = AnswerMemory(100_000)  # of which one caller may have half
    response = await _post(gateway, {"searches": _searches(4)})
    assert _statuses(response) == [200, 200, 503, 503]
    assert "max_held_bytes" in response.json()["results"][3]["problem"]["detail"]
    assert gateway.memory.held_bytes == 0


def test_a_client_that_hangs_up_cancels_all_its_searches() -> None:
    """Those in flight are cancelled, the others do not begin, and nothing is held."""
    num_cancelled = 0

    async def respond(query: SearchQuery) -> SearchResult:
        nonlocal num_cancelled
        if query.query == "q0":
            return make_result()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            num_cancelled += 1
            raise
        raise AssertionError

    gateway = ScriptedGateway(respond)
    parts = deque([json.dumps({"searches": _searches(30)}).encode()])
    statuses: list[int] = []

    async def receive() -> Any:
        if parts:
            return {"type": "http.request", "body": parts.popleft(), "more_body": False}
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode()}
    scope |= {"query_string": b"", "headers": [(b"host", b"localhost")], "http_version": "1.1"}
    app: Any = create_app(gateway, GatewaySettings())
    run_virtually(app(scope, receive, send))
    assert (statuses, num_cancelled) == ([499], CONCURRENCY)
    assert len(gateway.searches) == CONCURRENCY + 1
    assert gateway.memory.held_bytes == 0


async def test_a_refused_query_keeps_its_position(gateway: FakeGateway) -> None:
    """An error in the syntax says where it is, as for a single search."""
    gateway.answer = BadRequestError("query", "has an unbalanced quote", 4)
    response = await _post(gateway, {"searches": _searches(1)})
    assert response.json()["results"][0]["problem"]["position"] == 4
