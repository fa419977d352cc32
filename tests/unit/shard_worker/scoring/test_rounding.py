"""Scores are rounded to five digits, and a tie has all that are rounded alike."""

from hypothesis import example, given
from hypothesis import strategies as st

from hedgerow.shard_worker.scoring.rounding import all_rounded, rounded, tie_of

SCORES = st.floats(0, 2.0**100, width=32)
ACROSS = st.floats(4, 30, width=32)  # a power of ten, as scores of a search often are


@given(SCORES)
@example(0.0)
@example(1e-45)
@example(9.99996)
@example(123456.0)
@example(0.5)
@example(1.00005)
@example(98765.5)
@example(2.5e-8)
def test_scores_have_five_digits(score: float) -> None:
    """Any score of single precision comes out as formatting it to five digits has it."""
    assert rounded(score) == float(f"{score:.5g}")


@given(st.lists(SCORES) | st.lists(st.floats(1, 9.5, width=32)) | st.lists(ACROSS))
@example([1e38, 1e37])
@example([2e-45, 1e-45])
@example([10.0, 9.999996])
@example([12345.6, 100000.0])
def test_scores_are_rounded_together_as_each_alone(scores: list[float]) -> None:
    """Scores in descending order come out the same, whether or not they are of one size."""
    scores.sort(reverse=True)
    assert all_rounded(scores) == [rounded(score) for score in scores]


@given(SCORES, st.floats(-2e-5, 2e-5))
@example(99999.6, -1e-6)
@example(9.9999997e-06, 8.356972296057817e-06)
@example(1.0, -8e-6)
def test_a_tie_has_what_is_rounded_alike(score: float, change: float) -> None:
    """What is shown alike is in the tie, and hardly anything else."""
    other = score * (1 + change)
    tie = tie_of(score)
    if rounded(other) == rounded(score):
        assert tie.least <= other <= tie.most
    elif rounded(other * (1 + 3e-6)) != rounded(score) != rounded(other * (1 - 3e-6)):
        assert not tie.least <= other <= tie.most


@given(SCORES)
def test_a_tie_has_its_score_and_what_differs_by_the_order_of_a_sum(score: float) -> None:
    """A sum of single precision that is made in another order is in the tie nevertheless."""
    tie = tie_of(score)
    for other in (score, score * (1 - 5e-7), score * (1 + 5e-7)):
        assert tie.least <= other <= tie.most
