"""How callers share what may be in flight: the rule by itself, and in a model of shards."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import OverloadedError
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.gateway.access.caller import ANONYMOUS, Caller
from hedgerow.gateway.access.fair_share import (
    ACTIVE_S,
    CROWDED_S,
    MAX_PARTIES,
    MEAN_S,
    OVERDRAFT,
    Decision,
    FairShare,
    Mean,
    Usage,
)
from hedgerow.gateway.policies.admission import Admission
from hedgerow.gateway.policies.admission_permit import AdmissionPermit
from tests.unit.support.limit_rivals import CAPACITY, DEADLINE_S, NUM_SHARDS, noisy, steady
from tests.unit.support.overload_model import Model, Query, Shard, poisson

LIMIT = 20
LET_IN = (Decision.ADMITTED, Decision.OVER_LIMIT)
A, B, C = Caller("a"), Caller("b"), Caller("c")


def fill(shares: FairShare, caller: Caller, count: int, now: float) -> None:
    """Let a caller have queries in flight."""
    for _ in range(count):
        shares.usage_of(caller, now).begin(now)


@given(
    st.lists(st.tuples(st.floats(0.01, 3), st.integers(0, 50)), min_size=1, max_size=8),
    st.floats(0.01, 3),
)
def test_a_mean_is_the_weighted_mean_of_what_was(
    spans: list[tuple[float, int]], last_s: float
) -> None:
    """It is the integral of the value, with weights that fall by e in MEAN_S, from a start at 0."""
    mean, now = Mean(0.0, 0.0), 0.0
    edges: list[tuple[float, int]] = []
    for seconds, value in spans:
        now += seconds
        mean.set(value, now)
        edges.append((now, value))
    end = now + last_s
    expected = 0.0
    for (since, value), (until, _) in zip(edges, [*edges[1:], (end, 0)], strict=True):
        expected += value * (math.exp((until - end) / MEAN_S) - math.exp((since - end) / MEAN_S))
    assert mean.at(end) == pytest.approx(expected, abs=1e-9)


def test_who_asks_alone_may_have_all_and_no_more() -> None:
    """One caller is let in up to the limit, whatever it had in flight before."""
    shares = FairShare()
    for count in range(LIMIT):
        usage = shares.usage_of(A, 0.0)
        assert shares.decide(usage, count, LIMIT, LIMIT, 0.0) is Decision.ADMITTED
        usage.begin(0.0)
    assert shares.decide(shares.usage_of(A, 5.0), LIMIT, LIMIT, LIMIT, 5.0) is Decision.FULL


def test_a_newcomer_is_let_in_at_once_and_the_other_makes_way() -> None:
    """At the limit, a caller below its share goes over it; one above its share waits."""
    shares = FairShare()
    fill(shares, A, LIMIT, 0.0)
    b = shares.usage_of(B, 10.0)
    total = LIMIT
    while shares.decide(b, total, LIMIT, LIMIT, 10.0) is Decision.OVER_LIMIT:
        shares.begin(b, Decision.OVER_LIMIT, 10.0)
        total += 1
    assert total == LIMIT * (1 + OVERDRAFT)
    a = shares.usage_of(A, 10.0)
    assert shares.decide(a, total, LIMIT, LIMIT, 10.0) is Decision.OVER_SHARE
    assert shares.decide(a, LIMIT - 1, LIMIT, LIMIT, 10.0) is Decision.ADMITTED


def test_a_burst_of_a_modest_caller_counts_by_its_mean() -> None:
    """Above its share for an instant, it is let in; above it for seconds, it is not."""
    shares = FairShare()
    fill(shares, A, LIMIT, 0.0)
    fill(shares, B, LIMIT // 2 + 1, 10.0)
    shares.usage_of(A, 10.1)
    b = shares.usage_of(B, 10.1)
    assert shares.decide(b, LIMIT + 5, LIMIT, LIMIT, 10.1) is Decision.OVER_LIMIT
    shares.usage_of(A, 20.0)
    assert shares.decide(b, LIMIT + 5, LIMIT, LIMIT, 20.0) is Decision.OVER_SHARE


def test_a_limit_that_was_cut_does_not_bar_who_is_below_its_share() -> None:
    """What another had in flight before a cut, a multiple of the limit now, leaves room for it."""
    shares = FairShare()
    fill(shares, A, 5 * LIMIT, 0.0)
    b = shares.usage_of(B, 10.0)
    assert shares.decide(b, 5 * LIMIT, LIMIT, LIMIT, 10.0) is Decision.OVER_LIMIT


def let_in(shares: FairShare, usage: Usage, total: int, now: float) -> bool:
    """Let a query in, with this many in flight; returns whether it goes ahead."""
    decision = shares.decide(usage, total, LIMIT, LIMIT, now)
    assert decision in LET_IN
    goes_ahead = shares.goes_ahead(usage, now)
    shares.begin(usage, decision, now)
    return goes_ahead


def test_who_is_below_its_share_goes_ahead_while_the_limit_is_reached() -> None:
    """It does so over the limit, and for a while after it was reached; one above does not."""
    shares = FairShare()
    a, b = shares.usage_of(A, 0.0), shares.usage_of(B, 0.0)
    for count in range(LIMIT):
        assert not let_in(shares, a, count, 0.0)
    assert let_in(shares, b, LIMIT, 0.1)
    soon, later = 0.1 + 0.9 * CROWDED_S, 0.1 + CROWDED_S
    assert let_in(shares, b, LIMIT - 1, soon)
    assert not let_in(shares, a, LIMIT - 1, soon)
    assert not let_in(shares, b, LIMIT - 1, later)


def test_who_has_little_in_flight_but_asks_much_does_not_go_ahead() -> None:
    """Of those who were let in of late, it has its part, or nearly so: within 1.5 of its roots."""
    shares = FairShare()
    a, b = shares.usage_of(A, 0.0), shares.usage_of(B, 0.0)
    for count in range(LIMIT):
        shares.begin(a, shares.decide(a, count, LIMIT, LIMIT, 0.0), 0.0)
    ahead = 0
    for _ in range(2 * LIMIT):
        ahead += let_in(shares, b, LIMIT, 0.1)
        shares.end(b, Decision.OVER_LIMIT, 0.1)
    fair = [(LIMIT * math.exp(-0.1) + number) / 2 for number in range(2 * LIMIT)]
    assert ahead == sum(number < one - 1.5 * math.sqrt(one) for number, one in enumerate(fair))


def test_of_many_that_come_at_once_a_share_goes_ahead() -> None:
    """A caller that had little may send a burst; what exceeds its part of the limit queues."""
    shares = FairShare()
    a, b = shares.usage_of(A, 0.0), shares.usage_of(B, 0.0)
    for _ in range(4 * LIMIT):
        shares.begin(a, shares.decide(a, 0, LIMIT, LIMIT, 0.0), 0.0)
    shares.decide(a, LIMIT, LIMIT, LIMIT, 0.1)  # the limit is reached
    ahead = [let_in(shares, b, LIMIT - 1, 0.1) for _ in range(LIMIT)]
    assert ahead == [True] * (LIMIT // 2) + [False] * (LIMIT // 2)


def test_who_asks_no_more_has_no_share() -> None:
    """Once the others have nothing in flight and have not asked for a while, one has it all."""
    shares = FairShare()
    fill(shares, A, LIMIT, 0.0)
    shares.usage_of(B, 0.0)
    a = shares.usage_of(A, ACTIVE_S)
    assert shares.decide(a, LIMIT, LIMIT, LIMIT, ACTIVE_S) is Decision.OVER_SHARE
    a = shares.usage_of(A, ACTIVE_S + 0.5)
    assert shares.decide(a, LIMIT, LIMIT, LIMIT, ACTIVE_S + 0.5) is Decision.FULL


@given(
    share=st.floats(0.01, 1.0),
    limit=st.integers(1, 100),
    num_others=st.integers(0, 100),
)
def test_a_configured_share_is_never_passed(share: float, limit: int, num_others: int) -> None:
    """Whatever the others do, a caller has at most its share of the limit, and at least one."""
    shares = FairShare()
    fill(shares, A, num_others, 0.0)
    usage = shares.usage_of(Caller("b", share=share), 0.0)
    total = num_others
    while total < 300:
        decision = shares.decide(usage, total, limit, limit, 0.0)
        if decision not in LET_IN:
            break
        shares.begin(usage, decision, 0.0)
        total += 1
    assert share == 1 or usage.num_in_flight <= max(1, share * limit)
    if num_others < limit:
        assert usage.num_in_flight >= 1


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=300),
    st.integers(1, 30),
)
def test_never_more_than_the_overdraft(steps: list[tuple[str, bool]], limit: int) -> None:
    """However callers come and go, at most half of the limit is in flight beyond it."""
    shares, now = FairShare(), 0.0
    open_: list[tuple[str, Decision]] = []
    for name, starts in steps:
        now += 0.01
        usage = shares.usage_of(Caller(name), now)
        if starts:
            decision = shares.decide(usage, len(open_), limit, limit, now)
            if decision in LET_IN:
                shares.begin(usage, decision, now)
                open_.append((name, decision))
        elif ended := next((one for one in open_ if one[0] == name), None):
            open_.remove(ended)
            shares.end(usage, ended[1], now)
        assert len(open_) < limit * (1 + OVERDRAFT) + 1
    names = [name for name, _ in open_]
    for name in "abcd":
        assert shares.usage_of(Caller(name), now).num_in_flight == names.count(name)


@dataclass(eq=False)
class KeyedQuery(Query):
    """A query of a key."""

    caller: Caller = ANONYMOUS


class Keyed:
    """Admission, asked on behalf of each query's caller."""

    def __init__(self, *, knows_callers: bool = True) -> None:
        self.admission = Admission(NUM_SHARDS, AdmissionSettings())
        self._knows_callers = knows_callers

    def admit(self, query: Query, now: float) -> AdmissionPermit:
        """Let it in, or raise an OverloadedError."""
        assert isinstance(query, KeyedQuery)
        caller = query.caller if self._knows_callers else ANONYMOUS
        live, documents = [True] * NUM_SHARDS, [100] * NUM_SHARDS
        return self.admission.admit(
            query.priority, DEADLINE_S, 0.0, live, documents, now, caller=caller
        )


def goodput(
    loads: dict[Caller, float],
    admission: Keyed | None = None,
    until: float = 10.0,
    work_s: Callable[[random.Random, float], float] = steady,
) -> dict[str, float]:
    """Of each caller, answers a second in full and in time, at a load in times of the capacity."""

    def make(caller: Caller, now: float) -> Query:
        return KeyedQuery(now, DEADLINE_S, caller=caller)

    arrivals = heapq.merge(
        *(
            poisson(load * CAPACITY, until, seed, partial(make, caller))
            for seed, (caller, load) in enumerate(loads.items(), start=1)
        ),
        key=lambda query: query.arrived_at,
    )
    shards = [Shard(work_s, order=PullOrder()) for _ in range(NUM_SHARDS)]
    queries = Model(shards, (admission or Keyed()).admit).run(arrivals)
    found = dict.fromkeys((caller.name for caller in loads), 0)
    for query in queries:
        is_good = query.num_ok == NUM_SHARDS and query.ended_at <= query.expires_at
        if is_good and query.arrived_at >= 2.0:
            assert isinstance(query, KeyedQuery)
            found[query.caller.name] += 1
    return {name: count / (until - 2.0) for name, count in found.items()}


@pytest.mark.parametrize("load", [0.1, 0.25, 0.4])
def test_a_tenfold_overload_costs_another_key_under_5_percent(load: float) -> None:
    """A key within its fair share keeps 95 % of its goodput, and the cluster nine tenths of its."""
    alone = goodput({B: load, A: 1e-9})
    beside = goodput({B: load, A: 10.0})
    assert beside["b"] >= 0.95 * alone["b"]
    assert sum(beside.values()) >= 0.9 * CAPACITY


@pytest.mark.parametrize("load", [0.1, 0.2])
def test_it_costs_no_more_where_some_works_take_far_longer(load: float) -> None:
    """Behind the other's queries, a key would lose an eighth; ahead of them, it waits for one."""
    alone = goodput({B: load, A: 1e-9}, work_s=noisy)
    beside = goodput({B: load, A: 10.0}, work_s=noisy)
    assert beside["b"] >= 0.95 * alone["b"]


def test_what_goes_ahead_is_not_refused_for_the_queues() -> None:
    """They are too long for who must wait behind them, and a key below its share need not."""
    admission = Keyed().admission
    query = ("interactive", 0.3, 0.0, [True] * NUM_SHARDS, [1] * NUM_SHARDS)
    for _ in range(admission.limit.value):
        admission.admit(*query, 0.0, caller=A)  # type: ignore[arg-type] # a literal
    admission.forecast.starts_at[:] = [1.0] * NUM_SHARDS
    permit = admission.admit(*query, 0.1, caller=B)  # type: ignore[arg-type] # as above
    assert permit.goes_ahead


def test_without_keys_it_would_cost_most_of_it() -> None:
    """The same overload by callers that cannot be distinguished leaves less than half."""
    beside = goodput({B: 0.25, A: 10.0}, Keyed(knows_callers=False))
    assert beside["b"] < 0.5 * 0.25 * CAPACITY


def test_two_that_ask_too_much_have_the_same() -> None:
    """Ten times the capacity and five times have about as much of it each."""
    found = goodput({A: 10.0, B: 5.0})
    assert found["a"] == pytest.approx(found["b"], rel=0.25)
    assert sum(found.values()) >= 0.9 * CAPACITY


def test_shares_are_parted_by_weight() -> None:
    """A key with a share of a fifth gets a fifth of what one without gets, when both overload."""
    found = goodput({A: 10.0, Caller("b", share=0.2): 10.0})
    assert found["b"] == pytest.approx(found["a"] / 5, rel=0.35)


def test_what_is_left_goes_to_who_asks() -> None:
    """What a modest key does not use of its share, the other has."""
    found = goodput({B: 0.1, A: 10.0})
    assert found["a"] >= 0.75 * CAPACITY


def test_a_refusal_for_the_share_says_so() -> None:
    """The cause is `share`, and is counted for the key and for the cluster."""
    admission = Keyed().admission
    small = Caller("b", share=0.01)
    query = ("interactive", 0.3, 0.0, [True] * NUM_SHARDS, [1] * NUM_SHARDS, 0.0)
    permits = [admission.admit(*query, caller=small)]  # type: ignore[arg-type] # a literal
    with pytest.raises(OverloadedError, match="'b'") as refusal:
        permits.append(admission.admit(*query, caller=small))  # type: ignore[arg-type] # as above
    assert refusal.value.cause == "share"
    assert admission.shares.counts() == {"b": {"in_flight": 1, "refused": 1}}
    assert admission.snapshot(0.0).refused["share"] == {"interactive": 1, "batch": 0}
    assert not admission.limit.is_wanted  # there was room


def test_callers_without_a_key_are_told_apart_by_address() -> None:
    """At the limit, an address that asks for little is let in beside one that has filled it."""
    admission = Keyed().admission

    def ask(peer: str, now: float) -> None:
        live, documents = [True] * NUM_SHARDS, [1] * NUM_SHARDS
        admission.admit("interactive", 60.0, 0.0, live, documents, now, peer=peer)

    for _ in range(admission.limit.value):
        ask("10.0.0.1", 0.0)
    with pytest.raises(OverloadedError):
        ask("10.0.0.1", 10.0)
    ask("10.0.0.2", 10.0)
    with pytest.raises(OverloadedError, match="of your address") as refusal:
        ask("10.0.0.1", 10.0)
    assert refusal.value.cause == "share"
    assert admission.shares.counts() == {}  # which tells of keys


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    """Those that ask no more are forgotten; while all of them ask, new ones share one part."""
    shares = FairShare()
    for number in range(2 * MAX_PARTIES):
        shares.usage_of(ANONYMOUS, 0.0, f"10.0.0.{number}").begin(0.0)
    assert len(shares.usages) <= MAX_PARTIES + 1
    assert sum(usage.num_in_flight for usage in shares.usages.values()) == 2 * MAX_PARTIES
    for usage in shares.usages.values():
        while usage.num_in_flight:
            usage.end(1.0)
    late = shares.usage_of(ANONYMOUS, 10.0, "10.1.0.0")
    assert list(shares.usages.values()) == [late]


def test_revoked_keys_are_forgotten() -> None:
    """Of a thousand keys that came and went, nothing is kept; those in force keep their counts."""
    shares = FairShare()
    shares.refuse(shares.usage_of(A, 0.0))
    running = shares.usage_of(B, 0.0)
    shares.begin(running, Decision.ADMITTED, 0.0)
    for number in range(1000):
        shares.usage_of(Caller(f"k{number}"), 0.0)
        shares.keep_keys({"a"})
    shares.usage_of(ANONYMOUS, 0.0, "10.0.0.1")
    shares.end(running, Decision.ADMITTED, 1.0)  # as usual
    assert shares.counts() == {"a": {"in_flight": 0, "refused": 1}}
    assert len(shares.usages) == 2
