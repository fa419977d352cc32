"""Which queries are learnt from."""

import random

import pytest

from hedgerow.gateway.search.sampling import Sampler


def taken(sampler: Sampler, per_s: float, start: float, seconds: float) -> list[int]:
    """The numbers of the queries that are taken at a steady rate."""
    return [
        number for number in range(int(per_s * seconds)) if sampler.takes(start + number / per_s)
    ]


@pytest.mark.parametrize("per_s", [0.3, 10, 100])
def test_all_are_taken_while_they_are_few(per_s: float) -> None:
    """Below the target, no query is left out."""
    sampler = Sampler(200, random.Random(1).random)
    assert len(taken(sampler, per_s, 0.0, 30)) == int(per_s * 30)


@pytest.mark.parametrize("per_s", [400, 1000, 7000])
def test_the_target_is_kept(per_s: float) -> None:
    """Above the target, about as many a second are taken as it says, once a second has passed."""
    sampler = Sampler(200, random.Random(2).random)
    taken(sampler, per_s, 0.0, 2)
    assert len(taken(sampler, per_s, 2.0, 10)) == pytest.approx(2000, rel=0.2)


def test_a_burst_is_not_taken_whole() -> None:
    """A sudden burst within one second costs a few times the target at most."""
    sampler = Sampler(100, random.Random(3).random)
    taken(sampler, 50, 0.0, 5)
    assert len(taken(sampler, 50_000, 5.0, 1)) < 1500


def test_no_period_is_preferred() -> None:
    """Of queries that come in rounds of eight, each place in the round is taken as often."""
    sampler = Sampler(100, random.Random(4).random)
    places = [0] * 8
    for number in taken(sampler, 800, 0.0, 100):
        places[number % 8] += 1
    assert max(places) < 1.2 * min(places)
