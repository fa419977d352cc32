"""What one caller's heavy queries do to a shard opens no breaker; a shard that hangs still does."""

import pytest

from hedgerow.common.outcome import Outcome
from hedgerow.common.query.cost import Cost
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.gateway.policies.breaker import State
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.guards.breakers import STALL_S, Breakers
from hedgerow.gateway.search.guards.heavy_work import LONGEST_SILENCE_S, HeavyQuery, HeavyWork
from hedgerow.gateway.search.plan import make_plan
from tests.unit.support.scripted import Script, reply_of

HEAVY = Cost(fuzzy_edits=16)
LIGHT = Cost(clauses=2)
COUNTS = [100_000]
WAITED_S = 0.3
TIMED_OUT = ShardResult(Outcome.TIMED_OUT, "", "", None, None, "", WAITED_S)
ANSWERED = ShardResult(Outcome.OK, "", "", None, reply_of(1, 0, Script()), "w", 0.01)


class OneShard:
    """The breaker of one shard, and the heavy queries that are sent to it."""

    def __init__(self) -> None:
        self.replied_at = [0.0]
        self.heavy = HeavyWork(self.replied_at, heavy_s=0.02, grace_s=0.25, now=0.0)
        self.breakers = Breakers(
            1, BreakerSettings(), lambda: 0.5, replied_at=self.replied_at, heavy=self.heavy
        )

    def begin(self, cost: Cost = HEAVY) -> HeavyQuery:
        """Send a query."""
        return self.heavy.begin((0,), is_heavy=self.heavy.is_heavy(cost, COUNTS))

    def miss(self, now: float) -> None:
        """A query misses its deadline at `now`."""
        plan = make_plan([True], self.breakers, now)
        self.breakers.finish(plan.shards, plan.permits, {0: TIMED_OUT}, now)

    def state(self, now: float) -> State:
        """The breaker's."""
        return self.breakers[0].state(now)


def test_time_outs_open_the_breaker_where_nothing_is_heavy() -> None:
    """Light queries explain no silence."""
    shard = OneShard()
    for number in range(5):
        query = shard.begin(LIGHT)
        shard.miss(1.0 + number / 10)
        query.end({0: TIMED_OUT}, 1.0 + number / 10)
    assert shard.state(1.5) is State.OPEN


@pytest.mark.parametrize("num_missed", [5, 50])
def test_heavy_queries_that_miss_their_deadline_open_no_breaker(num_missed: int) -> None:
    """Neither their own time-outs count, nor those of light queries behind them."""
    shard = OneShard()
    for number in range(num_missed):
        now = 1.0 + number * 0.6
        shard.replied_at[0] = now - 0.5  # before the query came
        query = shard.begin()
        shard.miss(now)
        shard.miss(now)
        query.end({0: TIMED_OUT}, now)
        shard.miss(now + 0.2)  # sent while the scorer ran on in its grace
    assert shard.state(now + 0.2) is State.CLOSED


def test_what_is_sent_after_the_grace_counts_again() -> None:
    """A scorer that ran on has been killed by then."""
    shard = OneShard()
    shard.replied_at[0] = 0.9
    shard.begin().end({0: TIMED_OUT}, 1.0)
    for number in range(5):
        shard.miss(1.0 + 0.25 + WAITED_S + 0.01 + number / 100)
    assert shard.state(1.7) is State.OPEN


def test_a_heavy_query_that_was_answered_explains_nothing_afterwards() -> None:
    """Its scorer is free again."""
    shard = OneShard()
    shard.begin().end({0: ANSWERED}, 1.0)
    shard.replied_at[0] = 1.0
    for number in range(5):
        shard.miss(1.0 + STALL_S + 0.01 + number / 100)
    assert shard.state(1.7) is State.OPEN


def test_a_shard_that_hangs_opens_its_breaker_under_heavy_queries_too() -> None:
    """Silence that no query explains any more counts, whatever was sent."""
    shard = OneShard()
    shard.replied_at[0] = 1.0
    now = 1.0
    while now < 1.0 + LONGEST_SILENCE_S - WAITED_S:
        now += WAITED_S
        query = shard.begin()
        shard.miss(now)
        query.end({0: TIMED_OUT}, now)
    assert shard.state(now) is State.CLOSED
    for _ in range(6):
        now += WAITED_S
        query = shard.begin()
        shard.miss(now)
        query.end({0: TIMED_OUT}, now)
    assert shard.state(now) is State.OPEN


def test_a_gateway_that_has_heard_of_no_shard_yet_waits_as_long() -> None:
    """Heavy queries may be the first that it sends."""
    shard = OneShard()
    for number in range(10):
        query = shard.begin()
        shard.miss(number * WAITED_S)
        query.end({0: TIMED_OUT}, number * WAITED_S)
    assert shard.state(10 * WAITED_S) is State.CLOSED


def test_whether_a_query_is_heavy_depends_on_the_documents() -> None:
    """The same query is heavy on a large shard and light on a small one; of no count, light."""
    for counts, is_heavy in (([1_000], False), ([None], False), ([], False), ([None, 10**6], True)):
        work = HeavyWork([1.0], heavy_s=0.02, grace_s=0.25, now=0.0)
        assert work.is_heavy(HEAVY, counts) is is_heavy
