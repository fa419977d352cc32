"""What a worker does next, by what the placement assigns to it and what it has."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.placement.steps import (
    KEEP_S,
    MOST_PAUSE_S,
    Failure,
    Situation,
    Steps,
    after_failure,
    next_steps,
    served_elsewhere,
    turn_of,
)

NOTHING = Situation(
    held=frozenset(),
    stored=frozenset(),
    dropped={},
    taking_up=frozenset(),
    letting_go=frozenset(),
    failures={},
    started_at=0.0,
)


def steps(
    wanted: set[int],
    replaced: set[int],
    *,
    held: Iterable[int] = (),
    stored: Iterable[int] = (),
    dropped: Mapping[int, float] = MappingProxyType({}),
    safe: set[int] | None = None,
    taking_up: Iterable[int] = (),
    letting_go: Iterable[int] = (),
    failures: Mapping[int, Failure] = MappingProxyType({}),
    now: float = 10.0,
) -> Steps:
    """The next steps of a worker that has only what is named, and takes up two shards at once."""
    situation = Situation(
        held=frozenset(held),
        stored=frozenset(stored),
        dropped=dropped,
        taking_up=frozenset(taking_up),
        letting_go=frozenset(letting_go),
        failures=failures,
        started_at=0.0,
    )
    others = frozenset(replaced if safe is None else safe)
    return next_steps(frozenset(wanted), frozenset(replaced), others, situation, 2, now)


def test_what_is_on_the_disk_is_taken_up_first_and_no_more_than_allowed() -> None:
    """Then the others in order, as soon as fewer than the allowed number are being taken up."""
    assert steps({0, 1, 2, 3}, set(), stored={2}).take_up == [2, 0]
    assert steps({0, 1, 2, 3}, set(), held={2}, taking_up={0}).take_up == [1]
    assert steps({0, 1, 2, 3}, set(), taking_up={0, 2}).take_up == []


def test_workers_with_the_same_shards_begin_with_different_ones() -> None:
    """When each has taken up half of its shards, all shards have a replica."""
    placement = Placement(1, 8, 8, 0, (ShardPlacement(("a",), ("b",)),) * 8)
    first: list[int] = []
    for worker in "ab":
        turns = {shard: turn_of(placement, worker, shard) for shard in range(8)}
        first += next_steps(
            frozenset(range(8)), frozenset(), frozenset(), NOTHING, 4, 10.0, turns
        ).take_up
    assert first == [0, 2, 4, 6, 1, 3, 5, 7]


def test_a_shard_is_let_go_of_only_when_another_worker_serves_it() -> None:
    """Whatever the placement says."""
    assert steps({0}, set(), held={0, 1}, stored={0, 1}) == Steps([], [], [])
    assert steps({0}, {1}, held={0, 1}, stored={0, 1}) == Steps([], [1], [])
    assert steps({0}, {1}, held={0, 1}, stored={0, 1}, letting_go={1}) == Steps([], [], [])


def test_a_shard_that_is_assigned_stays_however_many_serve_it() -> None:
    """Replicas are no reason to let go."""
    assert steps({0, 1}, {0, 1}, held={0, 1}, stored={0, 1}) == Steps([], [], [])


def test_data_that_was_brought_along_is_kept_for_a_while() -> None:
    """It is removed after that, and at once if this worker has let go of it since its start."""

    def removed(replaced: set[int], now: float) -> list[int]:
        return steps(set(), replaced, stored={4, 5}, dropped={5: 1.0}, now=now).remove

    assert removed({4, 5}, KEEP_S - 1) == [5]
    assert removed({4, 5}, KEEP_S) == [4, 5]
    assert removed(set(), KEEP_S) == []


def test_data_is_kept_while_others_serve_fewer_replicas_than_there_should_be() -> None:
    """One of them may be lost while a shard moves; but not for ever, since the log waits for it."""

    def removed(replaced: set[int], safe: set[int], now: float) -> list[int]:
        dropped = {4: 100.0, 5: 100.0}
        return steps(set(), replaced, safe=safe, stored={4, 5}, dropped=dropped, now=now).remove

    assert removed({4, 5}, {5}, 100.0) == [5]
    assert removed({4, 5}, {5}, 100.0 + KEEP_S - 1) == [5]
    assert removed({4, 5}, set(), 100.0 + KEEP_S) == [4, 5]
    assert removed({4}, set(), 100.0 + KEEP_S) == [4]
    assert removed(set(), set(), 100.0 + KEEP_S) == []


def test_a_failed_move_is_tried_again_after_a_pause() -> None:
    """Until then the others go on."""
    failures = {0: Failure(1, 12.0, "no disk")}
    assert steps({0, 1}, set(), now=11.9, failures=failures).take_up == [1]
    assert steps({0, 1}, set(), now=12.0, failures=failures).take_up == [0, 1]


def test_pauses_double_up_to_a_limit() -> None:
    """The reason of the last failure is kept."""
    failure, pauses = None, []
    for attempt in range(8):
        failure = after_failure(failure, f"reason {attempt}", 100.0)
        pauses.append(failure.next_at - 100.0)
    assert pauses == [1, 2, 4, 8, 16, MOST_PAUSE_S, MOST_PAUSE_S, MOST_PAUSE_S]
    assert failure is not None
    assert (failure.num_failed, failure.reason) == (8, "reason 7")


@pytest.mark.parametrize(
    ("joins", "owners", "shards", "expected"),
    [
        (True, ("b",), [0], {0}),
        (True, (), [0], set()),  # it prepares, or is about to let go, too
        (True, ("b",), [], set()),  # it is not ready
        (False, (), [0], {0}),  # pinned
    ],
)
def test_owners_and_pinned_workers_that_serve_a_shard_replace_it(
    joins: bool, owners: tuple[str, ...], shards: list[int], expected: set[int]
) -> None:
    """A worker never replaces itself, nor does one that only prepares the shard."""
    placement = Placement(1, 1, 1, 0, (ShardPlacement(owners, ("b",)),))
    live = {
        name: Heartbeat(name, 1, "h", served, "1", 0, 0, joins=is_joining)
        for name, served, is_joining in (("a", [0], True), ("b", shards, joins))
    }
    assert set(served_elsewhere(placement, "a", live)) == expected


SHARDS = st.frozensets(st.integers(0, 5))


@given(SHARDS, SHARDS, SHARDS, SHARDS, SHARDS, st.integers(1, 3))
def test_steps_lead_to_the_placement_and_never_break_before_they_make(
    wanted: frozenset[int],
    replaced: frozenset[int],
    held: frozenset[int],
    stored: frozenset[int],
    dropped: frozenset[int],
    most_at_once: int,
) -> None:
    """If all steps succeed, it ends with what it should have, and what no other worker has."""
    needed = wanted | (held - replaced)
    stored |= held
    for _ in range(20):
        now = NOTHING._replace(held=held, stored=stored, dropped=dict.fromkeys(dropped, 0.0))
        one = next_steps(wanted, replaced, replaced, now, most_at_once, KEEP_S)
        assert len(one.take_up) <= most_at_once
        assert not set(one.let_go + one.remove) & (wanted | (held - replaced))
        assert not set(one.remove) & held
        held = (held | frozenset(one.take_up)) - frozenset(one.let_go)
        stored = (stored | held) - frozenset(one.let_go) - frozenset(one.remove)
        dropped |= frozenset(one.let_go)
        if one == Steps([], [], []):
            break
    assert held == needed
    assert stored >= held
    assert not (stored - held) & replaced
