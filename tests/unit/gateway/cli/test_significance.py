"""The paired randomisation test, against its definition."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.gateway.cli.significance import holm, p_value

DIFFERENCES = st.lists(st.sampled_from([-0.5, -0.25, 0.0, 0.125, 0.25, 1.0]), max_size=7)


def defined(differences: list[float]) -> float:
    """The share of all sign assignments with a sum as far from 0, by the definition."""
    observed = abs(sum(differences))
    signs = list(product((1, -1), repeat=len(differences)))
    sums = [abs(sum(a * b for a, b in zip(differences, one, strict=True))) for one in signs]
    return sum(one >= observed - 1e-9 for one in sums) / len(signs)


@given(DIFFERENCES)
def test_with_few_queries_the_p_value_is_exact(differences: list[float]) -> None:
    """It is the share of all assignments; queries without a difference do not matter."""
    assert p_value(differences) == pytest.approx(defined(differences))


def test_with_many_queries_it_is_close_to_the_normal_approximation() -> None:
    """Of 100 differences of the same size, 60 positive: a two-sided sign test has 0.057."""
    assert p_value([0.1] * 60 + [-0.1] * 40) == pytest.approx(0.0569, abs=0.006)
    assert p_value([0.1] * 60 + [-0.1] * 40) == p_value([0.1] * 60 + [-0.1] * 40)


def test_equal_rankings_do_not_differ() -> None:
    """Then there is nothing to be significant."""
    assert p_value([]) == p_value([0.0] * 100) == 1.0
    assert p_value([0.2] * 100) < 0.001


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), max_size=6))
@settings(max_examples=50)
def test_holm_never_lowers_a_p_value_and_keeps_their_order(values: dict[str, float]) -> None:
    """The smallest is multiplied by the number of comparisons."""
    adjusted = holm(values)
    assert list(adjusted) == list(values)
    for name, value in values.items():
        assert value <= adjusted[name] <= 1
    by_value = sorted(values, key=values.__getitem__)
    assert [adjusted[name] for name in by_value] == sorted(adjusted.values())
    if values:
        assert adjusted[by_value[0]] == pytest.approx(min(1, values[by_value[0]] * len(values)))
