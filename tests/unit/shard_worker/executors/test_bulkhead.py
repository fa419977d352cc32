"""How much of a lane each profile may hold, and whose turn is next."""

import math
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.executors.bulkhead import OURS, Bulkhead
from hedgerow.shard_worker.executors.fair_queue import FairQueue

PROFILES = ("", "a", "b", "c")
profiles = st.sampled_from(PROFILES)


@pytest.mark.parametrize(
    ("capacity", "share", "most"),
    [(1, 0.5, 1), (2, 0.5, 1), (4, 0.5, 2), (8, 0.5, 4), (10, 0.7, 7), (4, 1.0, 3), (4, 0.01, 1)],
)
def test_a_share_is_rounded_down_to_one_at_least_and_never_all(
    capacity: int, share: float, most: int
) -> None:
    """A profile's share of several places is at least one of them and leaves at least one."""
    assert Bulkhead(capacity, share, {}).most("a") == most


def test_a_share_of_its_own_counts_for_its_profile_alone() -> None:
    """The others have the lane's; what is no user's code may have everything."""
    bulkhead = Bulkhead(8, 0.5, {"a": 0.25})
    assert [bulkhead.most(name) for name in ("a", "b", OURS)] == [2, 4, 8]


@given(
    st.integers(2, 9),
    st.floats(0.01, 1.0),
    st.lists(st.tuples(profiles.filter(bool), st.booleans())),
)
def test_whatever_one_profile_does_there_is_a_place_for_another(
    capacity: int, share: float, steps: list[tuple[str, bool]]
) -> None:
    """A profile that takes all it may and gives nothing back leaves a place to the others."""
    bulkhead = Bulkhead(capacity, share, {})
    held: Counter[str] = Counter()
    for profile, is_start in steps:
        if is_start and bulkhead.may_take(profile) and held.total() < capacity:
            bulkhead.take(profile)
            held[profile] += 1
        elif not is_start and held[profile]:
            bulkhead.give_back(profile)
            held[profile] -= 1
        assert bulkhead.held(profile) == held[profile]
        most = max(1, math.floor(capacity * share + 1e-9))
        assert held[profile] <= min(most, capacity - 1)
    while bulkhead.may_take("a"):
        bulkhead.take("a")
    assert bulkhead.held("a") < capacity
    assert bulkhead.may_take(OURS)
    assert bulkhead.may_take("d")


def test_the_load_names_the_profiles_and_what_was_refused() -> None:
    """It names each profile that has ever held a place, and no code that is not a user's."""
    bulkhead = Bulkhead(4, 0.5, {})
    for profile in ("b", "a", OURS):
        bulkhead.take(profile)
    bulkhead.give_back("b")
    bulkhead.refuse("a")
    assert bulkhead.load() == {
        "a": {"most": 2, "held": 1, "refused": 1},
        "b": {"most": 2, "held": 0, "refused": 0},
    }


@given(st.lists(st.tuples(profiles, st.sampled_from(("put", "back", "pop", "remove")))))
def test_each_profile_waits_in_its_own_order(steps: list[tuple[str, str]]) -> None:
    """The queue holds what a queue for each profile would, first in, first out."""
    queue: FairQueue[int] = FairQueue()
    model: dict[str, deque[int]] = {name: deque() for name in PROFILES}
    for number, (profile, step) in enumerate(steps):
        waiting = model[profile]
        if step == "put":
            queue.append(profile, number)
            waiting.append(number)
        elif step == "back":
            queue.put_back(profile, number)
            waiting.appendleft(number)
        elif waiting and step == "pop":
            assert queue.pop(profile) == waiting.popleft()
        elif waiting:
            queue.remove(profile, waiting[-1])
            waiting.pop()
        assert queue.first(profile) == (waiting[0] if waiting else None)
        assert queue.count(profile) == len(waiting)
        assert len(queue) == sum(map(len, model.values()))
        assert sorted(queue) == sorted(one for every in model.values() for one in every)
        assert set(queue.profiles()) == {name for name, every in model.items() if every}
    kept = [(name, one) for name, every in model.items() for one in every if one % 2]
    queue.replace(kept)
    assert sorted(queue.take_all()) == sorted(one for _, one in kept)
    assert (len(queue), queue.profiles()) == (0, [])


@given(st.lists(profiles, min_size=1), st.sets(profiles))
def test_turns_go_round_among_those_that_may(waiting: list[str], barred: set[str]) -> None:
    """No profile that may take a place is overtaken twice by the same other one."""
    queue: FairQueue[int] = FairQueue()
    for number, profile in enumerate(waiting):
        queue.append(profile, number)
    served: list[str] = []
    while (turn := queue.next_profile(lambda name: name not in barred)) is not None:
        others = set(queue.profiles()) - barred - {turn}
        queue.pop(turn)
        queue.end_turn(turn)
        if turn in served:
            since_its_last = served[len(served) - served[::-1].index(turn) :]
            assert others <= set(since_its_last)
        served.append(turn)
    assert Counter(served) == Counter(name for name in waiting if name not in barred)
    assert set(queue.profiles()) == set(waiting) & barred
