"""Callers that ask as much as each other, in a model of an overloaded cluster."""

from functools import cache
from typing import NamedTuple

import pytest

from tests.unit.support.closed_callers import CAPACITY, DEADLINE_S, ClosedModel

_NUM_SEEDS = 2
_SINCE, _UNTIL = 1.0, 3.0


class Settled(NamedTuple):
    """What became of the queries of a run after its first second.

    Attributes:
        num_admitted: those that were let in.
        num_partial: those of them that some shard did not answer.
        num_good: whole answers in time.
    """

    num_admitted: int
    num_partial: int
    num_good: int


@cache
def settled(num_callers: int, num_addresses: int, seed: int, *, are_patient: bool) -> Settled:
    """Run a model of some callers."""
    model = ClosedModel(
        num_callers, num_addresses, are_patient=are_patient, until=_UNTIL, seed=seed
    )
    queries = [query for query in model.run_callers() if query.arrived_at >= _SINCE]
    admitted = [query for query in queries if not query.cause]
    whole = [query for query in admitted if query.num_ok == len(model.shards)]
    num_good = sum(query.ended_at - query.arrived_at <= DEADLINE_S for query in whole)
    return Settled(len(admitted), len(admitted) - len(whole), num_good)


@pytest.mark.parametrize("are_patient", [True, False])
@pytest.mark.parametrize("num_addresses", [1, 3, 8])
@pytest.mark.parametrize("times", [4, 16])
def test_callers_that_ask_alike_do_not_push_each_other_back(
    times: int, num_addresses: int, are_patient: bool
) -> None:
    """Of equal callers at several addresses none goes ahead so often that others' time runs out."""
    runs = [
        settled(32 * times, num_addresses, seed, are_patient=are_patient)
        for seed in range(_NUM_SEEDS)
    ]
    num_admitted = sum(run.num_admitted for run in runs)
    assert num_admitted > 0.6 * CAPACITY * _NUM_SEEDS * (_UNTIL - _SINCE)  # the machine is slower
    assert sum(run.num_partial for run in runs) <= 0.01 * num_admitted


@pytest.mark.parametrize("capacity", [1000.0, 2700.0])
def test_callers_that_come_back_together_do_not_drive_the_limit_up(capacity: float) -> None:
    """Between the returns of callers that were refused, waits are short; that lets no more in."""
    num_admitted = num_slow = 0
    for seed in range(1, 4):
        model = ClosedModel(512, 8, are_patient=True, until=6.0, seed=seed, capacity=capacity)
        queries = [query for query in model.run_callers() if query.arrived_at >= 2.0]
        admitted = [query for query in queries if not query.cause]
        num_admitted += len(admitted)
        num_slow += sum(query.ended_at - query.arrived_at > DEADLINE_S / 2 for query in admitted)
    assert num_slow <= 0.025 * num_admitted


def goodput(num_callers: int, *, are_patient: bool) -> float:
    """Whole answers in time, a second."""
    run = settled(num_callers, 8, 1, are_patient=are_patient)
    return run.num_good / (_UNTIL - _SINCE)


@pytest.mark.parametrize("are_patient", [True, False])
@pytest.mark.parametrize("times", [2, 4, 16])
def test_goodput_does_not_fall_with_more_callers(times: int, are_patient: bool) -> None:
    """While callers that were refused wait, others keep the shards busy; none is late for it."""
    peak = goodput(32, are_patient=True)
    assert goodput(32 * times, are_patient=are_patient) >= 0.97 * peak
