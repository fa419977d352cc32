"""One breaker per shard, and what the outcome of a shard's part says about the shard."""

from collections.abc import Callable, Iterator

from common.config import BreakerSettings
from common.outcome import Outcome
from gateway.breaker import Breaker, CallOutcome, Permit, Transition
from gateway.gather import NO_TIME
from gateway.latency import ShardLatency

# `Failure.code`s that are the query's own doing: the shard is well, and other queries must not
# lose it. A scorer that died ("crashed") stays the shard's failure, since memory may have run out;
# a query that kills them on purpose is quarantined after a few.
QUERY_FAULT_CODES = frozenset({"quarantined", "ranking", "bad_request"})

_SUCCESS = CallOutcome.SUCCESS
_FAILURE = CallOutcome.FAILURE
_IGNORED = CallOutcome.IGNORED
_OK = Outcome.OK
_TIMED_OUT = Outcome.TIMED_OUT
_FAILED = Outcome.FAILED


class Breakers:
    """The breakers of all shards, in one gateway.

    | outcome | counts as |
    |---|---|
    | ok | success; slow when it took longer than the slow-call threshold |
    | timed_out | failure; ignored when it was given less than the shard needs at its median |
    | failed | failure; ignored when the query is at fault (`QUERY_FAULT_CODES`) |
    | any other | ignored: the shard was not asked, or not waited for |

    Attributes:
        latency: how long shards need, learnt from what `finish` is told.
    """

    __slots__ = ("_breakers", "latency")

    def __init__(
        self,
        num_shards: int,
        settings: BreakerSettings,
        rng: Callable[[], float],
        on_transition: Callable[[int, Transition], None] | None = None,
    ) -> None:
        """Start with every breaker closed.

        Args:
            num_shards: shards in the cluster.
            settings: the same for every shard.
            rng: uniform over [0, 1), for the jitter of waits.
            on_transition: told the shard and the change of state, after each.
        """
        self.latency = ShardLatency(num_shards)
        self._breakers = tuple(
            Breaker(settings, rng, _of_shard(shard, on_transition)) for shard in range(num_shards)
        )

    def __len__(self) -> int:
        return len(self._breakers)

    def __getitem__(self, shard: int) -> Breaker:
        return self._breakers[shard]

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._breakers)

    def finish(
        self,
        shard: int,
        permit: Permit,
        outcome: Outcome,
        now: float,
        duration_s: float,
        failure_code: str = "",
    ) -> None:
        """A shard's part of a query has ended; tells its breaker, and learns its latency.

        Args:
            shard: the shard that was asked.
            permit: its breaker's.
            outcome: how its part ended.
            now: the event loop's time, in s.
            duration_s: from the scatter to the end; of a `timed_out`, the time that it was given.
            failure_code: `Settled.code`: the `Failure.code` when the outcome is `failed`.
        """
        if outcome is _OK:
            self.latency.record(shard, duration_s)
            permit.done(_SUCCESS, now, duration_s)
        else:
            permit.done(self._blame(shard, outcome, duration_s, failure_code), now, duration_s)

    def _blame(
        self, shard: int, outcome: Outcome, duration_s: float, failure_code: str
    ) -> CallOutcome:
        if outcome is _TIMED_OUT:
            is_short = failure_code == NO_TIME or duration_s < self.latency.needed_s(shard)
            return _IGNORED if is_short else _FAILURE
        if outcome is _FAILED and failure_code not in QUERY_FAULT_CODES:
            return _FAILURE
        return _IGNORED


def _of_shard(
    shard: int, told: Callable[[int, Transition], None] | None
) -> Callable[[Transition], None] | None:
    if told is None:
        return None
    return lambda transition: told(shard, transition)
