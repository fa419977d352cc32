"""Many queries with a bounded number in flight."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hedgerow.common.errors import BadRequestError, HedgerowError, OverloadedError
from hedgerow.gateway.client import AsyncClient, Client
from hedgerow.gateway.client.many import ask_many, ask_many_async
from tests.support.sample_results import make_result
from tests.unit.support.either_client import URL, EitherClient

QUERIES = [f"q{number}" for number in range(20)]


def answer_for(query: str) -> Any:
    """An answer that names its query."""
    return f"answer to {query}"


class Crowd:
    """Counts those inside, and lets none leave before `size` have been inside at once."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size)
        self._lock = threading.Lock()
        self._inside = 0
        self.most = 0

    def ask(self, query: str) -> Any:
        """Stay inside for a while."""
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        self._barrier.wait(timeout=20)
        with self._lock:
            self._inside -= 1
        return answer_for(query)


def test_threads_ask_as_many_as_may_be_in_flight() -> None:
    """As many as the concurrency says are in flight at once, never more, and answers keep order."""
    crowd = Crowd(4)
    found = ask_many(crowd.ask, QUERIES, 4, return_errors=False)
    assert found == [answer_for(query) for query in QUERIES]
    assert crowd.most == 4


async def test_tasks_ask_as_many_as_may_be_in_flight() -> None:
    """The same on a loop, where later queries may be answered first."""
    inside, most = 0, 0

    async def ask(query: str) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(int(query[1:]) % 3):
            await asyncio.sleep(0)
        inside -= 1
        return answer_for(query)

    found = await ask_many_async(ask, iter(QUERIES), 4, return_errors=False)
    assert found == [answer_for(query) for query in QUERIES]
    assert most == 4


async def test_the_first_failure_cancels_what_is_in_flight_on_a_loop() -> None:
    """Queries in flight are cancelled, those that wait are not asked, and the error is raised."""
    asked, cancelled = [], []

    async def ask(query: str) -> Any:
        asked.append(query)
        if query == "q5":
            raise OverloadedError("too much", "limit")
        try:
            await asyncio.Event().wait() if query in {"q3", "q4"} else None
        except asyncio.CancelledError:
            cancelled.append(query)
            raise
        return answer_for(query)

    with pytest.raises(OverloadedError, match="too much"):
        await ask_many_async(ask, QUERIES, 3, return_errors=False)
    assert asked == QUERIES[:6]
    assert sorted(cancelled) == ["q3", "q4"]


def test_the_first_failure_waits_for_what_is_in_flight_in_threads() -> None:
    """A query in flight ends before the error of another one is raised."""
    ended = []
    both, failing = threading.Barrier(2), threading.Event()

    def ask(query: str) -> Any:
        both.wait(timeout=20)
        if query == "q1":
            failing.set()
            raise OverloadedError("too much", "limit")
        failing.wait(timeout=20)
        ended.append(query)
        return answer_for(query)

    with pytest.raises(OverloadedError, match="too much"):
        ask_many(ask, ["q0", "q1"], 2, return_errors=False)
    assert ended == ["q0"]


def test_after_a_failure_no_query_is_asked() -> None:
    """What waits is dropped with the first failure, unless failures are kept in their places."""
    for return_errors in (False, True):
        asked: list[str] = []

        def ask(query: str, asked: list[str] = asked) -> Any:
            asked.append(query)
            raise OverloadedError("too much", "limit")

        with contextlib.suppress(OverloadedError):
            ask_many(ask, QUERIES, 1, return_errors=return_errors)
        assert asked == (QUERIES if return_errors else QUERIES[:1])


async def test_who_is_cancelled_cancels_what_is_in_flight() -> None:
    """A caller that gives up leaves no query behind."""
    asked, cancelled = 0, 0
    all_asked = asyncio.Event()

    async def ask(_: str) -> Any:
        nonlocal asked, cancelled
        asked += 1
        if asked == 3:
            all_asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    asking = asyncio.create_task(ask_many_async(ask, QUERIES, 3, return_errors=True))
    await all_asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (asked, cancelled) == (3, 3)


@pytest.fixture(params=[Client, AsyncClient], ids=lambda kind: kind.__name__)
def ask(request: pytest.FixtureRequest) -> Iterator[EitherClient]:
    """Either client, of a server that refuses the query `bad` and names the others in answers."""
    ask = EitherClient(request.param)

    def answer(sent: httpx.Request) -> httpx.Response:
        query = json.loads(sent.content)["query"]
        if query == "bad":
            problem = {"detail": "query: is bad", "field": "query", "reason": "is bad"}
            return httpx.Response(400, json=problem)
        return httpx.Response(200, json={**make_result().to_json(), "warnings": [query]})

    ask.answer = answer
    yield ask
    ask("close")


def test_answers_are_in_the_order_of_the_queries(ask: EitherClient) -> None:
    """Each query has the answer to it, whatever the concurrency, and the options of them all."""
    for concurrency in (1, 3, 50):
        found = ask("search_many", "films", iter(QUERIES), concurrency=concurrency, k=7)
        assert [one.warnings for one in found] == [[query] for query in QUERIES]
    assert {json.loads(sent.content)["k"] for sent in ask.requests} == {7}
    assert {sent.url for sent in ask.requests} == {httpx.URL(f"{URL}/v1/collections/films/search")}
    assert ask("search_many", "films", []) == []


def test_a_failure_is_raised_or_in_its_place(ask: EitherClient) -> None:
    """By default the first failure is raised; with `return_errors` the others are answered."""
    queries = ["a", "bad", "b", "bad"]
    with pytest.raises(BadRequestError, match="is bad"):
        ask("search_many", "films", queries, concurrency=2)
    found = ask("search_many", "films", queries, concurrency=2, return_errors=True)
    assert [type(one) is BadRequestError for one in found] == [False, True, False, True]
    assert [one.warnings for one in found[::2]] == [["a"], ["b"]]


def test_what_is_no_error_of_the_tree_is_always_raised() -> None:
    """A mistake in the program is not an answer."""

    def broken(_: str) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_many(broken, QUERIES, 2, return_errors=True)

    async def broken_too(_: str) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask_many_async(broken_too, QUERIES, 2, return_errors=True))


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_concurrency_of_none_is_refused(ask: EitherClient, concurrency: int) -> None:
    """It is the caller's mistake, and nothing is asked."""
    with pytest.raises(HedgerowError, match="concurrency: must be at least 1"):
        ask("search_many", "films", QUERIES, concurrency=concurrency)
    assert ask.requests == []


def test_a_single_text_is_not_taken_for_many_queries(ask: EitherClient) -> None:
    """Its characters would be asked, one after the other."""
    with pytest.raises(BadRequestError, match="queries: is a single text"):
        ask("search_many", "films", "lamp")
    assert ask.requests == []
