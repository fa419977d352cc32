"""The forecast against queues that are worked off one by one, every start time known."""

import heapq
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hedgerow.common.errors import OverloadedError
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.gateway.policies.admission import Admission
from hedgerow.gateway.policies.admission_permit import AdmissionPermit

NO_LIMIT = AdmissionSettings(initial_limit=10**6, min_limit=10**6, max_limit=10**6)


@dataclass
class Arrival:
    """A query, what a first-in, first-out queue would have made of it, and what admission did."""

    at: float
    deadline_s: float
    would_wait_s: float
    has_doomed_ahead: bool  # some that the last push found queued were to expire there
    retry_after_s: float | None = None


class Fifo:
    """One server, first in, first out; what has expired when its turn comes takes no time."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.free_at = 0.0
        self.queue: deque[tuple[float, bool]] = deque()  # start, and if it has expired by then
        self.num_doomed = 0  # of those in the queue
        self.had_doomed = False
        self.replies: list[tuple[float, int, AdmissionPermit, int, int]] = []

    def ask(self, now: float, deadline_s: float, work_s: float) -> Arrival:
        """A query arrives."""
        while self.replies and self.replies[0][0] <= now:
            at, _, permit, queue_us, work_us = heapq.heappop(self.replies)
            permit.on_reply(0, queue_us, work_us, at)
            permit.done(at)
        start = max(now, self.free_at)
        while self.queue and self.queue[0][0] <= now:
            self.num_doomed -= self.queue.popleft()[1]
        arrival = Arrival(now, deadline_s, start - now, self.had_doomed)
        try:
            permit = self.admission.admit("interactive", deadline_s, 0.0, [True], [1], now)
        except OverloadedError as error:
            arrival.retry_after_s = error.retry_after_s
            return arrival
        has_expired = start >= now + deadline_s
        self.queue.append((start, has_expired))
        self.num_doomed += has_expired
        self.had_doomed = self.num_doomed > 0
        permit.on_queued(0, len(self.queue), now)
        if not has_expired:
            self.free_at = start + work_s
            reply = (self.free_at, len(self.replies), permit, int((start - now) * 1e6))
            heapq.heappush(self.replies, (*reply, int(work_s * 1e6)))
        return arrival


def bursts(rng: random.Random, rate: float, seconds: float) -> Iterator[float]:
    """Arrival times: Poisson, with now and then many at once."""
    now = 0.0
    while (now := now + rng.expovariate(rate)) < seconds:
        yield from [now] * (rng.randint(5, 40) if rng.random() < 0.01 else 1)


def run(seed: int, work_s: float, load: float, deadline_works: float, mix: float) -> list[Arrival]:
    """Arrivals of this many tasks, at `load` times what the queue can do."""
    rng = random.Random(seed)
    queue = Fifo(Admission(1, NO_LIMIT))
    return [
        queue.ask(
            at,
            deadline_works * work_s * (mix if rng.random() < 0.3 else 1.0),
            work_s * rng.uniform(0.5, 1.5),
        )
        for at in bursts(rng, load / work_s, 400 * work_s)
    ]


@given(
    seed=st.integers(0, 2**32),
    work_s=st.sampled_from([0.0005, 0.002, 0.01, 0.1, 1.0]),
    load=st.sampled_from([0.3, 0.9, 1.5, 3.0, 6.0]),
    deadline_works=st.floats(15, 60),
    mix=st.sampled_from([1.0, 5.0]),
)
@hypothesis_settings(max_examples=50, deadline=None)
def test_never_refuses_what_would_be_answered_with_a_margin(
    seed: int, work_s: float, load: float, deadline_works: float, mix: float
) -> None:
    """No query is refused that the queue would have answered in half of its deadline.

    Unless some of those ahead expire unscored, which a length does not tell.
    """
    for arrival in run(seed, work_s, load, deadline_works, mix):
        is_in_time = arrival.would_wait_s + 1.5 * work_s <= arrival.deadline_s / 2
        if is_in_time and not arrival.has_doomed_ahead:
            assert arrival.retry_after_s is None


@given(
    seed=st.integers(0, 2**32),
    work_s=st.sampled_from([0.005, 0.02, 0.3]),
    load=st.sampled_from([2.0, 3.0, 6.0]),
    deadline_works=st.floats(15, 60),
)
@hypothesis_settings(max_examples=50, deadline=None)
def test_refuses_most_of_what_would_be_late(
    seed: int, work_s: float, load: float, deadline_works: float
) -> None:
    """Of the queries that would wait past their deadline, most are refused, once it has learnt."""
    arrivals = run(seed, work_s, load, deadline_works, mix=5.0)
    learnt = [one for one in arrivals if one.at > 2 * deadline_works * work_s]
    late = [one for one in learnt if one.would_wait_s > 1.1 * one.deadline_s]
    refused = sum(one.retry_after_s is not None for one in late)
    assert refused > 0.5 * len(late) or not late


def behind(admission: Admission, shard: int, wait_s: float, now: float) -> None:
    """Teach it the wait in a shard's queue, by a request that waited for that time."""
    for _ in range(50):
        permit = admission.admit("interactive", 60.0, 0.0, [True] * 4, [1] * 4, now)
        permit.on_queued(shard, 100, now - wait_s)
        permit.on_reply(shard, int(wait_s * 1e6), 0, now)
        permit.done(now)
    permit = admission.admit("interactive", 60.0, 0.0, [True] * 4, [1] * 4, now)
    permit.on_queued(shard, 100, now)
    permit.done(now)


@pytest.mark.parametrize(
    ("minimum_coverage", "is_refused"), [(0.0, False), (0.4, False), (0.6, True), (1.0, True)]
)
def test_minimum_coverage_decides(minimum_coverage: float, is_refused: bool) -> None:
    """With shards behind that hold over half of the documents, who demands half is refused."""
    admission = Admission(4, NO_LIMIT)
    behind(admission, 0, 2.0, now=10.0)
    behind(admission, 1, 2.0, now=10.0)
    documents = [30, None, 10, 40]  # the second counts as their average
    demand = (0.3, minimum_coverage, [True] * 4, documents)
    assert (50 + 1e-9) / (30 + 80 / 3 + 10 + 40) < 0.6  # what the others hold
    if is_refused:
        with pytest.raises(OverloadedError, match="behind") as refusal:
            admission.admit("batch", *demand, 10.0)
        assert refusal.value.cause == "backlog"
        assert admission.snapshot(10.0).refused["backlog"] == {"interactive": 0, "batch": 1}
    else:
        admission.admit("batch", *demand, 10.0)


def test_backlog_shrinks_with_time_and_retry_after_says_when() -> None:
    """Once Retry-After has passed with nothing pushed, the same query is let in; not before."""
    admission = Admission(1, NO_LIMIT)
    behind(admission, 0, 2.0, now=10.0)
    with pytest.raises(OverloadedError) as refusal:
        admission.admit("interactive", 0.3, 0.0, [True], [1], 10.0)
    wait_s = refusal.value.retry_after_s
    assert 1.7 < wait_s < 2.0  # 100 requests that took 2 s, less part of the deadline of 0.3 s
    with pytest.raises(OverloadedError):
        admission.admit("interactive", 0.3, 0.0, [True], [1], 10.0 + 0.99 * wait_s)
    admission.admit("interactive", 0.3, 0.0, [True], [1], 10.0 + 1.01 * wait_s)


def test_a_dead_shard_is_not_overload() -> None:
    """What dead shards keep from its minimum coverage is let in, for its answer to say so."""
    admission = Admission(4, NO_LIMIT)
    behind(admission, 0, 2.0, now=10.0)
    live = [True, True, False, False]
    admission.admit("interactive", 0.3, 0.9, live, [1] * 4, 10.0)
    with pytest.raises(OverloadedError):
        admission.admit("interactive", 0.3, 0.5, live, [1] * 4, 10.0)
    admission.admit("interactive", 0.3, 0.0, [False] * 4, [1] * 4, 10.0)


def test_a_shard_that_keeps_up_is_forgotten_to_have_been_behind() -> None:
    """Replies that did not wait undo what was learnt, so that a burst is not refused later."""
    admission = Admission(1, NO_LIMIT)
    behind(admission, 0, 2.0, now=10.0)
    for number in range(400):
        now = 20.0 + number / 100
        permit = admission.admit("interactive", 0.3, 0.0, [True], [1], now)
        permit.on_queued(0, 1, now)
        permit.on_reply(0, 200, 500, now)
        permit.done(now)
    permit = admission.admit("interactive", 0.3, 0.0, [True], [1], 30.0)
    permit.on_queued(0, 100, 30.0)
    admission.admit("interactive", 0.3, 0.0, [True], [1], 30.0)
