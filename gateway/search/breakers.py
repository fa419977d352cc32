"""One breaker per shard, and what the outcome of a shard's part says about the shard."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from hedgerow.common.errors import BadQueryError, ProfileBusyError, QuarantinedError, RankingError
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.gateway.policies.breaker import Breaker, CallOutcome, Permit, Transition
from hedgerow.gateway.policies.concurrency_limit import LATE_SHARE
from hedgerow.gateway.policies.latency import ShardLatency
from hedgerow.gateway.policies.pressure import Pressure
from hedgerow.gateway.policies.shard_result import NO_TIME, ShardResult
from hedgerow.gateway.search.heavy_work import HeavyWork

# `Failure.code`s that are the query's own doing: the shard is well, and other queries must not
# lose it. A scorer that died ("crashed") stays the shard's failure, since memory may have run out;
# a query that kills them on purpose is quarantined after a few.
QUERY_FAULT_CODES = frozenset(
    {QuarantinedError.code, RankingError.code, BadQueryError.code, ProfileBusyError.code}
)

# The last 64 samples are kept of each shard; under load as many come within some milliseconds, and
# more of them say no more.
SAMPLE_INTERVAL_S = 0.001

# A timeout that gave the shard less than `_TIGHT` times its median is excused if the shard has
# replied to any query within the last `_HEARD_S`.
_TIGHT = 4.0
_HEARD_S = 1.0
# So is one that gave less than this, in s: a shard that answers most queries in 2 ms is not to
# blame for one that takes it ten times as long.
_TIGHT_S = 0.05
# In an overload a worker waits for its cores, too. One that replies to nothing for this time hangs.
CROWDED_SILENCE_S = 1.0
# Time after a refusal: callers that wait as they were asked to come back after a second.
CROWDED_S = 2.0

_SUCCESS = CallOutcome.SUCCESS
_FAILURE = CallOutcome.FAILURE
_IGNORED = CallOutcome.IGNORED
_OK = Outcome.OK
_TIMED_OUT = Outcome.TIMED_OUT
_FAILED = Outcome.FAILED


class PassingPermits:
    """One permit of each of several breakers, all of which let every call through.

    A permit is made when it is needed, for a call that has not simply been answered in time: eight
    of them cost more than all else in a query's plan.
    """

    __slots__ = ("_breakers", "_generations")

    def __init__(self, breakers: Sequence[Breaker], generations: list[int]) -> None:
        self._breakers = breakers
        self._generations = generations

    def __iter__(self) -> Iterator[Permit]:
        return map(Permit, self._breakers, self._generations)


class Breakers:
    """The breakers of all shards, in one gateway.

    | outcome | counts as |
    |---|---|
    | ok | success; slow when it took longer than the slow-call threshold |
    | timed_out | failure; ignored when it had less time than the shard's median, or than four |
    | | times that while the shard replies to others; for overload; and while heavy queries hold |
    | | the shard (`HeavyWork`) |
    | failed | failure; ignored when the query is at fault (`QUERY_FAULT_CODES`) |
    | any other | ignored: the shard was not asked, or not waited for |

    Overload is for admission control to mend, which lets in less. Breakers make it worse: if most
    shards are behind, most open at once, and what is let in is answered by the few that are left.
    So where a query misses many shards that have replied to other queries meanwhile, those are not
    to blame. One that hangs replies to nothing, and one that is slow by itself is not many. While
    admission control refuses queries for its limit, a single one is not to blame either, if it has
    replied within `CROWDED_SILENCE_S`: the shards of one worker fall behind before those of the
    others do, and of the queries that wait for them, enough to open a breaker end in the same
    moment.

    Attributes:
        shards: all of them, ascending.
        latency: how long shards need, learnt from the calls of `finish`.
    """

    __slots__ = (
        "_breakers",
        "_heavy",
        "_pressure",
        "_replied_at",
        "_sampled_at",
        "_slow_s",
        "latency",
        "shards",
    )

    def __init__(
        self,
        num_shards: int,
        settings: BreakerSettings,
        rng: Callable[[], float],
        on_transition: Callable[[int, Transition], None] | None = None,
        replied_at: Sequence[float] | None = None,
        heavy: HeavyWork | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        """Start with every breaker closed.

        Args:
            num_shards: shards in the cluster.
            settings: the same for every shard.
            rng: uniform over [0, 1), for the jitter of waits.
            on_transition: told the shard and the change of state, after each.
            replied_at: for each shard, when it last replied to anything; kept by the caller
                up to date; with None no time-out is taken for overload.
            heavy: the heavy queries, for which timeouts are excused.
            pressure: when admission control last refused a query for its limit.
        """
        self.shards = tuple(range(num_shards))
        self.latency = ShardLatency(num_shards)
        self._sampled_at = -math.inf
        self._slow_s = settings.slow_call_duration_threshold_ms / 1000
        self._replied_at = replied_at
        self._heavy = heavy
        self._pressure = pressure
        self._breakers = tuple(
            Breaker(settings, rng, _of_shard(shard, on_transition)) for shard in range(num_shards)
        )

    def __len__(self) -> int:
        return len(self._breakers)

    def __getitem__(self, shard: int) -> Breaker:
        return self._breakers[shard]

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._breakers)

    def passing(self) -> "PassingPermits | None":
        """Permits for a query to all shards, if every breaker lets every call through."""
        generations = [breaker.generation for breaker in self._breakers if breaker.passes]
        if len(generations) < len(self._breakers):
            return None
        return PassingPermits(self._breakers, generations)

    def finish(
        self,
        shards: Sequence[int],
        permits: Iterable[Permit],
        results: Mapping[int, ShardResult],
        now: float,
    ) -> None:
        """A query's parts have ended; tells their breakers, and learns how long shards need.

        Args:
            shards: those that were asked.
            permits: their breakers', in the same order.
            results: shard → how its part ended.
            now: the event loop's time, in s.
        """
        latency = excused = None
        if now - self._sampled_at >= SAMPLE_INTERVAL_S:
            self._sampled_at, latency = now, self.latency
        elif type(permits) is PassingPermits and self._is_steady(results):
            return
        for shard, permit in zip(shards, permits, strict=True):
            part = results[shard]
            if part.outcome is _OK:
                if latency is not None:
                    latency.record(shard, part.took_s)
                permit.done(_SUCCESS, now, part.took_s)
            else:
                if excused is None:
                    excused = self._overloaded(results, now)
                outcome = _IGNORED if shard in excused else self._blame(shard, part, now)
                permit.done(outcome, now, part.took_s)

    def _overloaded(self, results: Mapping[int, ShardResult], now: float) -> Collection[int]:
        """The shards that a query misses for overload."""
        replied_at = self._replied_at
        if replied_at is None:
            return ()
        late = {shard: part.took_s for shard, part in results.items() if part.outcome is _TIMED_OUT}
        refused_at = -math.inf if self._pressure is None else self._pressure.refused_at
        if late and refused_at >= now - max(CROWDED_S, *late.values()):
            return [
                shard
                for shard, took_s in late.items()
                if replied_at[shard] > now - max(took_s, CROWDED_SILENCE_S)
            ]
        behind = [shard for shard, took_s in late.items() if replied_at[shard] > now - took_s]
        # As many as make admission control cut its limit; of two or three, one is not many.
        least = max(LATE_SHARE * len(results), min(1, len(results) - 1))
        return behind if len(behind) > least else ()

    def _is_steady(self, results: Mapping[int, ShardResult]) -> bool:
        """Whether these parts would change nothing: all is well, and has been for a while."""
        slow_s = self._slow_s
        for part in results.values():
            if part.outcome is not _OK or part.took_s > slow_s:
                return False
        return False not in [breaker.is_steady for breaker in self._breakers]

    def _blame(self, shard: int, part: ShardResult, now: float) -> CallOutcome:
        if part.outcome is _TIMED_OUT:
            if self._heavy is not None and self._heavy.holds(shard, now - part.took_s, now):
                return _IGNORED
            is_short = part.code == NO_TIME or self._is_too_short(shard, part.took_s, now)
            return _IGNORED if is_short else _FAILURE
        if part.outcome is _FAILED and part.code not in QUERY_FAULT_CODES:
            return _FAILURE
        return _IGNORED

    def _is_too_short(self, shard: int, took_s: float, now: float) -> bool:
        """Whether the time that a query gave a shard says more of the query than of the shard."""
        needed_s = self.latency.needed_s(shard)
        if took_s < needed_s:
            return True
        # A caller can choose a deadline just above the median, and a query that takes longer. A
        # shard that replies to others at the same time is not to blame for it.
        replied_at = self._replied_at
        is_heard = replied_at is not None and replied_at[shard] > now - _HEARD_S
        return is_heard and took_s < max(_TIGHT * needed_s, _TIGHT_S)


def _of_shard(
    shard: int, told: Callable[[int, Transition], None] | None
) -> Callable[[Transition], None] | None:
    if told is None:
        return None
    return lambda transition: told(shard, transition)
