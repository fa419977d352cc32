"""What is recorded of searches, by the real searcher in virtual time, and by answers made up."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from hedgerow.common.errors import (
    BadRequestError,
    ForbiddenError,
    HedgerowError,
    InsufficientCoverageError,
    NotFoundError,
    OverloadedError,
    RedisUnavailableError,
    UnauthorizedError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.metrics.search_recorder import PARTS, RESULTS, SearchRecorder
from hedgerow.gateway.policies.admission import CAUSES
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.result import SearchQuery
from tests.support.sample_results import make_result
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

QUERY = SearchQuery("things", "x", deadline_ms=300.0)
FULL: dict[str, Any] = {
    "coverage": coverage_of(80, 80),
    "outcomes": {Outcome.OK: 8},
    "detail": [],
    "took_ms": 40.0,
}


def results(recorder: SearchRecorder) -> dict[tuple[str, str, str], int]:
    """Result, cause and key → count, of those that have happened."""
    return {(result, cause, key): num for result, cause, key, num in recorder.results() if num}


def by(name: str) -> SearchQuery:
    """The query of a caller."""
    return msgspec.structs.replace(QUERY, caller=Caller(name))


def test_full_and_partial_answers_add_up_by_shard() -> None:
    """Each of eight shards ends once a search; a missing one has its own outcome."""
    recorder = SearchRecorder(8, 20)
    for _ in range(3):
        recorder.answered(QUERY, "bm25", make_result(**FULL))
    recorder.answered(QUERY, "bm25", make_result())  # shard 5 has timed out
    outcomes = {(shard, outcome): num for shard, outcome, num in recorder.outcomes() if num}
    assert outcomes == {
        **{(shard, "ok"): 3 if shard == 5 else 4 for shard in range(8)},
        (5, "timed_out"): 1,
    }
    assert results(recorder) == {("full", "", ""): 3, ("partial", "", ""): 1}


def test_the_totals_are_those_of_the_results() -> None:
    """Full, partial and insufficient searches are in the totals at once, each once."""
    recorder = SearchRecorder(8, 20)
    for _ in range(3):
        recorder.answered(QUERY, "bm25", make_result(**FULL))
    recorder.answered(QUERY, "bm25", make_result())
    recorder.failed(QUERY, "bm25", InsufficientCoverageError("too little", make_result()))
    recorder.failed(QUERY, "bm25", NotFoundError("there is none"))
    tally = recorder.tally()
    assert (tally.full, tally.partial, tally.insufficient) == (3, 1, 1)
    assert sum(tally.times) == 5
    assert sum(tally.parts) == 5 * 8
    assert tally.coverage == pytest.approx(recorder.coverages().total)


def test_an_answer_that_covers_too_little_counts_as_insufficient() -> None:
    """Its coverage, its time and its shards are recorded as those of an answer."""
    recorder = SearchRecorder(8, 20)
    error = InsufficientCoverageError("too little", make_result())
    recorder.failed(QUERY, "bm25", error)
    assert results(recorder) == {("insufficient", "", ""): 1}
    assert recorder.coverages().total == pytest.approx(19_600 / 22_400)
    assert sum(num for _, _, num in recorder.outcomes()) == 8
    ((collection, profile, durations),) = recorder.durations()
    assert (collection, profile, sum(durations.counts)) == ("things", "bm25", 1)


def test_time_left_is_what_the_deadline_still_had() -> None:
    """40 of 300 ms leave 260; an answer that is late leaves none."""
    recorder = SearchRecorder(8, 20)
    recorder.answered(QUERY, "bm25", make_result(**FULL))
    assert recorder.time_left().total == pytest.approx(0.26)
    recorder.answered(QUERY, "bm25", make_result(**{**FULL, "took_ms": 301.0}))
    assert recorder.time_left().total == pytest.approx(0.26)
    assert sum(recorder.time_left().counts) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadRequestError("query", "is odd"), ("bad_request", "")),
        (NotFoundError("no such"), ("not_found", "")),
        (ForbiddenError("not yours"), ("forbidden", "")),
        (UnauthorizedError("who?"), ("unauthorized", "")),
        (RedisUnavailableError("gone"), ("unavailable", "")),
        (asyncio.CancelledError(), ("cancelled", "")),
        (HedgerowError("odd"), ("failed", "")),
        (ZeroDivisionError(), ("failed", "")),
        *((OverloadedError("much", cause, 1.0), ("refused", cause)) for cause in (*CAUSES, "rate")),
    ],
)
def test_each_error_is_one_result(error: BaseException, expected: tuple[str, str]) -> None:
    """A search that was not answered counts once, by the reason; its key is its caller's name."""
    recorder = SearchRecorder(8, 20)
    recorder.failed(by("shop"), "bm25", error)
    assert results(recorder) == {(*expected, "shop"): 1}
    assert expected[0] in RESULTS


def test_series_that_can_be_alarmed_on_begin_at_zero() -> None:
    """Before any search, each result and cause is there: a rate would miss the first otherwise."""
    found = {(result, cause): num for result, cause, _, num in SearchRecorder(2, 3).results()}
    assert {result for result, _ in found} == set(RESULTS)
    assert {cause for _, cause in found} >= {"", *CAUSES}
    assert not any(found.values())


def test_names_are_bounded_and_nothing_is_lost() -> None:
    """Of a thousand keys, collections and profiles a few have series; the sums are right."""
    recorder = SearchRecorder(8, 5)
    for number in range(1_000):
        query = msgspec.structs.replace(by(f"k{number % 300}"), collection=f"c{number % 70}")
        made = make_result(**FULL) if number % 2 else make_result()
        recorder.answered(query, f"p{number % 11}", made)
    counts: Counter[str] = Counter()
    for result, _, _, num in recorder.results():
        counts[result] += num
    assert (counts["full"], counts["partial"]) == (500, 500)
    assert len({key for _, _, key, _ in recorder.results()} - {""}) == 6
    durations = list(recorder.durations())
    assert len(durations) <= 6 * 6
    assert sum(sum(one.counts) for *_, one in durations) == 1_000
    assert recorder.coverages().distribution().cumulative[-1] == 1_000


def test_what_is_gone_is_forgotten() -> None:
    """Series of a dropped collection and of a revoked key end, and make room for others."""
    recorder = SearchRecorder(8, 1)
    recorder.answered(by("old"), "bm25", make_result(**FULL))
    recorder.answered(by("old"), "bm25", make_result())
    recorder.keep({"new"})
    recorder.keep_keys({"fresh"})
    assert list(recorder.durations()) == []
    assert results(recorder) == {}
    recorder.answered(
        msgspec.structs.replace(by("fresh"), collection="new"), "bm25", make_result(**FULL)
    )
    assert results(recorder) == {("full", "", "fresh"): 1}
    assert [collection for collection, *_ in recorder.durations()] == ["new"]


def test_searches_go_on_while_a_page_is_written() -> None:
    """Callers, collections and results that come meanwhile neither break the page nor are lost."""
    recorder = SearchRecorder(8, 20)
    recorder.answered(by("a"), "bm25", make_result(**FULL))
    recorder.answered(by("a"), "bm25", make_result())
    for number, _ in enumerate(recorder.results()):
        recorder.answered(by(f"r{number}"), "bm25", make_result(**FULL))
        recorder.failed(by(f"r{number}"), "bm25", NotFoundError("none"))
        list(recorder.durations())  # counts what was noted
    for number, _ in enumerate(recorder.durations()):
        query = msgspec.structs.replace(QUERY, collection=f"c{number}")
        recorder.answered(query, "bm25", make_result())
    assert len(list(recorder.durations())) == 2


def test_the_parts_of_a_search_add_up_to_its_time() -> None:
    """A shard that answers after 70 ms, and a fetch of 30 ms: so do admit, reply, merge, fetch."""
    hits = (("a", 1.0),)
    transport = ScriptedTransport(
        {0: Script(delays_s=(0.07,), hits=hits, fetch_delay_s=0.03, fetch={"a": {"id": "a"}})}
    )
    recorder = SearchRecorder(1, 20)

    async def scenario() -> float:
        searcher = searcher_over(transport, [10], observers=[recorder.on_end])
        result = await searcher.search(QUERY, COLLECTION)
        recorder.answered(QUERY, "noop", result)
        return result.took_ms / 1000

    took_s = run_virtually(scenario())
    sums = {part: histogram.total for part, histogram in recorder.parts.items()}
    assert set(sums) == set(PARTS)
    assert sum(sums.values()) == pytest.approx(took_s)
    assert took_s == pytest.approx(0.1)
    assert sums["fetch"] == pytest.approx(0.03)
    assert sums["merge"] == pytest.approx(0.0)
    assert sum(sums[part] for part in ("queue", "lane", "work", "reply")) == pytest.approx(0.07)
