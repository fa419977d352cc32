"""Admission control: refuses queries that overload would keep from being answered in time. Pure.

(`gateway/search/validation.py` is different: it refuses invalid queries.)

There are two reasons to refuse a query before any shard is asked:

- *the limit* on queries in flight (`concurrency_limit`): 429, since the callers of this gateway
  send more than the cluster answers. Queries of priority `batch` are refused once a share of it is
  in flight, before `interactive` ones. Several callers share it by `gateway.access.fair_share`;
- *the forecast* (`queue_forecast`): 503, if the shards' queues are so long that by the deadline
  too few of the documents could be searched for the query's minimum coverage, whatever gateway
  filled them.

Both say when to try again. A permit allows one query. It ends once, and until then it is informed
of the shards' queues and replies. As with the breakers' permits, observations of an
earlier generation of the limit do not count (gobreaker's rule).
"""

from collections.abc import Sequence
from typing import Final, Literal

from hedgerow.common.errors import OverloadedError
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.gateway.access.caller import ANONYMOUS, Caller
from hedgerow.gateway.access.fair_share import Decision, FairShare, Usage
from hedgerow.gateway.policies.admission_permit import AdmissionPermit
from hedgerow.gateway.policies.admission_snapshot import AdmissionSnapshot
from hedgerow.gateway.policies.concurrency_limit import ConcurrencyLimit
from hedgerow.gateway.policies.pressure import Pressure
from hedgerow.gateway.policies.queue_forecast import QueueForecast
from hedgerow.gateway.policies.shard_reach import reached_by

Priority = Literal["interactive", "batch"]

PRIORITIES: Final[tuple[Priority, ...]] = ("interactive", "batch")
CAUSES: Final = ("limit", "batch_share", "share", "backlog")

# An enum's member is looked up slowly in Python 3.11.
_ADMITTED: Final = Decision.ADMITTED
_OVER_LIMIT: Final = Decision.OVER_LIMIT
_DURATION_WEIGHT = 1 / 32  # of the newest query in their mean duration
# A request that starts after this share of its deadline is not scored, fetched and merged in time.
_START_SHARE = 0.8
_LONGEST_RETRY_S = 30.0  # a forecast that far ahead is a guess


class Admission:
    """Admission control of one gateway.

    Attributes:
        limit: on the queries in flight.
        forecast: of the shards' queues.
        replied_at: for each shard, when it last replied to any request.
        shares: of the callers.
        pressure: when the limit last refused a query.
        num_in_flight: queries in flight now.
        duration_s: mean time of recent queries, in s.
        expires_at: the latest deadline of the admitted queries, on the event loop's clock.
    """

    __slots__ = (
        "_batch_share",
        "_beside",
        "_in_flight",
        "_is_enabled",
        "_predicts",
        "_refused",
        "_wait_share",
        "duration_s",
        "expires_at",
        "forecast",
        "limit",
        "num_in_flight",
        "pressure",
        "replied_at",
        "shares",
    )

    def __init__(
        self, num_shards: int, settings: AdmissionSettings, beside: "Admission | None" = None
    ) -> None:
        """Start with nothing in flight, the initial limit, and no shard behind.

        Args:
            num_shards: shards in the cluster.
            settings: of the limit and the forecast.
            beside: admission control of other queries to the same shards; both share what is known
                about the shards, and have separate limits.
        """
        self.limit = ConcurrencyLimit(settings, len(PRIORITIES))
        self.forecast: QueueForecast = (
            QueueForecast(num_shards) if beside is None else beside.forecast
        )
        self.replied_at: list[float] = [0.0] * num_shards if beside is None else beside.replied_at
        self.pressure: Pressure = Pressure() if beside is None else beside.pressure
        self.shares = FairShare()
        self._beside = beside
        self.num_in_flight = 0
        self.expires_at = 0.0
        self._in_flight = [0] * len(PRIORITIES)
        self.duration_s = 0.0
        self._refused = {cause: [0] * len(PRIORITIES) for cause in CAUSES}
        self._is_enabled = settings.enabled
        self._predicts = settings.enabled and settings.predict
        self._batch_share = settings.batch_share
        self._wait_share = settings.wait_share

    def take_over(self, former: "Admission") -> None:
        """Go on from admission control of other shards that the same workers serve.

        Shard *s* of *N* had the documents of shard *s* or *s* + *N*. As long as a new shard has not
        replied, its workers have replied when they last did so for that one.
        """
        self.limit.take_over(former.limit)
        self.duration_s = former.duration_s
        self.pressure.refused_at = former.pressure.refused_at
        for shard in range(len(self.replied_at)):
            self.replied_at[shard] = former.replied_at[shard % len(former.replied_at)]

    def admit(
        self,
        priority: Priority,
        deadline_s: float,
        minimum_coverage: float,
        live: Sequence[bool],
        documents: Sequence[int | None],
        now: float,
        caller: Caller = ANONYMOUS,
        peer: str = "",
    ) -> AdmissionPermit:
        """Admit a query, or refuse it.

        Args:
            priority: the query's.
            deadline_s: time from now within which it must be answered, in s.
            minimum_coverage: least share of the documents that its answer must reflect, 0 to 1.
            live: for each shard, whether a worker serves it.
            documents: for each shard, how many of the collection it holds; None if not known.
            now: the event loop's time, in s.
            caller: the caller.
            peer: the caller's address.

        Raises:
            OverloadedError: it could not be answered in time; says why, and when to try again.
        """
        number = 0 if priority == "interactive" else 1
        num_in_flight = self.num_in_flight
        usage = self.shares.usage_of(caller, now, peer)
        decision, goes_ahead = _ADMITTED, False
        if self._is_enabled:
            decision = self._decide(usage, number, now)
            if decision is not _ADMITTED and decision is not _OVER_LIMIT:
                raise self._refusal(decision, usage, caller, number)
            goes_ahead = self.shares.goes_ahead(usage, now)
            start_by = now + _START_SHARE * deadline_s
            # Requests that go ahead of the queues do not wait for their whole length.
            is_behind = not goes_ahead and max(self.forecast.starts_at) > start_by
            if self._predicts and is_behind:
                self._check_forecast(number, deadline_s, minimum_coverage, live, documents, now)
        num_in_flight += 1
        self.num_in_flight = num_in_flight
        self._in_flight[number] += 1
        self.shares.begin(usage, decision, now)
        self.limit.peak = max(self.limit.peak, num_in_flight)
        self.expires_at = max(self.expires_at, now + deadline_s)
        if self._beside is not None:  # it is the one that learns the lengths of queues
            self._beside.expires_at = max(self._beside.expires_at, self.expires_at)
        late_at = now + self._wait_share * deadline_s
        return AdmissionPermit(
            self,
            usage,
            number,
            now,
            late_at,
            now + deadline_s,
            decision=decision,
            goes_ahead=goes_ahead,
        )

    def refusal_of(
        self, priority: Priority, caller: Caller, peer: str, now: float, num_coming: int = 0
    ) -> OverloadedError | None:
        """Refuse a query that exceeds the limit, before any work is spent on it.

        Args:
            priority: the query's.
            caller: the caller.
            peer: the caller's address.
            now: the event loop's time, in s.
            num_coming: queries for which `admit` is about to be called, before this one.

        Returns:
            The refusal, which is counted; None if `admit` must decide.
        """
        number = 0 if priority == "interactive" else 1
        if not self._is_enabled or self.num_in_flight + num_coming < self._bound(number):
            return None
        usage = self.shares.usage_of(caller, now, peer)
        decision = self._decide(usage, number, now, num_coming)
        if decision is _ADMITTED or decision is _OVER_LIMIT:
            return None
        return self._refusal(decision, usage, caller, number, num_coming)

    def on_backlog(self, shard: int, backlog: int, now: float) -> None:
        """A write of requests to a shard's queue has made its length `backlog`."""
        self.forecast.on_queued(shard, backlog, self.expires_at, now)

    def end(self, number: int, duration_s: float, now: float) -> None:
        """A permit of the class `number` has ended; called only by the permit."""
        self.num_in_flight -= 1
        self._in_flight[number] -= 1
        self.duration_s += (duration_s - self.duration_s) * _DURATION_WEIGHT
        self.limit.judge(self.num_in_flight, now)

    @property
    def num_refused(self) -> int:
        """Queries refused since the start, for whatever cause."""
        return sum(map(sum, self._refused.values()))

    def snapshot(self, now: float) -> AdmissionSnapshot:
        """For `status`."""
        return AdmissionSnapshot(
            self._is_enabled,
            self.limit.value,
            dict(zip(PRIORITIES, self._in_flight, strict=True)),
            {
                cause: dict(zip(PRIORITIES, counts, strict=True))
                for cause, counts in self._refused.items()
            },
            [
                round(self.forecast.wait_s(shard, now) * 1000, 1)
                for shard in range(len(self.replied_at))
            ],
        )

    def _bound(self, number: int) -> float:
        """The number in flight from which no more queries of a class are admitted, as a rule."""
        return self._batch_share * self.limit.value if number else self.limit.value

    def _decide(self, usage: Usage, number: int, now: float, num_coming: int = 0) -> Decision:
        bound, num_in_flight = self._bound(number), self.num_in_flight + num_coming
        decision = self.shares.decide(
            usage, num_in_flight, bound, self.limit.value, now, num_coming
        )
        is_admitted = decision is _ADMITTED or decision is _OVER_LIMIT
        # A refusal because of a caller's own share, with room left, says nothing about the limit.
        if not is_admitted and num_in_flight >= bound:
            self.limit.is_wanted = True
            self.pressure.refused_at = now
        return decision

    def _refusal(
        self, decision: Decision, usage: Usage, caller: Caller, number: int, num_coming: int = 0
    ) -> OverloadedError:
        limit = self.limit.value
        if decision is Decision.OVER_SHARE:
            self.shares.refuse(usage)
            cause = "share"
            whose = f"key {caller.name!r}" if caller.is_key else "your address"
            message = (
                f"{usage.num_in_flight} queries of {whose} are in flight; its share of the limit "
                f"of {limit} is used up"
            )
        elif self.num_in_flight + num_coming >= limit:
            cause, message = "limit", f"{limit} queries are in flight, which is the limit"
        else:
            cause = "batch_share"
            message = f"too many queries are in flight (of {limit}) for one of priority batch"
        self._refused[cause][number] += 1
        # By then, as many queries have ended as the limit admits (Little's law).
        return OverloadedError(message, cause, self.duration_s)

    def _check_forecast(
        self,
        number: int,
        deadline_s: float,
        minimum_coverage: float,
        live: Sequence[bool],
        documents: Sequence[int | None],
        now: float,
    ) -> None:
        start_by = now + _START_SHARE * deadline_s
        starts_at = self.forecast.starts_at
        reached_at = reached_by(starts_at, live, documents, minimum_coverage, start_by)
        if reached_at is None or reached_at <= start_by:
            return
        self._refused["backlog"][number] += 1
        raise OverloadedError(
            f"shards are behind by more than the deadline: within {deadline_s * 1000:g} ms they "
            f"would not reach a minimum coverage of {minimum_coverage:g}",
            "backlog",
            min(reached_at - start_by, _LONGEST_RETRY_S),
        )
