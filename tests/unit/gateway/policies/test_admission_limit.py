"""The limit on queries in flight, in a model of shards with hard capacities."""

import itertools
from collections.abc import Sequence
from functools import cache

import pytest

from hedgerow.common.errors import OverloadedError
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.gateway.access.caller import ANONYMOUS
from hedgerow.gateway.policies.admission import PRIORITIES, Admission
from hedgerow.gateway.policies.admission_permit import AdmissionPermit
from tests.unit.support.limit_rivals import (
    CAPACITY,
    DEADLINE_S,
    NUM_SHARDS,
    SCENARIOS,
    Aimd,
    Gradient2,
    Ours,
    Unlimited,
    goodput,
    run,
    steady,
)
from tests.unit.support.overload_model import Model, Query, Shard, poisson


@pytest.mark.parametrize("scenario", ["2 times the capacity", "5 times the capacity"])
@pytest.mark.parametrize("initial_limit", [8, 256, 4096])
def test_goodput_stays_near_capacity(scenario: str, initial_limit: int) -> None:
    """Whatever it starts from, nine tenths of the capacity are answered in full and in time."""
    assert goodput(ours_in(scenario, initial_limit), scenario, 2.0, 10.0) >= 0.9 * CAPACITY


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("rival", [Unlimited, Aimd, Gradient2])
def test_no_worse_than_others(
    scenario: str, rival: type[Unlimited] | type[Aimd] | type[Gradient2]
) -> None:
    """In each scenario, ours has at least 0.85 times the goodput of any other limit."""
    ours = goodput(ours_in(scenario), scenario, 5.0, 10.0)
    assert ours >= 0.85 * goodput(run(rival(), scenario), scenario, 5.0, 10.0)


@cache
def ours_in(
    scenario: str, initial_limit: int = AdmissionSettings().initial_limit
) -> Sequence[Query]:
    """The queries under our own limit, which are the same each time."""
    return run(Ours(initial_limit=initial_limit), scenario)


def test_noise_does_not_make_it_collapse() -> None:
    """With tasks that now and then take twenty times as long, over half the capacity is used."""
    scenario = "3 times, noisy service times"
    assert goodput(ours_in(scenario), scenario, 2.0, 10.0) >= 0.5 * CAPACITY


def test_recovers_when_capacity_returns() -> None:
    """A second after the shards are as fast as before, goodput is what it was."""
    scenario = "0.8 times, capacity falls to a fifth"
    queries = run(Ours(), scenario, until=15.0)
    before = goodput(queries, scenario, 0.0, 5.0)
    assert goodput(queries, scenario, 11.0, 15.0) >= 0.95 * before


def test_a_hung_shard_refuses_nobody() -> None:
    """At half of the capacity, queries that take their whole deadline for one hung shard go in."""
    queries = ours_in("0.5 times, one shard hangs")
    assert not [query for query in queries if query.cause]
    assert max(query.ended_at - query.arrived_at for query in queries) == pytest.approx(DEADLINE_S)


def test_a_small_limit_makes_way_for_a_hung_shard() -> None:
    """A limit that is too small for queries that wait out their deadlines grows within 2 s."""
    queries = run(Ours(initial_limit=4), "0.5 times, one shard hangs")
    since = [query for query in queries if query.arrived_at >= 4.0]  # it hangs from 2 s on
    assert sum(query.cause != "" for query in since) <= 0.01 * len(since)


def test_slow_work_alone_lowers_nothing() -> None:
    """A system that is idle but slow, its works near or past the deadline, keeps its limit."""
    ours = Ours()
    shards = [
        Shard(lambda rng, _: DEADLINE_S * rng.uniform(0.8, 1.2), 16) for _ in range(NUM_SHARDS)
    ]
    Model(shards, ours.admit).run(poisson(10.0, 20.0, 1, lambda now: Query(now, DEADLINE_S)))
    assert ours.admission.limit.value == AdmissionSettings().initial_limit


def test_batch_is_shed_first() -> None:
    """With half of the load of priority batch, interactive queries lose nothing to it."""
    ours = Ours()
    shards = [Shard(steady) for _ in range(NUM_SHARDS)]
    number = iter(range(10**6))
    queries = Model(shards, ours.admit).run(
        poisson(
            CAPACITY * 1.4,
            20.0,
            1,
            lambda now: Query(now, DEADLINE_S, PRIORITIES[next(number) % 2]),
        )
    )
    late = [query for query in queries if query.arrived_at > 3.0]
    shares = {
        priority: sum(query.cause != "" for query in late if query.priority == priority)
        / sum(query.priority == priority for query in late)
        for priority in ("interactive", "batch")
    }
    assert shares["interactive"] < 0.1
    assert shares["batch"] > 0.4


def test_long_deadlines_do_not_outvote_short_ones() -> None:
    """Batch queries with deadlines of a minute do not let the queues grow past interactive ones."""
    ours = Ours()
    shards = [Shard(steady) for _ in range(NUM_SHARDS)]
    number = iter(range(10**6))

    def make(now: float) -> Query:
        if next(number) % 4:
            return Query(now, 60.0, "batch")
        return Query(now, DEADLINE_S)

    queries = Model(shards, ours.admit).run(poisson(CAPACITY * 3, 20.0, 1, make))
    asked = [
        query for query in queries if query.priority == "interactive" and query.arrived_at > 5.0
    ]
    answered = sum(query.num_ok == NUM_SHARDS for query in asked)
    assert answered >= 0.8 * len(asked)


def test_disabled_lets_everything_in() -> None:
    """Without admission control nothing is refused, and what is in flight is counted still."""
    ours = Ours(enabled=False, initial_limit=1, max_limit=4)
    queries = run(ours, "5 times the capacity", until=2.0)
    assert not [query for query in queries if query.cause]
    assert ours.admission.num_in_flight == 0


def test_retry_after_of_the_limit_is_a_query_s_time() -> None:
    """A query refused for the limit may come again when as many as are in flight have ended."""
    admission = Admission(1, AdmissionSettings(initial_limit=4, max_limit=4))
    for number in range(200):
        admission.admit("interactive", 1.0, 0.0, [True], [1], number).done(number + 0.25)
    for _ in range(4):
        admission.admit("interactive", 1.0, 0.0, [True], [1], 300.0)
    with pytest.raises(OverloadedError) as refusal:
        admission.admit("interactive", 1.0, 0.0, [True], [1], 300.0)
    assert refusal.value.retry_after_s == pytest.approx(0.25, rel=0.05)


def test_of_two_shards_one_may_hang() -> None:
    """Half of all parts that never come are no reason to let in less, when nothing else waits."""
    ours = Ours(2)
    shards = [Shard(steady), Shard(steady, hangs=lambda now: 1 <= now < 10.5)]
    queries = Model(shards, ours.admit).run(
        poisson(0.5 * CAPACITY, 10.0, 1, lambda now: Query(now, DEADLINE_S))
    )
    assert not [query for query in queries if query.cause]
    assert ours.admission.limit.value >= AdmissionSettings().initial_limit


def live_through(admission: Admission, start: float, share_late: float, num_windows: int) -> None:
    """Windows of 0.1 s, in each of which the limit is reached and this many parts are late."""
    for window in range(num_windows):
        now = start + 0.1 * window
        permits = [
            admission.admit("interactive", 0.3, 0.0, [True], [1], now)
            for _ in range(admission.limit.value)
        ]
        for number, permit in enumerate(permits):
            permit.on_queued(0, 1, now)
            is_late = number < share_late * len(permits)
            permit.on_reply(0, 0, 0, now + (0.2 if is_late else 0.01))
        for permit in permits:
            permit.done(now + 0.0999)


def test_growth_gets_faster() -> None:
    """A limit of 4 that is in the way, for nothing, is a thousand within three seconds."""
    admission = Admission(1, AdmissionSettings(initial_limit=4))
    live_through(admission, 1.0, 0.0, 30)
    assert admission.limit.value >= 1000


def test_between_calm_and_congested_it_stays() -> None:
    """While a fifth of the parts is late, the limit neither grows nor falls."""
    admission = Admission(1, AdmissionSettings(initial_limit=50))
    live_through(admission, 1.0, 0.2, 30)
    assert admission.limit.value == 50
    live_through(admission, 10.0, 0.5, 1)
    live_through(admission, 10.2, 0.0, 1)
    assert admission.limit.value < 50


def test_what_was_sent_before_a_cut_does_not_cut_again() -> None:
    """Of a hundred late queries that were all in flight at once, only the first cut the limit."""
    admission = Admission(1, AdmissionSettings(initial_limit=100))
    permits = [admission.admit("interactive", 0.3, 0.0, [True], [1], 1.0) for _ in range(100)]
    limits = []
    for number, permit in enumerate(permits):
        now = 1.2 + number / 100
        permit.on_queued(0, 1, now)
        permit.on_reply(0, 0, 0, now)
        permit.done(now)
        limits.append(admission.limit.value)
    assert limits[-1] < 100
    assert len(set(limits)) == 2


@pytest.mark.parametrize("load", [2.0, 5.0])
@pytest.mark.parametrize("num_gateways", [1, 3])
def test_workers_that_serve_the_newest_first_come_back(load: float, num_gateways: int) -> None:
    """Turned round amid an overload, workers soon serve the oldest first, and goodput is as before.

    Shards that serve the newest first do not agree on which: few answers are full. So it must end
    though the queues are never empty, being as long as the gateways' limits hold them.
    """
    gateways = itertools.cycle([Ours() for _ in range(num_gateways)])
    shards = [Shard(steady, order=PullOrder()) for _ in range(NUM_SHARDS)]
    model = Model(shards, lambda query, now: next(gateways).admit(query, now))

    def turn_round(now: float) -> None:
        for shard in shards:
            assert shard.order is not None
            for before_s in (1.0, 0.0):
                shard.order.on_oldest(0.9, 1, 0, now - before_s)
            assert shard.order.is_newest_first

    model.at(3.0, turn_round)
    arrivals = poisson(load * CAPACITY, 8.0, 1, lambda now: Query(now, DEADLINE_S))
    queries = [query for query in model.run(arrivals) if query.arrived_at >= 4.0]
    num_full = sum(query.num_ok == NUM_SHARDS for query in queries)
    num_partial = sum(not query.cause for query in queries) - num_full
    assert num_full >= 0.95 * CAPACITY * 4.0
    assert num_partial <= 0.05 * num_full


def full(**settings: float) -> Admission:
    """Admission with as many queries in flight as may be."""
    admission = Admission(2, AdmissionSettings(initial_limit=10, **settings))
    while admission.num_in_flight < 10:
        admission.admit("interactive", DEADLINE_S, 0.0, [True] * 2, [1] * 2, 0.0, peer="a")
    return admission


def test_what_is_refused_early_would_be_refused() -> None:
    """The refusal is the one that `admit` raises, counts as one, and says that room is wanted."""
    admission = full()
    refusal = admission.refusal_of("interactive", ANONYMOUS, "a", 0.0)
    with pytest.raises(OverloadedError) as raised:
        admission.admit("interactive", DEADLINE_S, 0.0, [True] * 2, [1] * 2, 0.0, peer="a")
    assert refusal is not None
    assert (str(refusal), refusal.cause) == (str(raised.value), raised.value.cause)
    assert sum(admission.snapshot(0.0).refused["limit"].values()) == 2
    assert admission.limit.is_wanted


def test_a_caller_below_its_share_is_not_refused_early() -> None:
    """Where `admit` would let another address in over the limit, there is no early refusal."""
    admission = full()
    assert admission.refusal_of("interactive", ANONYMOUS, "b", 0.0) is None
    admission.admit("interactive", DEADLINE_S, 0.0, [True] * 2, [1] * 2, 0.0, peer="b")


def test_batch_is_refused_early_from_its_share_on() -> None:
    """It is refused as by `admit`, where interactive queries are still admitted."""
    admission = Admission(2, AdmissionSettings(initial_limit=10, batch_share=0.5))
    for _ in range(5):
        admission.admit("interactive", DEADLINE_S, 0.0, [True] * 2, [1] * 2, 0.0)
    refusal = admission.refusal_of("batch", ANONYMOUS, "", 0.0)
    assert refusal is not None
    assert refusal.cause == "batch_share"
    assert admission.refusal_of("interactive", ANONYMOUS, "", 0.0) is None


def test_those_that_are_coming_count_as_in_flight() -> None:
    """Of a hundred that arrive in one turn, as many pass as `admit` lets in, over the limit too."""
    admission = Admission(2, AdmissionSettings(initial_limit=10))
    num_coming = 0
    for _ in range(100):
        refusal = admission.refusal_of("interactive", ANONYMOUS, "a", 0.0, num_coming)
        num_coming += refusal is None
    assert num_coming == 10
    full_one = full()
    num_coming = 0
    for _ in range(100):
        refusal = full_one.refusal_of("interactive", ANONYMOUS, "b", 0.0, num_coming)
        num_coming += refusal is None
    assert num_coming == 5  # half of the limit beyond it
    for _ in range(num_coming):
        full_one.admit("interactive", DEADLINE_S, 0.0, [True] * 2, [1] * 2, 0.0, peer="b")


def test_without_admission_control_nothing_is_refused_early() -> None:
    """However many are in flight."""
    assert full(enabled=False).refusal_of("interactive", ANONYMOUS, "a", 0.0) is None


def let_in(admission: Admission, number: int, now: float) -> list[AdmissionPermit]:
    """Admit this many queries with a deadline of 1 s."""
    return [
        admission.admit("interactive", 1.0, 0.0, [True], [1], now, peer="a") for _ in range(number)
    ]


def answer(permits: Sequence[AdmissionPermit], now: float) -> None:
    """The shard has answered all of these queries, on which it worked for no time."""
    for permit in permits:
        permit.on_queued(0, 1, now)
        permit.on_reply(0, 0, 0, now)
    for permit in permits:
        permit.done(now)


def test_it_grows_no_further_than_the_waits_allow() -> None:
    """Where parts waited two fifths of what makes them late, a quarter more may be in flight."""
    admission = Admission(1, AdmissionSettings(initial_limit=200, wait_share=0.5))
    others = let_in(admission, 184, 1.0)
    answer(let_in(admission, 16, 1.0), 1.2)  # when 192.5 were in flight, on average
    assert admission.limit.value == 240
    answer(others, 1.3)
    live_through(admission, 2.0, 0.0, 2)
    assert admission.limit.value > 240


def test_waits_are_of_what_was_in_flight_then() -> None:
    """With half of the limit in flight, a third of the longest wait leaves no room at the limit."""
    admission = Admission(1, AdmissionSettings(initial_limit=200, wait_share=0.5))
    let_in(admission, 84, 1.0)
    permits = let_in(admission, 16, 1.0)
    let_in(admission, 100, 1.01)  # the limit is reached when the others are answered
    answer(permits, 1.0 + 0.5 / 3)
    assert admission.limit.value == 200


def test_what_goes_ahead_says_nothing_of_the_queues() -> None:
    """Queries that have hardly waited, because they went ahead, let no others in."""
    admission = Admission(1, AdmissionSettings(initial_limit=100))
    for now, has_gone_ahead, grows in ((1.0, True, False), (2.0, False, True)):
        permits = let_in(admission, 100, now)
        for permit in permits:
            permit.goes_ahead = has_gone_ahead
        answer(permits, now + 0.11)
        assert (admission.limit.value > 100) is grows


def test_a_burst_after_a_pause_does_not_raise_the_limit() -> None:
    """Parts that are back at once say nothing of those that have come with them."""
    admission = Admission(1, AdmissionSettings(initial_limit=100))
    permits = [admission.admit("interactive", 0.3, 0.0, [True], [1], 1.0) for _ in range(100)]
    for permit in permits[:20]:
        permit.on_queued(0, 1, 1.0)
        permit.on_reply(0, 0, 0, 1.01)
        permit.done(1.01)
    assert admission.limit.value == 100


@pytest.mark.parametrize("load", [2.0, 4.0, 16.0])
def test_the_limit_does_not_overshoot(load: float) -> None:
    """From the first second on, all that is admitted is answered in half of its time."""
    num_servers, work_s = 2, 0.0018
    shards = [
        Shard(lambda rng, _: work_s * rng.uniform(0.5, 1.5), num_servers, order=PullOrder())
        for _ in range(2)
    ]
    capacity = num_servers / work_s
    queries = Model(shards, Ours(2).admit).run(
        poisson(load * capacity, 5.0, 1, lambda now: Query(now, DEADLINE_S))
    )
    admitted = [query for query in queries if not query.cause]
    times_s = sorted(query.ended_at - query.arrived_at for query in admitted)
    assert all(query.num_ok == len(shards) for query in admitted)
    assert times_s[int(0.99 * len(times_s))] < DEADLINE_S / 2
    assert len(admitted) > 0.95 * 5.0 * capacity
