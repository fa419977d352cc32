"""When a hedge is sent: the budget against a model, the delay, and the looks of one query."""

import math
import random
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.settings.tail import HedgingSettings
from hedgerow.gateway.policies.hedging import (
    HedgeBudget,
    HedgeCounts,
    HedgeEnd,
    HedgePolicy,
    HedgeSchedule,
)
from hedgerow.gateway.policies.quantiles import RELATIVE_ERROR


@dataclass
class Known:
    """What is known about eight shards' replicas."""

    num_live: list[int] = field(default_factory=lambda: [2] * 8)
    died_at: list[float] = field(default_factory=lambda: [-math.inf] * 8)


TWO = Known()


def learnt(took_s: float = 0.02, num_shards: int = 4, **settings: float) -> HedgePolicy:
    """A policy that has seen every shard answer after just that time."""
    policy = HedgePolicy(HedgingSettings.model_validate(settings), num_shards)
    for shard in range(num_shards):
        for _ in range(64):
            policy.record(shard, took_s, 0.0)
    return policy


ratios = st.integers(0, 1000).map(lambda thousandths: Fraction(thousandths, 1000))


@given(
    ratios,
    st.integers(1, 20),
    st.integers(1, 60),
    st.lists(st.integers(-30, 60), max_size=100),
)
def test_the_budget_is_the_bucket_of_the_model(
    ratio: Fraction, burst: int, num_shards: int, events: list[int]
) -> None:
    """Hedges are granted just when an exact bucket has a token, and stay within their bound."""
    budget = HedgeBudget(float(ratio), burst, num_shards)
    most = max(Fraction(burst), num_shards * ratio) if ratio else Fraction(0)
    tokens = most
    first_copies = hedges = refused = 0
    for num in events:
        if num >= 0:  # that number of first copies
            budget.add(num)
            first_copies += num
            tokens = min(tokens + num * ratio, most)
        for _ in range(-num):  # that number of attempts at a hedge
            assert budget.has_token == (tokens >= 1)
            is_granted = budget.take()
            assert is_granted == (tokens >= 1)
            tokens -= is_granted
            hedges += is_granted
            refused += not is_granted
        assert hedges <= ratio * first_copies + most
    assert budget.num_refused == refused


def test_a_query_over_many_shards_has_its_share_whatever_the_burst() -> None:
    """Each query over 2,000 shards earns 100 hedges at 5 %, and all of them may be sent for it."""
    policy = HedgePolicy(HedgingSettings(max_extra_load=0.05, burst=10), 2000)
    for _ in range(3):
        policy.first_look(2000, 0.0, 1.0)
        assert sum(policy.budget.take() for _ in range(200)) == 100


def test_off_sends_nothing() -> None:
    """Without extra load there is no delay, no look and no token, not even at first."""
    policy = learnt(max_extra_load=0.0)
    assert policy.delay_s(0, 0.0) is None
    assert policy.first_look(8, 0.0, 1.0) == math.inf
    assert not policy.budget.take()


def test_the_delay_is_the_percentile() -> None:
    """A shard's delay is the percentile of its own reply times, and never below the floor."""
    rng = random.Random(8)
    settings = HedgingSettings(percentile=90.0, min_delay_ms=2.0)
    policy = HedgePolicy(settings, 3)
    samples = [rng.lognormvariate(-4, 0.5) for _ in range(2000)]
    for sample in samples:
        policy.record(0, sample, 0.0)
        policy.record(1, 0.000_2, 0.0)
    delay_s = policy.delay_s(0, 5.0)
    assert delay_s == pytest.approx(sorted(samples)[1800], rel=3 * RELATIVE_ERROR)
    assert policy.median_s(0) == pytest.approx(sorted(samples)[1000], rel=2 * RELATIVE_ERROR)
    assert policy.delay_s(1, 5.0) == 0.002
    assert policy.delay_s(2, 5.0) is None
    assert policy.first_look(3, 1.0, 2.0) == 1.002


def test_nothing_is_hedged_before_enough_is_known() -> None:
    """Below the minimum of calls a shard has no delay; soon after it, it has.

    Where all replies take alike, it is twice their median.
    """
    policy = HedgePolicy(HedgingSettings(minimum_number_of_calls=50), 1)
    for _ in range(49):
        policy.record(0, 0.01, 0.0)
    assert policy.delay_s(0, 1.9) is None
    policy.record(0, 0.01, 1.9)
    assert policy.delay_s(0, 3.8) == pytest.approx(0.02, rel=RELATIVE_ERROR)


def test_a_pause_forgets() -> None:
    """What was learnt longer ago than the window is not used, though nothing came since."""
    policy = learnt()
    assert policy.delay_s(0, 1.0) is not None
    assert policy.delay_s(0, 100.0) is None


@pytest.mark.parametrize("true_ms", [4.0, 20.0, 80.0])
def test_hedges_do_not_cut_off_what_is_learnt(true_ms: float) -> None:
    """With every slow copy given up soon after its hedge, the delay stays the true percentile.

    It also finds it when it has changed meanwhile, up or down.
    """
    rng = random.Random(17)
    policy = HedgePolicy(HedgingSettings(min_delay_ms=1.0), 1)
    now = 0.0

    def load(mean_ms: float) -> None:
        nonlocal now
        for _ in range(40_000):
            now += 0.002
            takes_s = rng.expovariate(1000 / mean_ms)
            delay_s = policy.delay_s(0, now)
            policy.budget.add(1)
            if delay_s is not None and takes_s > delay_s and policy.budget.take():
                hedge_s = delay_s + rng.expovariate(1000 / mean_ms)
                if hedge_s < takes_s:
                    policy.give_up(0, hedge_s, now)
                    continue
            policy.record(0, takes_s, now)

    load(20.0)
    load(true_ms)
    # -ln(1 - 0.95) means is an exponential's percentile.
    assert policy.delay_s(0, now) == pytest.approx(2.9957 * true_ms / 1000, rel=0.1)


def test_the_walk_of_a_hedge() -> None:
    """A pending shard is due at its delay and not before, is asked about once, and is allowed."""
    policy = learnt(0.02)
    delay_s = policy.delay_s(1, 0.0)
    assert delay_s is not None
    assert policy.first_look(3, 1.0, 2.0) == pytest.approx(1 + delay_s)
    schedule = HedgeSchedule(policy, 1.0, 2.0)
    early = schedule.look([1, 2], TWO, 1.0)
    assert early.due == []
    assert early.next_at == pytest.approx(1 + delay_s)
    assert schedule.look([1, 2], TWO, 1 + delay_s) == ([1, 2], None)
    assert schedule.look([1, 2], TWO, 1.5) == ([], None)
    assert schedule.allow(1, TWO, 1.5)
    assert schedule.look([1], TWO, 1.6) == ([], None)


def test_a_backed_up_shard_is_looked_at_ever_more_seldom() -> None:
    """While the message stays queued nothing is sent, and the looks double their distance."""
    policy = learnt(0.02)
    schedule = HedgeSchedule(policy, 0.0, 10.0)
    now, looks = 0.0, []
    while (look := schedule.look([0], TWO, now)).due or look.next_at is not None:
        if look.due:
            looks.append(now)
            schedule.on_queued(0, now)
            again = schedule.next_look(0)
            if again is None:
                break
            now = again
        else:
            assert look.next_at is not None
            now = look.next_at
    assert 5 < len(looks) < 12
    assert all(b >= 2 * a for a, b in pairwise(looks))
    assert policy.budget.take()  # none was spent


@pytest.mark.parametrize(("num_live", "is_due"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_hedge_needs_a_second_replica(num_live: int, is_due: bool) -> None:
    """With fewer than two live replicas a shard is not due, but is looked at again."""
    schedule = HedgeSchedule(learnt(), 0.0, 10.0)
    look = schedule.look([0], Known([num_live]), 1.0)
    assert bool(look.due) is is_due
    assert (look.next_at is None) is is_due


def test_no_hedge_that_could_not_win() -> None:
    """When less time is left than the shard's median takes, nothing is due, now or later."""
    schedule = HedgeSchedule(learnt(0.1), 0.0, 0.19)
    assert schedule.look([0], TWO, 0.11) == ([], None)
    assert not schedule.allow(0, TWO, 0.11)
    in_time = HedgeSchedule(learnt(0.1), 0.0, 0.35)
    assert in_time.look([0], TWO, 0.21).due == [0]


def test_a_spent_budget_stops_hedges_until_it_is_filled() -> None:
    """Without a token nothing is due, and once first copies have filled the bucket, it is."""
    policy = learnt(burst=1)
    assert policy.budget.take()
    schedule = HedgeSchedule(policy, 0.0, 10.0)
    look = schedule.look([0, 1], TWO, 1.0)
    assert look.due == []
    assert look.next_at is not None
    policy.budget.add(20)
    look = schedule.look([0, 1], TWO, look.next_at)
    assert look.due == [0, 1]
    assert [schedule.allow(shard, TWO, 3.0) for shard in look.due] == [True, False]
    again_at = schedule.next_look(1)
    assert again_at == 6.0
    policy.budget.add(20)
    assert schedule.look([0, 1], TWO, again_at) == ([1], None)
    assert schedule.allow(1, TWO, again_at)


def test_a_token_that_comes_back_is_found_soon() -> None:
    """While none is left, a shard is looked at again whenever its wait has grown by half."""
    policy = learnt(0.02, burst=1)
    assert policy.budget.take()
    schedule = HedgeSchedule(policy, 0.0, 10.0)
    now, looks = 0.02, []
    while (look := schedule.look([0], TWO, now)).next_at is not None:
        assert look.due == []
        now = look.next_at
        looks.append(now)
    assert all(1.5 * a == pytest.approx(b) for a, b in pairwise(looks[1:]))
    assert len(looks) < 20
    assert policy.budget.num_refused >= len(looks) - 1


@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 3)), st.floats(0, 0.5), st.booleans()),
        max_size=30,
    )
)
def test_at_most_one_hedge_a_shard(
    events: list[tuple[set[int], float, bool]],
) -> None:
    """Whatever is found at the looks, no shard of a query is hedged twice, nor too soon or late."""
    policy = learnt(0.02, max_extra_load=1.0, burst=100)
    schedule = HedgeSchedule(policy, 0.0, 2.0)
    now, hedged = 0.0, []
    for pending, step, is_queued in events:
        now += step
        look = schedule.look(sorted(pending), TWO, now)
        assert set(look.due) <= pending
        assert look.next_at is None or look.next_at > now
        for shard in look.due:
            assert 0.02 * (1 - RELATIVE_ERROR) <= now < 2.0
            if is_queued:
                schedule.on_queued(shard, now)
            elif schedule.allow(shard, TWO, now):
                hedged.append(shard)
    assert len(hedged) == len(set(hedged))


def dead(at: float, num_live: int = 1) -> Known:
    """A replica of each shard was found dead then."""
    return Known([num_live] * 8, [at] * 8)


def test_a_death_makes_a_shard_due_again_once() -> None:
    """After its hedge too, with one replica left and the budget spent; and once for each death."""
    policy = learnt(burst=1)
    schedule = HedgeSchedule(policy, 1.0, 11.0)
    assert schedule.look([0], TWO, 1.1).due == [0]
    assert schedule.allow(0, TWO, 1.1)
    assert not policy.budget.has_token
    at = schedule.next_look(0)
    assert at is not None
    assert schedule.look([0], TWO, at).due == []
    for died_at in (1.3, 2.5):
        at = max(died_at + 0.1, schedule.next_look(0) or 0)
        assert schedule.look([0], dead(died_at), at).due == [0]
        assert schedule.allow(0, dead(died_at), at)
        at = schedule.next_look(0)
        assert at is not None
        assert schedule.look([0], dead(died_at), at) == ([], schedule.next_look(0))
    assert policy.budget.num_refused == 0


@pytest.mark.parametrize(("died_at", "is_due"), [(0.9, False), (1.1, True)])
def test_only_who_died_after_the_request_was_sent_has_lost_it(died_at: float, is_due: bool) -> None:
    """What was sent to a shard that had lost a replica before is with the others."""
    schedule = HedgeSchedule(learnt(), 1.0, 11.0)
    assert schedule.look([0], dead(died_at), 1.2).due == [0] * is_due


def test_a_death_is_noticed_while_nothing_is_known_of_the_shard() -> None:
    """A quarter of the time to the deadline is waited; without a death nothing is due then."""
    policy = HedgePolicy(HedgingSettings(), 8)
    assert policy.first_look(8, 1.0, 3.0) == 1.5
    schedule = HedgeSchedule(policy, 1.0, 3.0)
    assert schedule.look([0, 1], TWO, 1.4) == ([], 1.5)
    assert schedule.look([0, 1], TWO, 1.5) == ([], 2.0)
    assert schedule.look([0, 1], dead(1.7), 2.0) == ([0, 1], None)
    assert schedule.allow(0, dead(1.7), 2.0)


def test_counts_add_up() -> None:
    """Each end is counted under its own name, and what is sent by itself."""
    counts = HedgeCounts().plus_sent(4)
    for end in HedgeEnd:
        counts = counts.plus_end(end)
    assert counts == (4, 1, 1, 1)
