"""Decides when a second copy of a request is sent.

The delay is a high percentile of the shard's own reply times (Dean and Barroso, "The Tail at
Scale", CACM 56(2), 2013), with a floor, as in Finagle's `BackupRequestFilter`
(`minSendBackupAfterMs`). A token bucket bounds the extra load: Finagle's `maxExtraLoad`, and the
throttling of gRPC's proposal A6. A spent bucket stops hedges and never a first copy.

If a worker has died, the requests that it had started are lost, which is certain without any
percentile. So if a replica of a shard has died since the shard was asked, a copy is due, however
little is known of the shard and however few replicas are left. Such a copy replaces work and adds
none, so it takes no token. There is at most one per death.

The steps of one query, whose first copies are all sent at once:

    policy.first_look(num_asked, started, deadline)   sets a timer; most queries end before it
    schedule = HedgeSchedule(policy, started, deadline)
    schedule.look(pending, replicas, now)       returns the shards that are due: ask their queues
        schedule.on_queued(shard, now)          if the request is still queued: look again later
        schedule.allow(shard, replicas, now)    if a worker has it: whether to send the copy
    schedule.next_look(shard)                   after that: when to look again
    policy.record / policy.give_up              how each first copy ended
"""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from hedgerow.common.settings.tail import HedgingSettings
from hedgerow.gateway.policies.quantiles import NUM_PARTS, RELATIVE_ERROR, QuantileSketch

MIN_REPLICAS: Final = 2  # live replicas that a hedge needs

_MILLION: Final = 1_000_000
# A copy itself takes the median time. If reply times hardly differ, as in a busy healthy cluster, a
# reply at the percentile is not a straggler, and a copy would be wasted.
_MEDIANS: Final = 2.0
# A wait grows by this share from look to look, so that there are few, however far the deadline. A
# look without a token does not ask Redis, and tokens return soon, so it grows by less.
_GROWTH: Final = 1.0
_GROWTH_WITHOUT_TOKEN: Final = 0.5
# Share of the time to the deadline after which to check for dead workers while no delay is known.
_BLIND_SHARE: Final = 0.25
_FIRST_REFRESH: Final = 8
_REFRESH: Final = 256


class Replicas(Protocol):
    """The replicas that could take a second copy, and the deaths of replicas."""

    @property
    def num_live(self) -> Sequence[int]:
        """For each shard, the number of live workers that serve it."""

    @property
    def died_at(self) -> Sequence[float]:
        """For each shard, when a death of one of them was last noticed."""


class HedgeEnd(StrEnum):
    """How a hedge ended; each ends in exactly one way."""

    WON = "won"  # its reply came first
    LOST_BEFORE_START = "lost_before_start"  # removed from the queue
    LOST_WHILE_RUNNING = "lost_while_running"  # stopped, or its reply came second


class HedgeCounts(NamedTuple):
    """What `status` shows; `sent` includes hedges that have not ended."""

    sent: int = 0
    won: int = 0
    lost_before_start: int = 0
    lost_while_running: int = 0

    def plus_sent(self, num: int = 1) -> "HedgeCounts":
        """Add `num` sent hedges."""
        return self._replace(sent=self.sent + num)

    def plus_end(self, end: HedgeEnd) -> "HedgeCounts":
        """Add a hedge that has ended."""
        return self._replace(**{end.value: getattr(self, end.value) + 1})


class HedgeBudget:
    """A token bucket: first copies fill it, hedges empty it.

    In any order of events, there are at most `ratio` hedges for each first copy, and as many more
    as the bucket holds: `burst`, or what a query over all shards earns, if that is more. All first
    copies of a query are sent at once, and tokens that do not fit in the bucket are lost.
    Counted in millionths of a token, because sums of floats drift; gRPC counts in thousandths.

    Attributes:
        num_refused: hedges that were due but had no token.
    """

    __slots__ = ("_capacity", "_ratio", "_tokens", "num_refused")

    def __init__(self, ratio: float, burst: int, num_shards: int) -> None:
        """Start full.

        Args:
            ratio: tokens for each first copy; 0 for no hedges at all, not even the burst.
            burst: size of the bucket, unless a query over all shards earns more.
            num_shards: the largest number of first copies of a query.
        """
        self._ratio = round(ratio * _MILLION)
        self._capacity = max(burst * _MILLION, num_shards * self._ratio) if self._ratio else 0
        self._tokens = self._capacity
        self.num_refused = 0

    @property
    def has_token(self) -> bool:
        """Whether a hedge could be sent now."""
        return self._tokens >= _MILLION

    def add(self, num: int) -> None:
        """`num` first copies were sent."""
        tokens = self._tokens + num * self._ratio
        self._tokens = min(tokens, self._capacity)

    def take(self) -> bool:
        """Take the token for a hedge; returns False if there is none: do not send the hedge."""
        if self._tokens < _MILLION:
            self.num_refused += 1
            return False
        self._tokens -= _MILLION
        return True


class HedgePolicy:
    """Learns for each shard after which delay a hedge is due, and how long a reply takes.

    It learns from first copies only, and from all of them. If a first copy is given up, because its
    hedge won or its query ended, it is recorded as taking *longer* than the wait (`give_up`), since
    its reply time is unknown. Recording the winner's time instead would cut off the very tail that
    the percentile is about, and leaving it out would do the same for shards whose slow replies
    never arrive. The error would reinforce itself: each hedge would lower the percentile and bring
    the next hedge forward, until only the budget stopped them.

    Hedges are sent at the delay or later, so no first copy is given up for a hedge before it. So it
    is known exactly how many first copies take longer than the delay, hedged or not: if they are
    more than the percentile allows, the delay rises, if they are fewer, it falls.

    Attributes:
        budget: the budget for the extra load of all shards together.
        min_delay_s: the minimum of all delays, in s.
    """

    __slots__ = (
        "_delays",
        "_is_on",
        "_medians",
        "_quantiles",
        "_shortest",
        "_sketches",
        "_stale_at",
        "_stale_s",
        "_until_refresh",
        "budget",
        "min_delay_s",
    )

    def __init__(self, settings: HedgingSettings, num_shards: int) -> None:
        """Start without knowledge of any shard."""
        self.budget = HedgeBudget(settings.max_extra_load, settings.burst, num_shards)
        self._is_on = settings.max_extra_load > 0
        self.min_delay_s = settings.min_delay_ms / 1000
        self._stale_s = settings.window_s / NUM_PARTS
        self._quantiles = (settings.percentile / 100, 0.5)
        self._sketches = [
            QuantileSketch(settings.window_s, settings.minimum_number_of_calls)
            for _ in range(num_shards)
        ]
        self._delays = [math.inf] * num_shards  # inf: not yet known
        self._medians = [0.0] * num_shards
        self._stale_at = [-math.inf] * num_shards
        self._until_refresh = [_FIRST_REFRESH] * num_shards
        self._shortest = math.inf

    def record(self, shard: int, took_s: float, now: float) -> None:
        """A shard's first copy was answered after `took_s`; for all queries, or a random sample."""
        self._sketches[shard].record(took_s, now)
        until = self._until_refresh[shard] - 1
        self._until_refresh[shard] = until
        if not until:
            self._refresh(shard, now)

    def give_up(self, shard: int, waited_s: float, now: float) -> None:
        """A shard's first copy was given up without a reply after `waited_s`.

        Call it for every first copy without a counted reply: the deadline passed, the wanted share
        was covered, the caller left, or the hedge won. Do not call it for one that failed.
        """
        self._sketches[shard].record_censored(waited_s, now)
        until = self._until_refresh[shard] - 1
        self._until_refresh[shard] = until
        if not until:
            self._refresh(shard, now)

    def delay_s(self, shard: int, now: float) -> float | None:
        """Return the time from first copy to hedge, in s; None if unknown, or if hedging is off."""
        if now >= self._stale_at[shard]:
            self._refresh(shard, now)  # replies are rare, or have left the window
        delay_s = self._delays[shard]
        return delay_s if self._is_on and delay_s < math.inf else None

    def median_s(self, shard: int) -> float:
        """Return the shard's median reply time, in s; 0 while unknown."""
        return self._medians[shard]

    def first_look(self, num_asked: int, started: float, deadline: float) -> float:
        """Fill the budget for first copies that were sent to `num_asked` shards.

        Returns:
            When to look first at the pending shards: the earliest instant at which any shard, asked
            or not, is due, or at which to check for dead workers; inf if hedging is off.
        """
        if not self._is_on:
            return math.inf
        self.budget.add(num_asked)
        at = started + self._shortest
        blind_at = self.blind_look(started, deadline)
        return min(blind_at, at)

    @staticmethod
    def blind_look(started: float, deadline: float) -> float:
        """Return when to look at a shard without a known delay."""
        return started + _BLIND_SHARE * (deadline - started)

    def _refresh(self, shard: int, now: float) -> None:
        # Often while little is known, then less often: a quantile costs as much as 80 records.
        is_first = self._delays[shard] == math.inf
        self._until_refresh[shard] = _FIRST_REFRESH if is_first else _REFRESH
        self._stale_at[shard] = now + self._stale_s
        delay_s, median_s = self._sketches[shard].quantiles(self._quantiles, now)
        if delay_s is not None:
            # The upper end of the percentile's error: if all replies take the same time, slightly
            # too early would be too early for all of them.
            delay_s = max(
                delay_s / (1 - RELATIVE_ERROR), _MEDIANS * (median_s or 0.0), self.min_delay_s
            )
        self._delays[shard] = math.inf if delay_s is None else delay_s
        self._medians[shard] = median_s or 0.0
        self._shortest = min(self._delays)


class Look(NamedTuple):
    """The result of a look at the pending shards.

    Attributes:
        due: shards whose queues are to be asked for the request.
        next_at: when to look again; None for never, unless `next_look` says otherwise.
    """

    due: list[int]
    next_at: float | None


class HedgeSchedule:
    """The second copies of one query; create it when the first look is due.

    There is at most one hedge per shard, and one more copy for each death.
    """

    __slots__ = ("_copied_at", "_deadline", "_look_at", "_policy", "_started")

    def __init__(self, policy: HedgePolicy, started: float, deadline: float) -> None:
        """Plan for first copies that were all sent at `started`."""
        self._policy = policy
        self._started = started
        self._deadline = deadline
        self._look_at: dict[int, float] = {}  # for shards that were due; inf: being asked
        self._copied_at: dict[int, float] = {}

    def look(self, pending: Iterable[int], replicas: Replicas, now: float) -> Look:
        """Return which of the pending shards are due.

        The caller then asks the queue of each, and reports the answer; until then it is not due
        again.

        Args:
            pending: shards that have not answered.
            replicas: the live replicas, and the deaths.
            now: the time, in s.
        """
        policy, look_at = self._policy, self._look_at
        has_token = policy.budget.has_token
        due: list[int] = []
        next_at = math.inf
        for shard in pending:
            at = look_at.get(shard)
            if at is None:
                delay_s = policy.delay_s(shard, now)
                if delay_s is None:
                    at = policy.blind_look(self._started, self._deadline)
                else:
                    at = self._started + delay_s
            if at <= now:
                if self._can_win(shard, now) and self._is_due(shard, replicas, now):
                    if has_token or self._is_lost(shard, replicas):
                        look_at[shard] = math.inf
                        due.append(shard)
                        continue
                    policy.budget.num_refused += 1
                growth = _GROWTH if has_token else _GROWTH_WITHOUT_TOKEN
                at = look_at[shard] = self._later(now, growth)
            if at < next_at and self._can_win(shard, at):
                next_at = at
        return Look(due, next_at if next_at < math.inf else None)

    def on_queued(self, shard: int, now: float) -> None:
        """The request is still queued: the shard is backed up, and a copy would only add load."""
        self._look_at[shard] = self._later(now, _GROWTH)

    def allow(self, shard: int, replicas: Replicas, now: float) -> bool:
        """A worker has the request: return whether to send a copy; takes a hedge's token."""
        self._look_at[shard] = self._later(now, _GROWTH)
        is_lost = self._is_lost(shard, replicas)
        if not self._can_win(shard, now) or not (is_lost or self._policy.budget.take()):
            return False
        self._copied_at[shard] = now
        return True

    def next_look(self, shard: int) -> float | None:
        """Return when to look again at a shard that was due; None if a copy could not win then."""
        at = self._look_at[shard]
        return at if self._can_win(shard, at) else None

    def _is_due(self, shard: int, replicas: Replicas, now: float) -> bool:
        if self._is_lost(shard, replicas):
            return True
        is_known = self._policy.delay_s(shard, now) is not None
        return (
            is_known and shard not in self._copied_at and replicas.num_live[shard] >= MIN_REPLICAS
        )

    def _is_lost(self, shard: int, replicas: Replicas) -> bool:
        """Return whether the last copy may have gone to a worker that has died since."""
        return replicas.died_at[shard] > self._copied_at.get(shard, self._started)

    def _can_win(self, shard: int, at: float) -> bool:
        left_s = self._deadline - at
        return left_s > 0 and left_s >= self._policy.median_s(shard)

    def _later(self, now: float, growth: float) -> float:
        return now + max(growth * (now - self._started), self._policy.min_delay_s)
