"""Which end a worker pulls from, alone and in a model of one queue under load."""

import random
from collections import deque
from dataclasses import dataclass

import pytest

from hedgerow.common.wire.pull_order import (
    ENTER_SHARE,
    FIRST_PATIENCE_S,
    INTERVAL_S,
    LASTING_S,
    LONGEST_PATIENCE_S,
    MAX_DROPS,
    PullOrder,
)

DEADLINE_S = 0.3
WORK_S = 0.004


def newest_first() -> PullOrder:
    """An order that a standing queue has turned round, at 1 s."""
    order = PullOrder()
    for now in (0.0, 1.0):
        order.on_oldest(1.5, 1, 1, now)
    assert order.is_newest_first
    return order


def test_a_standing_queue_turns_the_order_round() -> None:
    """When for an interval each oldest had spent half of its time, the newest go first."""
    order = PullOrder()
    order.on_oldest(ENTER_SHARE, 1, 0, 0.0)
    order.on_oldest(0.9, 1, 0, 0.99 * INTERVAL_S)
    assert not order.is_newest_first
    order.on_oldest(1.2, 1, 1, INTERVAL_S)
    assert order.is_newest_first


@pytest.mark.parametrize("relief", ["a fresh one", "an empty queue"])
def test_a_burst_does_not(relief: str) -> None:
    """One request that has hardly waited, or room to spare, and the interval starts again."""
    order = PullOrder()
    order.on_oldest(0.9, 1, 0, 0.0)
    if relief == "a fresh one":
        order.on_oldest(0.9 * ENTER_SHARE, 1, 0, 0.05)
    else:
        order.on_short()
    order.on_oldest(0.9, 1, 0, INTERVAL_S)
    order.on_oldest(0.9, 1, 0, 1.9 * INTERVAL_S)
    assert not order.is_newest_first
    order.on_oldest(0.9, 1, 0, 2.0 * INTERVAL_S)
    assert order.is_newest_first


def turn_round(order: PullOrder, now: float) -> float:
    """Let what is popped be late until the newest go first; returns when."""
    while not order.is_newest_first:
        order.on_oldest(0.9, 1, 0, now)
        now += INTERVAL_S / 4
    return now


def wait_for_trial(order: PullOrder, now: float) -> float:
    """Let time pass, the queue full of old requests, until the oldest go first; returns when."""
    while order.is_newest_first:
        order.on_oldest(0.9, 1, 0, now)
        now += INTERVAL_S / 4
    return now


def test_empty_queues_have_no_order() -> None:
    """When nothing is left the oldest go first again, at once."""
    order = newest_first()
    order.on_short()
    assert not order.is_newest_first
    assert order.num_drops == 0
    assert order.num_switches == 2


def test_the_oldest_are_tried_however_old_they_are() -> None:
    """A queue whose far end only grows old is served oldest first again after a time.

    With as many in flight as the shard can just serve, it never empties and its end never is fresh.
    """
    order = PullOrder()
    turned_at = turn_round(order, 0.0)
    tried_at = wait_for_trial(order, turned_at)
    assert tried_at - turned_at == pytest.approx(FIRST_PATIENCE_S, abs=INTERVAL_S / 2)
    for number in range(100):
        order.on_oldest(0.9 * ENTER_SHARE, 1, 0, tried_at + number / 10)
    assert not order.is_newest_first


def test_trials_that_fail_get_rarer() -> None:
    """While the oldest are late, it takes twice as long each time until they are tried, to a cap.

    Once oldest first has lasted, or the queues were empty, it starts again.
    """
    order, now = PullOrder(), 0.0
    patiences = []
    for _ in range(7):
        turned_at = turn_round(order, now)
        now = wait_for_trial(order, turned_at)
        patiences.append(now - turned_at)
    expected = [min(FIRST_PATIENCE_S * 2**number, LONGEST_PATIENCE_S) for number in range(7)]
    assert patiences == pytest.approx(expected, abs=INTERVAL_S / 2)
    for relief in ("it lasts", "it is empty"):
        if relief == "it lasts":
            order.on_oldest(0.1, 1, 0, now)
            now += LASTING_S
        else:
            turn_round(order, now)
            order.on_short()
        turned_at = turn_round(order, now)
        now = wait_for_trial(order, turned_at)
        assert now - turned_at == pytest.approx(FIRST_PATIENCE_S, abs=INTERVAL_S / 2), relief


def test_drops_double_while_all_have_expired() -> None:
    """Pops from the left double up to a bound while they bring only the expired, then restart."""
    order = newest_first()
    seen = [order.num_drops]
    for number in range(12):
        order.on_oldest(1.5, order.num_drops, order.num_drops, 1.0 + number / 100)
        seen.append(order.num_drops)
    assert seen == [min(2**number, MAX_DROPS) for number in range(13)]
    order.on_oldest(1.5, MAX_DROPS, MAX_DROPS - 1, 1.2)
    assert order.num_drops == 1


@dataclass
class Run:
    """How a queue fared."""

    share_in_time: float  # of the capacity
    longest_queue: int
    num_switches: int


def serve(load: float, *, is_adaptive: bool, seconds: float = 20.0) -> Run:
    """Feed one queue with `load` times what the worker does, which wakes for each pull of four."""
    rng = random.Random(1)
    order = PullOrder()
    queue: deque[float] = deque()  # instants of sending; all have the same deadline
    room, now, due = 4, 0.0, 0.0
    num_in_time = longest = 0
    while now < seconds:
        while due <= now:
            queue.append(due)
            due += rng.expovariate(load / WORK_S)
        longest = max(longest, len(queue))
        work: list[float] = []
        if is_adaptive and order.is_newest_first:
            work = [queue.pop() for _ in range(min(room, len(queue)))]
            if not queue:
                order.on_short()
            oldest = [queue.popleft() for _ in range(min(order.num_drops, len(queue)))]
            live = [sent for sent in oldest if sent + DEADLINE_S > now]
            queue.extendleft(reversed(live))
        else:
            oldest = [queue.popleft() for _ in range(min(room, len(queue)))]
            work = live = [sent for sent in oldest if sent + DEADLINE_S > now]
            if len(oldest) < room:
                order.on_short()
        if oldest:
            spent_share = (now - oldest[0]) / DEADLINE_S
            order.on_oldest(spent_share, len(oldest), len(oldest) - len(live), now)
        for sent in work:
            now += WORK_S
            num_in_time += now <= sent + DEADLINE_S
        if not work:
            now += 2e-6 * len(oldest) if oldest else max(due - now, 1e-5)
    return Run(num_in_time * WORK_S / seconds, longest, order.num_switches)


def test_goodput_under_overload() -> None:
    """At 1.5 to 10 times its capacity a worker answers nine tenths of it in time.

    In arrival order, tasks that would have started at their deadline take all of it.
    """
    for load in (1.5, 3.0, 10.0):
        assert serve(load, is_adaptive=True).share_in_time > 0.9
    assert serve(3.0, is_adaptive=False).share_in_time < 0.8


def test_the_queue_stays_bounded() -> None:
    """What lies in the queue is what has arrived within little more than a deadline."""
    for load in (1.5, 3.0, 10.0):
        arrivals = load / WORK_S * DEADLINE_S
        assert serve(load, is_adaptive=True).longest_queue < 1.5 * arrivals + 100


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_no_overload_no_change(load: float) -> None:
    """Below its capacity a worker keeps the order of arrival."""
    assert serve(load, is_adaptive=True).num_switches == 0


def test_order_does_not_flap() -> None:
    """Under steady overload the order changes at most once a second."""
    for load in (1.5, 3.0):
        assert serve(load, is_adaptive=True).num_switches <= 20
