"""Admission control: under overload, refuses queries that could not be answered in time. Pure.

(Not to be confused with `gateway/search/validation.py`, which refuses invalid queries.)

Two things refuse a query before any shard is asked:

- *the limit* on queries in flight (`concurrency_limit`): 429, since the callers of this gateway
  send more than the cluster can answer. Queries of priority `batch` are refused at a share of the
  limit, so the rest is left for `interactive` ones. Callers share it by
  `gateway.access.fair_share`;
- *the forecast* (`queue_forecast`): 503, if the shards' queues are so long, whichever gateway
  filled them, that by the deadline too few documents could be searched for the query's minimum
  coverage.

Both say when to try again. An admitted query holds a permit, which ends once; until then it records
the lengths of the shards' queues and their replies. As with the breakers' permits, records of an
earlier generation of the limit do not count (gobreaker's rule).
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from hedgerow.common.errors import OverloadedError
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.gateway.access.caller import ANONYMOUS, Caller
from hedgerow.gateway.access.fair_share import Decision, FairShare, Usage
from hedgerow.gateway.policies.admission_snapshot import AdmissionSnapshot
from hedgerow.gateway.policies.concurrency_limit import ConcurrencyLimit, Tally
from hedgerow.gateway.policies.pressure import Pressure
from hedgerow.gateway.policies.queue_forecast import BASE_US, QueueForecast
from hedgerow.gateway.policies.shard_reach import reached_by
from hedgerow.gateway.policies.shard_result import ShardResult

Priority = Literal["interactive", "batch"]

PRIORITIES: Final[tuple[Priority, ...]] = ("interactive", "batch")
CAUSES: Final = ("limit", "batch_share", "share", "backlog")

# An enum's member is looked up slowly in Python 3.11.
_ADMITTED: Final = Decision.ADMITTED
_OVER_LIMIT: Final = Decision.OVER_LIMIT
_LEAST_PATIENCE_S = 1e-6  # a deadline may be shorter than the clock's resolution
_DURATION_WEIGHT = 1 / 32  # of the newest query in their mean duration
# A request that starts after this share of its deadline cannot be scored, fetched and merged in
# time.
_START_SHARE = 0.8
_SOME = 4  # queue length from which requests are not just on their way to a free worker
_LONGEST_RETRY_S = 30.0  # a forecast that far ahead is a guess


class AdmissionPermit:
    """Permission for one query, from before its plan until its answer; its holder ends it once.

    Attributes:
        goes_ahead: whether its requests go to the head of the shards' queues.
    """

    __slots__ = (
        "_admission",
        "_admitted_at",
        "_class",
        "_decision",
        "_expires_at",
        "_generation",
        "_late_at",
        "_num_in_flight",
        "_queued",
        "_usage",
        "_window",
        "goes_ahead",
    )

    def __init__(
        self,
        admission: "Admission",
        usage: Usage,
        number: int,
        now: float,
        late_at: float,
        expires_at: float,
        decision: Decision,
        goes_ahead: bool,
    ) -> None:
        self.goes_ahead = goes_ahead
        self._decision = decision
        self._admission: Admission | None = admission
        self._usage = usage
        self._class = number
        self._generation = admission.limit.generation
        self._window = admission.limit.window
        self._num_in_flight = admission.num_in_flight  # itself included
        self._admitted_at = now
        self._late_at = late_at
        self._expires_at = expires_at
        self._queued: dict[int, int] = {}  # shard → length of its queue, until it replies

    def on_queued(self, shard: int, backlog: int, now: float) -> None:
        """The request is in a shard's queue, whose length is then `backlog`."""
        admission = self._admission
        if admission is not None:
            self._queued[shard] = backlog
            admission.forecast.on_queued(shard, backlog, self._expires_at, now)

    def on_reply(self, shard: int, queue_us: int, work_us: int, now: float) -> None:
        """A shard has replied to the first copy of the request.

        Args:
            shard: the shard's number.
            queue_us: `Reply.queue_us`.
            work_us: `Reply.work_us`: the part of the time that was not spent waiting.
            now: the time, in s.
        """
        backlog = self._queued.pop(shard, 0)
        admission = self._admission
        if not backlog or admission is None:
            return  # a duplicate, or it arrived after the end of the query
        admission.replied_at[shard] = now
        if queue_us > BASE_US or admission.forecast.spacing_s[shard]:
            admission.forecast.learn(shard, backlog, queue_us)
        limit = admission.limit
        # A request that went ahead of a queue says nothing about the wait in it.
        if self._generation == limit.generation and not self.goes_ahead:
            tally = limit.tallies[self._class]
            tally.num_parts += 1
            waited_until = now - work_us * 1e-6
            if self._window == limit.window:
                waited = (waited_until - self._admitted_at) / self._patience_s
                tally.add_fresh(self._admitted_at, self._num_in_flight, waited)
            if waited_until > self._late_at:
                self._count_late(tally, waited_until)

    def learn(
        self, backlogs: Mapping[int, int], settled: Mapping[int, ShardResult], sent_at: float
    ) -> None:
        """Record how the query's parts ended; call it for all queries, or for a random sample.

        Args:
            backlogs: shard → length of its queue with the request, as `Transport.scatter` returns.
            settled: shard → how its part ended.
            sent_at: when the first copies were sent.
        """
        self._queued.update(backlogs)
        for shard, part in settled.items():
            reply = part.reply
            if reply is not None and not reply.is_hedge:
                self.on_reply(shard, reply.queue_us, reply.work_us, sent_at + part.took_s)

    def done(self, now: float) -> None:
        """The query has ended, in any way. A second call has no effect."""
        admission = self._admission
        if admission is None:
            return
        self._admission = None
        # If a shard has answered other queries, but not this one, which was queued behind some, it
        # is backed up: it serves the newest first, or drops expired requests. A shard that answers
        # no query hangs, which no limit can help; one that was free may still be working on it.
        if self._queued and now > self._late_at and self._generation == admission.limit.generation:
            tally = admission.limit.tallies[self._class]
            for shard, backlog in self._queued.items():
                if backlog >= _SOME and admission.replied_at[shard] > self._admitted_at:
                    tally.num_parts += 1
                    self._count_late(tally, now)
        admission.shares.end(self._usage, self._decision, now)
        admission.end(self._class, now - self._admitted_at, now)

    def _count_late(self, tally: Tally, waited_until: float) -> None:
        tally.num_late += 1
        tally.excess += (waited_until - self._admitted_at) / self._patience_s

    @property
    def _patience_s(self) -> float:
        """Return how long a part may wait before it is late, in s."""
        return max(self._late_at - self._admitted_at, _LEAST_PATIENCE_S)


class Admission:
    """Admission control of one gateway.

    Attributes:
        limit: the limit on queries in flight.
        forecast: the forecast of the shards' queues.
        replied_at: for each shard, when it last replied to any request.
        shares: the callers' shares.
        pressure: when the limit last refused a query.
        num_in_flight: queries in flight now.
        duration_s: mean duration of the last queries, in s.
        expires_at: the latest deadline of the admitted queries.
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
            settings: settings of the limit and the forecast.
            beside: the admission of other queries to the same shards; both share what is known of
                the shards, and have separate limits.
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
            priority: the query's priority.
            deadline_s: time from now within which it must be answered, in s.
            minimum_coverage: smallest share of the documents that its answer must reflect, 0 to 1.
            live: for each shard, whether a worker serves it.
            documents: for each shard, how many of the collection's documents it has; None if
                unknown.
            now: the time, in s.
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
            # A query that goes ahead of the queues does not wait in them.
            is_behind = not goes_ahead and max(self.forecast.starts_at) > start_by
            if self._predicts and is_behind:
                self._check_forecast(number, deadline_s, minimum_coverage, live, documents, now)
        num_in_flight += 1
        self.num_in_flight = num_in_flight
        self._in_flight[number] += 1
        self.shares.begin(usage, decision, now)
        self.limit.peak = max(self.limit.peak, num_in_flight)
        self.expires_at = max(self.expires_at, now + deadline_s)
        if self._beside is not None:  # it is told of the queues too
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
        """Refuse a query because of the limit, before any work on it.

        Args:
            priority: the query's priority.
            caller: the caller.
            peer: the caller's address.
            now: the time, in s.
            num_coming: queries for which `admit` is about to be called before this one.

        Returns:
            The refusal, which is counted; None if `admit` is to decide.
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
        """After a write of requests to a shard's queue, its length was `backlog`."""
        self.forecast.on_queued(shard, backlog, self.expires_at, now)

    def end(self, number: int, duration_s: float, now: float) -> None:
        """A permit of the class `number` has ended; only the permit calls this."""
        self.num_in_flight -= 1
        self._in_flight[number] -= 1
        self.duration_s += (duration_s - self.duration_s) * _DURATION_WEIGHT
        self.limit.judge(self.num_in_flight, now)

    def snapshot(self, now: float) -> AdmissionSnapshot:
        """Return what `status` shows."""
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
        """Return the number of queries in flight from which a class is normally refused."""
        return self._batch_share * self.limit.value if number else self.limit.value

    def _decide(self, usage: Usage, number: int, now: float, num_coming: int = 0) -> Decision:
        bound, num_in_flight = self._bound(number), self.num_in_flight + num_coming
        decision = self.shares.decide(
            usage, num_in_flight, bound, self.limit.value, now, num_coming
        )
        is_admitted = decision is _ADMITTED or decision is _OVER_LIMIT
        # If a caller is refused for its share while there is room, the limit is not the cause.
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
        # In this time, as many queries end as the limit admits (Little's law).
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
