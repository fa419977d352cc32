"""The policy of a split: what it waits for, and that it never goes on too early."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.splitting.policy import (
    LATER_LAG_MS,
    LATER_MS,
    MOST_LAG_MS,
    MOST_SEALED_MS,
    PAUSE_MS,
    RANKING_MS,
    Seen,
    abandon,
    begin,
    fail,
    next_step,
)
from hedgerow.common.state.layout import ClusterLayout, Layout, SplitState

FIRST = ClusterLayout(0, Layout(0, 4))
READY = Seen(is_counted=True)

STATES = [one for one in SplitState if one is not SplitState.ABANDONING]


def few(of: Sequence[Any]) -> st.SearchStrategy[Sequence[Any]]:
    """None of them, or one or two; a single choice, where a set would take several."""
    none: Sequence[Any] = ()
    return st.just(none) | st.sampled_from([*combinations(of, 1), *combinations(of, 2)])


names = few(["a", "b"])
lags = st.sampled_from([0, 0, 0, 1, MOST_LAG_MS, MOST_LAG_MS + 1])
seen_things = st.builds(
    Seen,
    unserved=few(range(8)),
    uncopied=few(range(4)),
    copy_lag_ms=lags,
    apply_lag_ms=lags,
    is_counted=st.booleans(),
    other_gateways=names,
    gateways_in_source=names,
    source_workers=names,
    target_workers=names,
    pinned=names,
    full_disks=st.sampled_from([[], [], [], ["a"]]),
    failure=st.sampled_from(["", "", "", "no answer"]),
) | st.just(READY)


def go_on(layout: ClusterLayout, seen: Seen = READY, at_ms: int = 0) -> ClusterLayout:
    """The next version, which must come now."""
    step = next_step(layout, seen, at_ms)
    assert step.next is not None, step.waits_for
    return step.next


def state_of(layout: ClusterLayout) -> SplitState | None:
    """The state of the split."""
    return layout.split.state if layout.split is not None else None


def at(state: SplitState) -> ClusterLayout:
    """A split that got to a state at 0 ms."""
    layout = begin(FIRST, 0)
    while state_of(layout) is not state:
        layout = go_on(layout)
    return layout


def test_a_split_that_finds_everything_ready_doubles_the_shards() -> None:
    """It goes through its states one by one; writes and searches change over in this order."""
    layout = begin(FIRST, 10)
    states = [state_of(layout)]
    searched = [layout.searched.num_shards]
    written = [layout.current.num_shards if layout.takes_writes else 0]
    while layout.split is not None:
        layout = go_on(layout, at_ms=20)
        states.append(state_of(layout))
        searched.append(layout.searched.num_shards)
        written.append(layout.current.num_shards if layout.takes_writes else 0)
    assert states == [
        SplitState.COPYING,
        SplitState.SEALED,
        SplitState.SWITCHED,
        SplitState.RETIRING,
        SplitState.REMOVING,
        None,
    ]
    assert searched == [4, 4, 8, 8, 8, 8]
    assert written == [4, 0, 0, 8, 8, 8]
    assert layout.current == Layout(1, 8)
    assert layout.last is not None
    assert (layout.last.took_ms, layout.last.error) == (10, "")


@pytest.mark.parametrize(
    ("state", "seen", "words"),
    [
        (SplitState.COPYING, Seen(unserved=[3]), "replicas of new shard 3"),
        (SplitState.COPYING, Seen(uncopied=[0, 1]), "documents of shards 0, 1"),
        (SplitState.COPYING, Seen(copy_lag_ms=MOST_LAG_MS + 1), "catch up"),
        (SplitState.COPYING, Seen(apply_lag_ms=MOST_LAG_MS + 1), "replicas to apply"),
        (SplitState.COPYING, Seen(pinned=["w"]), "pinned"),
        (SplitState.COPYING, Seen(), "term statistics"),
        (SplitState.SEALED, Seen(copy_lag_ms=1, is_counted=True), "rest of the logs"),
        (SplitState.SEALED, Seen(apply_lag_ms=1, is_counted=True), "replicas to apply"),
        (SplitState.SEALED, Seen(), "term statistics"),
        (SplitState.SWITCHED, Seen(copy_lag_ms=1), "rest of the logs"),
        (SplitState.SWITCHED, Seen(other_gateways=["g"]), "gateways g to change over"),
        (SplitState.RETIRING, Seen(gateways_in_source=["g"]), "searches in gateways g"),
        (SplitState.REMOVING, Seen(source_workers=["w"]), "workers w to leave the old"),
        *((one, READY._replace(failure="no answer"), "Redis (no answer)") for one in STATES),
    ],
)
def test_what_is_missing_is_waited_for(state: SplitState, seen: Seen, words: str) -> None:
    """Each state waits for what the next one needs, and says so."""
    step = next_step(at(state), seen, 0)
    assert step.next is None
    assert words in step.waits_for


def test_copies_that_are_never_close_may_be_further_behind_later() -> None:
    """Otherwise, a split would never end on a machine that is always busy."""
    for lagging in (READY._replace(copy_lag_ms=3000), READY._replace(apply_lag_ms=3000)):
        assert next_step(at(SplitState.COPYING), lagging, LATER_MS - 1).next is None
        assert state_of(go_on(at(SplitState.COPYING), lagging, LATER_MS)) is SplitState.SEALED
    further = READY._replace(apply_lag_ms=LATER_LAG_MS + 1)
    assert next_step(at(SplitState.COPYING), further, 10 * LATER_MS).next is None


def test_statistics_are_waited_for_only_for_a_while() -> None:
    """Writes are not held back longer than it takes to count what was copied, usually."""
    sealed = at(SplitState.SEALED)
    assert next_step(sealed, Seen(), RANKING_MS - 1).next is None
    assert state_of(go_on(sealed, Seen(), RANKING_MS)) is SplitState.SWITCHED


@pytest.mark.parametrize("state", [SplitState.SEALED, SplitState.SWITCHED])
@pytest.mark.parametrize(
    ("stuck", "words"),
    [
        (Seen(copy_lag_ms=1, other_gateways=["g"]), "the rest of the logs"),
        (READY._replace(failure="no answer"), "no answer"),
    ],
)
def test_a_change_over_that_takes_too_long_falls_back(
    state: SplitState, stuck: Seen, words: str
) -> None:
    """Writes go on in the source; another attempt is made after a pause."""
    layout = at(state)
    assert next_step(layout, stuck, MOST_SEALED_MS - 1).next is None
    back = go_on(layout, stuck, MOST_SEALED_MS)
    assert (state_of(back), back.takes_writes, back.current) == (
        SplitState.COPYING,
        True,
        FIRST.current,
    )
    assert back.split is not None
    assert words in back.split.reason
    assert next_step(back, READY, MOST_SEALED_MS + PAUSE_MS - 1).next is None
    again = go_on(back, READY, MOST_SEALED_MS + PAUSE_MS)
    assert state_of(again) is SplitState.SEALED


@pytest.mark.parametrize("state", [SplitState.SEALED, SplitState.SWITCHED])
def test_writes_are_not_held_back_until_a_clock_that_was_set_back_has_caught_up(
    state: SplitState,
) -> None:
    """The change over falls back at once, and the next attempt needs no pause."""
    an_hour_ms = 3_600_000
    sealed = go_on(at(SplitState.COPYING), READY, an_hour_ms)
    layout = sealed if state is SplitState.SEALED else go_on(sealed, READY, an_hour_ms)
    assert next_step(layout, Seen(copy_lag_ms=1), an_hour_ms).next is None
    back = go_on(layout, Seen(copy_lag_ms=1), 0)
    assert (state_of(back), back.takes_writes) == (SplitState.COPYING, True)
    later = fail(layout, "why", an_hour_ms)
    assert later is not None
    lagging = READY._replace(copy_lag_ms=MOST_LAG_MS + 1)
    assert state_of(go_on(later, lagging, 0)) is SplitState.SEALED
    ended = go_on(go_on(sealed, READY, 0), READY, 0)  # it goes on if nothing is missing
    assert ended.last is not None
    assert (ended.last.held_ms, ended.last.took_ms) == (0, 0)


@pytest.mark.parametrize("state", [SplitState.SEALED, SplitState.SWITCHED])
def test_a_split_whose_copy_has_failed_lets_writes_go_on_before_it_is_given_up(
    state: SplitState,
) -> None:
    """Back to copying, and then to its end; not once the target takes writes."""
    back = fail(at(state), "why", 5)
    assert back is not None
    assert back.split is not None
    assert (back.split.state, back.split.reason) == (SplitState.COPYING, "why")
    given_up = fail(back, "why", 6)
    assert given_up is not None
    assert given_up.split is not None
    assert given_up.split.state is SplitState.ABANDONING
    for later in (SplitState.RETIRING, SplitState.REMOVING):
        assert fail(at(later), "why", 5) is None
    assert fail(FIRST, "why", 5) is None


def test_only_a_split_that_copies_can_be_abandoned() -> None:
    """It ends when the workers of the target are gone; the next one has another target."""
    assert abandon(FIRST, "why", 0) is None
    for state in SplitState:
        if state not in (SplitState.COPYING, SplitState.ABANDONING):
            assert abandon(at(state), "why", 0) is None
    given_up = abandon(at(SplitState.COPYING), "why", 5)
    assert given_up is not None
    assert next_step(given_up, Seen(target_workers=["w"]), 6).next is None
    ended = go_on(given_up, at_ms=7)
    assert (ended.current, ended.split) == (FIRST.current, None)
    assert ended.last is not None
    assert ended.last.error == "why"
    split = begin(ended, 8).split
    assert split is not None
    assert split.target.id == 2


def test_a_full_disk_ends_a_split_that_copies_and_no_other() -> None:
    """Its copies take room that writes need; what takes over has none to give back."""
    full = READY._replace(full_disks=["w1", "w0"])
    given_up = go_on(at(SplitState.COPYING), full)
    assert given_up.split is not None
    assert given_up.split.state is SplitState.ABANDONING
    assert given_up.split.reason == "the disk of w0, w1 was full"
    for state in (SplitState.SEALED, SplitState.SWITCHED, SplitState.RETIRING):
        assert next_step(at(state), full, 0) == next_step(at(state), READY, 0)


@settings(max_examples=300)
@given(st.lists(st.tuples(seen_things, st.integers(0, 4000)), max_size=60))
def test_whatever_is_found_nothing_is_lost(found: list[tuple[Seen, int]]) -> None:
    """What is searched and written is served; only a complete target takes over; holds are short.

    Whatever the driver finds, in whatever order and at whatever intervals.
    """
    layout, now_ms, held_since = begin(FIRST, 0), 0, None
    for seen, pause_ms in found:
        now_ms += pause_ms
        step = next_step(layout, seen, now_ms)
        assert (step.next is None) == bool(step.waits_for or layout.split is None)
        if (new := step.next) is None:
            assert held_since is None or now_ms - held_since < MOST_SEALED_MS
            continue
        assert new.version == layout.version + 1
        assert not seen.failure or state_of(new) is SplitState.COPYING  # it has fallen back
        assert new.searched in new.served
        assert new.current in new.served
        if new.searched != layout.searched and new.searched == Layout(1, 8):
            missing = (seen.unserved, seen.uncopied, seen.copy_lag_ms, seen.apply_lag_ms)
            assert not any(missing)
        if new.current != layout.current:
            assert not any((seen.other_gateways, seen.copy_lag_ms, seen.uncopied))
            assert not layout.takes_writes
        if state_of(new) is SplitState.REMOVING:
            assert not seen.gateways_in_source
        if new.takes_writes and held_since is not None:
            held_since = None
        elif not new.takes_writes and held_since is None:
            held_since = now_ms
        layout = new


def test_a_layout_of_a_newer_version_keeps_what_is_known() -> None:
    """Members that a newer version adds are ignored."""
    layout = at(SplitState.SWITCHED)
    stored = msgspec.json.decode(layout.to_json())
    stored["split"]["more"] = 1
    assert ClusterLayout.from_json(msgspec.json.encode({**stored, "more": 2})) == layout
