"""Coverage adds up, and never flatters."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.outcome import SEARCHED, Outcome
from hedgerow.common.partition import shard_of
from hedgerow.gateway.search.coverage.measurement import count_outcomes, measure_coverage

outcomes_of_shards = st.lists(st.sampled_from(Outcome), min_size=1, max_size=64)


@st.composite
def _shards(draw: st.DrawFn) -> list[tuple[Outcome, int, int]]:
    """Outcome, documents now and as last reported; of shards as a hash of ids makes them."""
    size = draw(st.integers(0, 10**6))
    deviation = int(size**0.5)  # of a binomial distribution with many shards
    documents = st.integers(max(0, size - 2 * deviation), size + 2 * deviation)
    one = st.tuples(st.sampled_from(Outcome), documents, documents)
    return draw(st.lists(one, min_size=1, max_size=64))


@given(outcomes_of_shards)
def test_outcomes_sum_to_the_fan_out(outcomes: list[Outcome]) -> None:
    """Each shard is counted under exactly one outcome, and every outcome is named."""
    counts = count_outcomes(outcomes)
    assert list(counts) == list(Outcome)
    assert sum(counts.values()) == len(outcomes)
    assert all(outcomes.count(outcome) == number for outcome, number in counts.items())


def test_counts_are_not_shared() -> None:
    """Counting one query's outcomes leaves another's alone."""
    first = count_outcomes([Outcome.OK, Outcome.FAILED])
    count_outcomes([Outcome.FAILED] * 7)
    assert first[Outcome.FAILED] == 1


@given(_shards())
def test_fraction_is_searched_of_all(shards: list[tuple[Outcome, int, int]]) -> None:
    """The fraction is the documents searched over those plus what the other shards last had.

    A skipped shard was searched, with what it last had.
    """
    outcomes = [outcome for outcome, _, _ in shards]
    answers = {
        shard: searched
        for shard, (outcome, searched, _) in enumerate(shards)
        if outcome is Outcome.OK
    }
    coverage = measure_coverage(outcomes, sum(answers.values()), [known for _, _, known in shards])
    searched = sum(answers.values())
    searched += sum(count for outcome, _, count in shards if outcome is Outcome.SKIPPED)
    missed = sum(count for outcome, _, count in shards if outcome not in SEARCHED)
    assert (coverage.documents, coverage.documents_total) == (searched, searched + missed)
    if searched + missed:
        assert coverage.fraction == float(Fraction(searched, searched + missed))
    assert coverage.is_full == all(outcome in SEARCHED for outcome in outcomes)
    assert sum(coverage.degraded.values()) == sum(one not in SEARCHED for one in outcomes)


def test_reasons_are_counted_by_name() -> None:
    """The shards that are not ok are counted by the names that the JSON uses."""
    outcomes = [Outcome.OK, Outcome.TIMED_OUT, Outcome.BREAKER_OPEN, Outcome.TIMED_OUT]
    coverage = measure_coverage(outcomes, 10, [10, 10, 10, 10])
    assert coverage.degraded == {"timed_out": 2, "breaker_open": 1}
    assert [type(name) for name in coverage.degraded] == [str, str]
    assert coverage.fraction == 0.25


def test_an_answer_beats_what_was_known() -> None:
    """The count in a shard's reply is taken over the one that it reported before."""
    coverage = measure_coverage([Outcome.OK, Outcome.OK], 40, [1, 1])
    assert (coverage.documents, coverage.documents_total) == (40, 40)


def test_unknown_shards_lower_the_fraction() -> None:
    """A missing shard that never reported counts as large as the others, not as empty."""
    coverage = measure_coverage(
        [Outcome.OK, Outcome.OK, Outcome.UNAVAILABLE, Outcome.TIMED_OUT],
        240,
        [None, 0, None, 120],
    )
    assert (coverage.documents, coverage.documents_total) == (240, 480)


def test_a_report_from_before_a_load_does_not_flatter() -> None:
    """A missing shard that last reported before a load counts as large as those that have it."""
    loaded = [91, 94, 124, 91]  # what a hash makes of 400 documents
    outcomes = [Outcome.OK, Outcome.TIMED_OUT, Outcome.TIMED_OUT, Outcome.OK]
    for last_known in (loaded, [91, 94, 0, 91], [0, 0, 0, 0], [91, 30, 20, 91]):
        coverage = measure_coverage(outcomes, 91 + 91, last_known)
        assert coverage.documents == 182
        assert abs(coverage.fraction - 182 / sum(loaded)) < 0.05


@given(st.integers(1, 5_000), st.integers(2, 16), st.integers(0, 2**32))
def test_reports_that_a_hash_explains_are_taken_as_they_are(
    documents: int, num_shards: int, salt: int
) -> None:
    """However few the documents, the total is right if the missing shard's report is up to date."""
    sizes = [0] * num_shards
    for number in range(documents):
        sizes[shard_of(f"{salt}-{number}", num_shards)] += 1
    for missing in range(num_shards):
        outcomes = [Outcome.OK] * num_shards
        outcomes[missing] = Outcome.TIMED_OUT
        coverage = measure_coverage(outcomes, documents - sizes[missing], list(sizes))
        assert coverage.documents_total == documents


def test_nothing_known_is_nothing_covered() -> None:
    """When no shard has ever answered, the coverage is 0, not 1."""
    coverage = measure_coverage([Outcome.UNAVAILABLE] * 8, 0, [None] * 8)
    assert coverage.fraction == 0.0
    assert not coverage.is_full


def test_empty_collection_is_covered() -> None:
    """Of a collection without documents, an answer of all shards covers everything."""
    coverage = measure_coverage([Outcome.OK] * 8, 0, [0] * 8)
    assert coverage.fraction == 1.0
    assert coverage.is_full
