"""What the legs of a hybrid search say together."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.coverage.measurement import (
    count_outcomes,
    coverage_of,
    measure_coverage,
)
from hedgerow.gateway.search.hybrid.leg_end import LegEnd, leg_of, together
from hedgerow.gateway.search.result import Hit, SearchResult
from hedgerow.gateway.shapes.answer import ShardDetail, TotalHits

COUNTS = [10, 20, 30, 40]
OUTCOMES = st.sampled_from(list(Outcome))


def leg(*outcomes: Outcome) -> LegEnd:
    """A leg whose shards have ended so."""
    documents = sum(
        count for count, outcome in zip(COUNTS, outcomes, strict=True) if outcome is Outcome.OK
    )
    detail = [
        ShardDetail(shard, outcome, "why")
        for shard, outcome in enumerate(outcomes)
        if outcome is not Outcome.OK
    ]
    result = SearchResult(
        hits=[Hit("a", 1.0, 0)],
        total_hits=TotalHits(1, "eq"),
        coverage=measure_coverage(outcomes, documents, COUNTS),
        outcomes=count_outcomes(outcomes),
        detail=detail,
        took_ms=1.0,
        deadline_ms=100.0,
        skipped=[shard for shard, outcome in enumerate(outcomes) if outcome is Outcome.SKIPPED],
    )
    return LegEnd(result, 0.001)


LEGS = st.tuples(*[OUTCOMES] * len(COUNTS)).map(lambda outcomes: leg(*outcomes))


@given(LEGS, LEGS)
def test_the_coverage_counts_what_both_legs_have_searched(text: LegEnd, vector: LegEnd) -> None:
    """A shard counts if it was searched in both, and has one outcome, which is not ok otherwise.

    One that was skipped has no match, and counts as searched.
    """
    found = together({"text": text, "vector": vector}, COUNTS)
    results = [end.result for end in (text, vector) if end.result is not None]
    bad = {
        detail.shard
        for result in results
        for detail in result.detail
        if detail.outcome is not Outcome.SKIPPED
    }
    documents = sum(count for shard, count in enumerate(COUNTS) if shard not in bad)
    assert found.coverage.documents == documents
    assert found.coverage.documents_total == sum(COUNTS)
    assert found.coverage.is_full is (not bad)
    assert sum(found.outcomes.values()) == len(COUNTS)
    assert found.outcomes[Outcome.OK] == len(COUNTS) - len(bad)
    assert {detail.shard for detail in found.detail} == bad


@given(LEGS)
def test_a_leg_that_is_left_out_has_searched_nothing(text: LegEnd) -> None:
    """The answer covers nothing in both legs, and every shard has the leg's outcome or its own."""
    out = LegEnd(None, 0.1, None, "the model is broken", Outcome.FAILED)
    found = together({"text": text, "vector": out}, COUNTS)
    assert found.coverage.documents == 0
    assert not found.coverage.is_full
    assert found.outcomes[Outcome.OK] == 0
    shape = leg_of(out, found.of_legs["vector"], sum(COUNTS))
    assert shape.left_out == "the model is broken"
    assert (shape.coverage.fraction, shape.coverage.documents_total) == (0, 100)
    assert shape.shards.failed == shape.shards.total == len(COUNTS)
    assert shape.candidates == 0


def test_the_reason_names_the_leg() -> None:
    """So that one reads in which leg a shard was missing."""
    ok, late = Outcome.OK, Outcome.TIMED_OUT
    found = together({"text": leg(ok, ok, ok, ok), "vector": leg(ok, late, ok, ok)}, COUNTS)
    assert [(one.shard, one.outcome, one.reason) for one in found.detail] == [
        (1, late, "vector: why")
    ]
    assert found.coverage.documents == 80
    assert found.of_legs == {"text": [ok] * 4, "vector": [ok, late, ok, ok]}


def test_what_a_skipped_shard_has_is_known_by_the_legs_that_have_asked_it() -> None:
    """Its last report may be older than documents that were found, or not be there yet."""
    ok, skipped, late = Outcome.OK, Outcome.SKIPPED, Outcome.TIMED_OUT
    asked, scored = leg(ok, ok, ok, ok), leg(ok, skipped, ok, ok)
    assert together({"text": asked, "second_phase": scored}, COUNTS).coverage.documents == 100
    # The scored leg knew of no document in the shard when it ended.
    assert scored.result is not None
    behind = replace(scored.result, coverage=coverage_of(80, 80))
    legs = {"text": asked, "second_phase": scored._replace(result=behind)}
    assert together(legs, COUNTS).coverage.documents == 100
    found = together({"text": leg(ok, ok, ok, late), "second_phase": scored}, COUNTS)
    assert (found.coverage.documents, found.coverage.documents_total) == (60, 100)


def test_a_shard_that_never_reported_is_as_large_as_the_others() -> None:
    """As in the coverage of an ordinary search."""
    ok, late = Outcome.OK, Outcome.TIMED_OUT
    found = together({"text": leg(ok, late, ok, ok)}, [10, None, 30, 40])
    assert (found.coverage.documents, found.coverage.documents_total) == (80, 107)
