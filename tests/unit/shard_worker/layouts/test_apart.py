"""When workers begin and end to serve the shards of a split."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.layouts.apart import Turn

BEGIN_EACH_S, END_EACH_S = 0.25, 0.5


def beats(*workers: tuple[str, str]) -> list[Heartbeat]:
    """The heartbeats of workers, each an id and a machine."""
    return [Heartbeat(worker, 1, host, [0], "1", 0, 0) for worker, host in workers]


def never_drawn() -> float:
    """Fail: nothing is left to chance."""
    raise AssertionError


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 1, 4, 2, 0)])
def test_the_workers_of_a_machine_take_turns(order: Sequence[int]) -> None:
    """No two do it within the time that one of them has, whatever each has heard of first."""
    live = beats(("w1", "a"), ("x", "b"), ("w0", "a"), ("w3", "a"), ("w2", "a"))
    heard = [live[at] for at in order]
    turns = [Turn.of(f"w{one}", heard, 4, never_drawn) for one in range(4)]
    assert [turn.begins_after_s for turn in turns] == [at * BEGIN_EACH_S for at in range(4)]
    assert [turn.ends_after_s for turn in turns] == [at * END_EACH_S for at in range(4)]


def test_workers_whose_machine_has_several_names_have_turns_at_random() -> None:
    """Each container has a host name of its own; the moments are spread evenly."""
    draw, live = random.Random(1).random, beats(("w0", "a"), ("w1", "b"), ("w2", "c"), ("w3", "d"))
    moments = sorted(Turn.of("w1", live, 4, draw).begins_after_s for _ in range(400))
    assert moments[0] >= 0.0
    assert moments[-1] <= 4 * BEGIN_EACH_S
    quarters = [sum(at // BEGIN_EACH_S == quarter for at in moments) for quarter in range(4)]
    assert min(quarters) > 70


def test_a_worker_without_a_heartbeat_has_a_turn_at_random() -> None:
    """It has just started, and others do not know of it."""
    live = beats(("w1", "a"), ("w2", "a"))
    assert Turn.of("w0", live, 3, lambda: 0.5).begins_after_s == 1.5 * BEGIN_EACH_S


@pytest.mark.parametrize("live", [beats(), beats(("w0", "a"), ("w1", "b"))])
def test_the_only_worker_of_a_machine_does_it_at_once(live: list[Heartbeat]) -> None:
    """There is no other worker whose searches it could delay."""
    turn = Turn.of("w0", live, 1, lambda: 1.0)
    assert (turn.begins_after_s, turn.ends_after_s) == (0.0, 0.0)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.sampled_from("ab"), st.integers(-(10**9), 10**9))),
    st.integers(1, 300),
    st.floats(0.0, 1.0),
)
def test_heartbeats_of_dead_workers_delay_no_split(
    taken_for_live: list[tuple[int, str, int]], on_host: int, drawn: float
) -> None:
    """After a clock was set back, they count as live ones: a turn is as long as with live ones."""
    live = [Heartbeat(f"w{one}", 1, host, [0], "1", at, at) for one, host, at in taken_for_live]
    turn = Turn.of("w0", live, on_host, lambda: drawn)
    assert 0.0 <= turn.begins_after_s <= 8 * BEGIN_EACH_S
    assert 0.0 <= turn.ends_after_s <= 8 * END_EACH_S


def test_a_split_does_not_wait_for_long_on_a_machine_with_many_workers() -> None:
    """Eight workers' time is the most: with a hundred, several do it at a time."""
    live = beats(*((f"w{number:02}", "a") for number in range(100)))
    last = Turn.of("w99", live, 100)
    assert 7 * BEGIN_EACH_S < last.begins_after_s < 8 * BEGIN_EACH_S
    assert 7 * END_EACH_S < last.ends_after_s < 8 * END_EACH_S
