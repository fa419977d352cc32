"""One breaker per shard, and which outcomes of a shard's part count as its failures."""

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
from hedgerow.gateway.search.guards.heavy_work import HeavyWork

# `Failure.code`s for which the query is at fault: the shard is well, and other queries must not
# lose it. A scorer's death ("crashed") counts as the shard's failure, since memory may have run
# out; a query that kills scorers by itself is quarantined after a few.
QUERY_FAULT_CODES = frozenset(
    {QuarantinedError.code, RankingError.code, BadQueryError.code, ProfileBusyError.code}
)

# The last 64 samples of each shard are kept. Under load, 64 queries end within some milliseconds,
# and sampling all of them would tell no more.
SAMPLE_INTERVAL_S = 0.001

# A timeout that gave the shard less than `_TIGHT` times its median is excused if the shard has
# replied to any query within the last `_REPLIED_WITHIN_S`.
_TIGHT = 4.0
_REPLIED_WITHIN_S = 1.0
# So is a timeout that gave it less than this, in s: a shard that answers most queries in 2 ms is
# not at fault if one takes ten times as long.
_TIGHT_S = 0.05
# In an overload, a worker also waits for its cores. If it replies to nothing for this time, it
# hangs.
CROWDED_SILENCE_S = 1.0
# Without an overload, many shards that fall silent together for less than this are on a machine
# that stalls.
STALL_S = 0.5
# How long after a refusal the gateway counts as overloaded: callers that respect Retry-After come
# back after a second.
CROWDED_S = 2.0

_SUCCESS = CallOutcome.SUCCESS
_FAILURE = CallOutcome.FAILURE
_MISSED = CallOutcome.MISSED
_IGNORED = CallOutcome.IGNORED
_OK = Outcome.OK
_TIMED_OUT = Outcome.TIMED_OUT
_FAILED = Outcome.FAILED


class PassingPermits:
    """One permit from each of several breakers, all of which let every call through.

    The permits are made only if a call was not simply answered in time: making eight of them costs
    more than the rest of a query's plan.
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
    | timed_out | failure, but none in a row if the shard has replied to others since; ignored if |
    | | it had less time than the shard's median, or than four times that while the shard replies |
    | | to others; in an overload; and while heavy queries hold the shard (`HeavyWork`) |
    | failed | failure; ignored when the query is at fault (`QUERY_FAULT_CODES`) |
    | any other | ignored: the shard was not asked, or not waited for |

    Admission control ends an overload by admitting fewer queries. Breakers would make it worse: if
    most shards are behind, most breakers open at once, and the few remaining shards answer all
    queries. So if many shards time out for a query and have replied to other queries meanwhile, or
    within `STALL_S`, it does not count against them: they are behind, or the machine stalled. A
    shard that hangs replies to nothing, and a shard that is slow by itself is a single one. While
    admission control refuses queries because of its limit, a single shard is excused too, if it has
    replied within `CROWDED_SILENCE_S`: the shards of one worker may fall behind before the others
    do, and then enough queries time out at the same moment to open their breakers.

    A worker that dies takes the requests with it that it has pulled. They all time out at about the
    same moment, in a row, while another replica answers what came after them. So a timeout counts
    in a row only if the shard has replied to nothing since it was asked.

    Attributes:
        shards: all shards, ascending.
        latency: how long shards need, learnt from the calls of `finish`.
    """

    __slots__ = (
        "_are_steady",
        "_breakers",
        "_heavy",
        "_is_known",
        "_passing",
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
            settings: the settings of every breaker.
            rng: uniform over [0, 1), for the jitter of waits.
            on_transition: called with the shard and the change after each change of state.
            replied_at: for each shard, when it last replied to any request; the caller keeps it up
                to date. If None, no timeout is attributed to overload.
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
        self._is_known = False  # whether the two that follow are, of the breakers as they are now
        self._passing: PassingPermits | None = None
        self._are_steady = False
        self._breakers = tuple(
            Breaker(settings, rng, _of_shard(shard, on_transition), self._on_change)
            for shard in range(num_shards)
        )

    def __len__(self) -> int:
        return len(self._breakers)

    def __getitem__(self, shard: int) -> Breaker:
        return self._breakers[shard]

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._breakers)

    def passing(self) -> "PassingPermits | None":
        """Return permits for a query to all shards, if every breaker lets every call through.

        Queries share them: they are the same until a breaker changes.
        """
        if not self._is_known:
            self._look()
        return self._passing

    def finish(
        self,
        shards: Sequence[int],
        permits: Iterable[Permit],
        results: Mapping[int, ShardResult],
        now: float,
        ok_within_s: float = math.inf,
    ) -> None:
        """Report a query's ended parts to the breakers, and learn how long shards need.

        Args:
            shards: the shards that were asked.
            permits: their breakers' permits, in the same order.
            results: shard → how its part ended.
            now: the event loop's time, in s.
            ok_within_s: all parts are ok, and none took longer; inf if that is not known.
        """
        latency = excused = None
        if now - self._sampled_at >= SAMPLE_INTERVAL_S:
            self._sampled_at, latency = now, self.latency
        elif ok_within_s <= self._slow_s:
            if not self._is_known:
                self._look()
            if self._are_steady:  # these parts would change nothing
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
        """Return the shards whose timeouts are due to overload."""
        replied_at = self._replied_at
        if replied_at is None:
            return ()
        late = {shard: part.took_s for shard, part in results.items() if part.outcome is _TIMED_OUT}
        refused_at = -math.inf if self._pressure is None else self._pressure.refused_at
        is_crowded = bool(late) and refused_at >= now - max(CROWDED_S, *late.values())
        silence_s = CROWDED_SILENCE_S if is_crowded else STALL_S
        behind = [
            shard
            for shard, took_s in late.items()
            if replied_at[shard] > now - max(took_s, silence_s)
        ]
        if is_crowded:
            return behind
        # The share at which admission control cuts its limit; with few shards, more than one.
        least = max(LATE_SHARE * len(results), min(1, len(results) - 1))
        return behind if len(behind) > least else ()

    def _on_change(self) -> None:
        self._is_known = False

    def _look(self) -> None:
        """Note what is true of all breakers, until one changes."""
        breakers = self._breakers
        self._is_known = True
        self._are_steady = all(breaker.is_steady for breaker in breakers)
        self._passing = None
        if all(breaker.passes for breaker in breakers):
            generations = [breaker.generation for breaker in breakers]
            self._passing = PassingPermits(breakers, generations)

    def _blame(self, shard: int, part: ShardResult, now: float) -> CallOutcome:
        if part.outcome is _TIMED_OUT:
            if self._heavy is not None and self._heavy.holds(shard, now - part.took_s, now):
                return _IGNORED
            if part.code == NO_TIME or self._is_too_short(shard, part.took_s, now):
                return _IGNORED
            replied_at = self._replied_at
            has_replied = replied_at is not None and replied_at[shard] > now - part.took_s
            return _MISSED if has_replied else _FAILURE
        if part.outcome is _FAILED and part.code not in QUERY_FAULT_CODES:
            return _FAILURE
        return _IGNORED

    def _is_too_short(self, shard: int, took_s: float, now: float) -> bool:
        """Whether the query gave a shard too little time for the timeout to count against it."""
        needed_s = self.latency.needed_s(shard)
        if took_s < needed_s:
            return True
        # A caller may choose a deadline just above the median, and a query that takes longer. A
        # shard that replies to others at the same time is not at fault.
        replied_at = self._replied_at
        is_replying = replied_at is not None and replied_at[shard] > now - _REPLIED_WITHIN_S
        return is_replying and took_s < max(_TIGHT * needed_s, _TIGHT_S)


def _of_shard(
    shard: int, on_transition: Callable[[int, Transition], None] | None
) -> Callable[[Transition], None] | None:
    if on_transition is None:
        return None
    return lambda transition: on_transition(shard, transition)
