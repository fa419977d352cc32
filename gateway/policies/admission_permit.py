"""The permit for one query: what it observes of the shards' queues, and its end. Pure."""

from collections.abc import Mapping
from typing import Protocol

from hedgerow.gateway.access.fair_share import Decision, FairShare, Usage
from hedgerow.gateway.policies.concurrency_limit import ConcurrencyLimit, Tally
from hedgerow.gateway.policies.queue_forecast import BASE_US, QueueForecast
from hedgerow.gateway.policies.shard_result import ShardResult

_LEAST_PATIENCE_S = 1e-6  # a deadline may be shorter than the clock's resolution
_SOME = 4  # from this many requests on, a queue is more than the way to a free worker


class Admitter(Protocol):
    """The admission control that has given the permit; see `admission.Admission`."""

    limit: ConcurrencyLimit
    forecast: QueueForecast
    replied_at: list[float]
    shares: FairShare
    num_in_flight: int

    def end(self, number: int, duration_s: float, now: float) -> None:
        """A permit of the class `number` has ended."""


class AdmissionPermit:
    """Permission for one query, from before its plan until its answer; its holder ends it, once.

    Attributes:
        goes_ahead: whether its requests go ahead of those that wait in the shards' queues.
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
        admission: Admitter,
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
        self._admission: Admitter | None = admission
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
        """The request is in a shard's queue, as one of `backlog`."""
        admission = self._admission
        if admission is not None:
            self._queued[shard] = backlog
            admission.forecast.on_queued(shard, backlog, self._expires_at, now)

    def on_reply(self, shard: int, queue_us: int, work_us: int, now: float) -> None:
        """A shard has replied to the first copy of the request.

        Args:
            shard: the shard.
            queue_us: `Reply.queue_us`.
            work_us: `Reply.work_us`: the part of the time that was not spent waiting.
            now: the event loop's time, in s.
        """
        backlog = self._queued.pop(shard, 0)
        admission = self._admission
        if not backlog or admission is None:
            return  # a duplicate, or overtaken by the end of the query
        admission.replied_at[shard] = now
        if queue_us > BASE_US or admission.forecast.spacing_s[shard]:
            admission.forecast.learn(shard, backlog, queue_us)
        limit = admission.limit
        # Requests that go ahead of the queues say nothing about the waits in them.
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
        self, backlogs: Mapping[int, int], results: Mapping[int, ShardResult], sent_at: float
    ) -> None:
        """Learn from the query's parts at its end; called for all queries, or for a fair sample.

        Args:
            backlogs: shard → length of its queue with the request, as `Transport.scatter` returns.
            results: shard → how its part ended.
            sent_at: when the first copies were sent, on the event loop's clock.
        """
        self._queued.update(backlogs)
        for shard, part in results.items():
            reply = part.reply
            if reply is not None and not reply.is_hedge:
                self.on_reply(shard, reply.queue_us, reply.work_us, sent_at + part.took_s)

    def done(self, now: float) -> None:
        """The query has ended, in any way. Further calls have no effect."""
        admission = self._admission
        if admission is None:
            return
        self._admission = None
        # If a shard replied to other queries, but not to this one, which was queued behind some, it
        # is backed up: it serves the newest first, or drops expired requests. A shard that replies
        # to none hangs, which no limit can cure; one that had a free place may still work on it.
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
        """How long a part may wait before it is late."""
        return max(self._late_at - self._admitted_at, _LEAST_PATIENCE_S)
