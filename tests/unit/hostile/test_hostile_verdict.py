"""What counts as harm by an attack, from observations made up for each case."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile.verdict import Bounds, Memory, Observation, Sample, judge, percentile

GOOD = Sample(200, 10.0, 1.0)
CALM = Observation(
    samples=[GOOD] * 100,
    memory={
        "gateway": Memory(60, 80, 61),
        "worker-0": Memory(250, 300, 250),
        "redis": Memory(12, 40, 12),
    },
    breakers=["closed", "closed"],
)


def failures(**changes: object) -> tuple[str, ...]:
    """What is wrong with a calm cluster after these changes."""
    return judge("a", replace(CALM, **changes), Bounds()).failures  # type: ignore[arg-type] # any


def beside(*samples: Sample) -> Sequence[Sample]:
    """A hundred searches, of which the last are these."""
    return [*[GOOD] * (100 - len(samples)), *samples]


def test_a_calm_cluster_holds() -> None:
    """When nothing changes for the normal client, an attack does no harm."""
    verdict = judge("calm", CALM, Bounds())
    assert verdict.holds
    assert (verdict.num_searches, verdict.answered, verdict.coverage) == (100, 1.0, 1.0)
    assert (verdict.p50_ms, verdict.p99_ms) == (10.0, 10.0)


@pytest.mark.parametrize(
    ("sample", "word"),
    [
        (Sample(0, 2_000.0), "no answer"),
        (Sample(503, 5.0), "HTTP 503"),
        (Sample(429, 5.0), "HTTP 429"),
        (Sample(200, 301.0, 1.0), "late"),
        (Sample(200, 10.0, 1.0, has_fields=False), "without fields"),
    ],
)
def test_two_searches_of_a_hundred_may_not_be_lost(sample: Sample, word: str) -> None:
    """One search of a hundred may be lost, for whatever reason, and two may not."""
    assert failures(samples=beside(sample)) == ()
    (first, *_) = failures(samples=beside(sample, sample))
    assert "98 of 100" in first
    assert f"2 {word}" in first


def test_no_search_at_all_fails() -> None:
    """An attack beside which nothing was searched shows nothing."""
    assert failures(samples=[])


def test_answers_that_lack_documents_fail() -> None:
    """Answers in time that reflect less than nearly all documents are not what was asked for."""
    assert failures(samples=[Sample(200, 10.0, 0.5)] * 100) == ("mean coverage 0.50, below 0.95",)


@pytest.mark.parametrize(
    ("part", "memory", "num_failures"),
    [
        ("gateway", Memory(60, 299, 60), 0),
        ("gateway", Memory(60, 301, 60), 1),
        ("gateway", Memory(60, 80, 79), 0),
        ("gateway", Memory(60, 90, 81), 1),
        ("gateway", Memory(200, 260, 239), 0),
        ("gateway", Memory(200, 260, 241), 1),
        ("worker-0", Memory(250, 499, 250), 0),
        ("worker-0", Memory(250, 501, 250), 1),
        ("worker-0", Memory(250, 501, 400), 2),
        ("redis", Memory(12, 900, 12), 0),
        ("redis", Memory(12, 900, 33), 1),
    ],
)
def test_memory_has_a_bound_and_comes_back(part: str, memory: Memory, num_failures: int) -> None:
    """A part may not pass its bound, nor keep a fifth, or 20 MB, more than it had."""
    assert len(failures(memory={part: memory})) == num_failures


@pytest.mark.parametrize("state", ["open", "half_open", "forced_open", "opened (5 failures)"])
def test_a_breaker_that_has_opened_fails(state: str) -> None:
    """A breaker that is not closed, or was not all the time, is named."""
    assert failures(breakers=["closed", state]) == (f"breaker 1: {state}",)


def test_restarts_and_complaints_fail() -> None:
    """A restarted process and what an attack complains of are failures as they are."""
    assert failures(restarted=["worker-0"], complaints=["204"]) == ("204", "restarted: worker-0")


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_splits_the_values(values: list[float], percent: float) -> None:
    """At least that share of the values is not above the percentile, and less is below it."""
    found = percentile(values, percent)
    wanted = math.ceil(len(values) * percent / 100)
    assert found in values
    assert sum(value <= found for value in values) >= wanted
    assert sum(value < found for value in values) < wanted
