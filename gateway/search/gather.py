"""Collects one scatter's replies until every shard has ended or the deadline has passed."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from hedgerow.common.errors import WireError
from hedgerow.common.outcome import Outcome
from hedgerow.common.runtime.alarms import Alarm, Alarms
from hedgerow.common.wire.messages import Reply, Status, unpack_failure
from hedgerow.gateway.policies.shard_result import ENOUGH, NO_TIME, ShardResult

# An enum's member is looked up through a descriptor in Python 3.11: five times a global's price.
_OK: Final = Outcome.OK
_STATUS_OK: Final = Status.OK.value


ROUND_TRIP_S = 0.05  # a server that has not answered a push within this time hangs

OnHedgeEnd = Callable[[int, ShardResult], None]


class Gather:
    """The replies to one scatter, in arrival order; a `ReplySink`.

    Every shard ends in exactly one outcome: the first event that ends its part counts, and later
    ones (a duplicate, a reply after the deadline) are dropped. Times are on the event loop's clock.

    Attributes:
        asked: the shards that were asked.
        results: shard → how its part ended, for the parts that have ended.
        num_ok: parts that are ok.
        num_open: parts that have not ended.
        hedged: shard → time from the scatter to its second copy, in s.
        started: when the scatter began, or after `restart`, when the open shards were asked.
        is_sampled: whether its search is one to learn from.
    """

    __slots__ = (
        "_alarm",
        "_alarms",
        "_done",
        "_ends_at",
        "_is_enough",
        "_is_silent",
        "_look",
        "_look_at",
        "_loop",
        "_on_hedge_ends",
        "_sent",
        "_unpack",
        "_until",
        "asked",
        "hedged",
        "is_sampled",
        "num_ok",
        "num_open",
        "results",
        "started",
    )

    def __init__(
        self,
        shards: Iterable[int],
        unpack: Callable[[bytes], Any],
        alarms: Alarms | None = None,
    ) -> None:
        """Expect one reply from each of `shards`.

        Args:
            shards: the shards that are asked.
            unpack: reads a reply's body; raises WireError.
            alarms: those of other gathers; None for its own.
        """
        alarms = alarms or Alarms()
        self._loop = alarms.loop  # to ask for the running loop is a system call in Python 3.11
        self.started = self._loop.time()
        self.asked = frozenset(shards)
        self.num_open = len(self.asked)
        self._on_hedge_ends: dict[int, OnHedgeEnd] = {}
        self._sent: list[Mapping[int, int]] = []
        self._is_silent: Callable[[], bool] | None = None
        self._unpack = unpack
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._alarms = alarms
        self._alarm: Alarm | None = None
        self._ends_at = math.inf
        self._is_enough = False  # whether it ends at `_ends_at` because enough is covered
        self._look_at = math.inf
        self._look: Callable[[], None] | None = None
        self._until: Callable[[], float] | None = None
        self.results: dict[int, ShardResult] = {}
        self.hedged: dict[int, float] = {}
        self.is_sampled = False
        self.num_ok = 0

    @property
    def backlogs(self) -> Mapping[int, int]:
        """Shard → length of its queue with the request in it, for the requests sent last."""
        return self._sent[-1] if self._sent else {}

    def sent(
        self, backlogs: Mapping[int, int], is_silent: Callable[[], bool] | None = None
    ) -> None:
        """Requests were sent.

        Args:
            backlogs: what `Transport.scatter` returned.
            is_silent: its transport's; None if it is not to be asked.
        """
        self._sent.append(backlogs)
        self._is_silent = is_silent

    def restart(self) -> None:
        """Measure the times of the open parts from now on, when their shards are asked."""
        self.started = self._loop.time()

    async def wait(self, deadline: float) -> None:
        """Return when every shard has ended, at the latest at `deadline` on the loop's clock.

        If cancelled, it leaves the open parts open; `end` ends them.
        """
        if not self.num_open:
            return
        self._ends_at = deadline
        self._alarm = self._next_alarm()
        try:
            await self._done
        finally:
            self._alarm.cancel()
            self._look = None  # it may hold this gather

    def look_when(self, at: float, look: Callable[[], None]) -> None:
        """Call `look` at `at`, if `wait` is running then.

        Must be called before `wait`. It needs no timer of its own: most scatters end before `at`.
        """
        self._look_at, self._look = at, look

    def stop_when(self, until: Callable[[], float]) -> None:
        """End the wait at the instant that `until` returns; it is called after each ok part."""
        self._until = until

    def hedge(self, shard: int, after_s: float, on_end: OnHedgeEnd) -> None:
        """A second copy was sent, `after_s` after the first; `on_end` gets the result of both."""
        self.hedged[shard] = after_s
        self._on_hedge_ends[shard] = on_end

    @property
    def open(self) -> frozenset[int]:
        """Shards whose part has not ended."""
        return self.asked.difference(self.results)

    def amend(self, shard: int, part: ShardResult) -> None:
        """Replace an ok part by `part`, after all have ended."""
        self.num_ok -= part.outcome is not _OK
        self.results[shard] = part

    def cancelled(self) -> list[int]:
        """The shards whose parts were cancelled."""
        if self.num_ok == len(self.results):
            return []
        return [shard for shard, part in self.results.items() if part.outcome is Outcome.CANCELLED]

    def end(
        self, outcome: Outcome, reason: str, code: str = "", shards: Iterable[int] | None = None
    ) -> None:
        """End the open parts of `shards`, or all open parts, with this outcome."""
        if self.num_open:
            for shard in sorted(self.open if shards is None else self.open.intersection(shards)):
                self._end(shard, outcome, reason, code)

    def on_reply(self, reply: Reply, worker: str, now: float) -> None:
        """A shard has answered."""
        shard = reply.shard
        if shard in self.results or shard not in self.asked:
            return
        try:
            if reply.status == _STATUS_OK:
                body = self._unpack(reply.body)
                self.num_ok += 1
                part = ShardResult(_OK, "", "", body, reply, worker, now - self.started)
                # As `_record`, inlined: nearly every part ends here.
                self.results[shard] = part
                self.num_open -= 1
                if self._until is not None or self._on_hedge_ends:
                    self._follow(shard, part)
                if not self.num_open and not self._done.done():
                    self._done.set_result(None)
                return
            failure = unpack_failure(reply.body)
            reason, code = failure.message, failure.code
            is_expired = reply.status == Status.EXPIRED
            outcome = Outcome.TIMED_OUT if is_expired else Outcome.FAILED
        except WireError as error:
            outcome, reason, code = Outcome.FAILED, f"malformed reply: {error}", "malformed"
        self._end(shard, outcome, reason, code, reply, worker)

    def on_unsent(self, shard: int, reason: str) -> None:
        """Redis did not take the request."""
        if shard in self.asked and shard not in self.results:
            self._end(shard, Outcome.UNAVAILABLE, reason)

    def on_lost(self, reason: str) -> None:
        """No reply can come any more."""
        self.end(Outcome.UNAVAILABLE, reason)

    def _expire(self) -> None:
        waited_s = self._loop.time() - self.started
        is_silent = self._is_silent is not None and self._is_silent()
        for shard in sorted(self.open):
            if is_silent:  # it may have the reply, and the shard is not at fault
                self._end(shard, Outcome.UNAVAILABLE, "Redis does not answer")
            elif any(shard in backlogs for backlogs in self._sent):
                self._end(shard, Outcome.TIMED_OUT, "no reply by the deadline")
            elif waited_s < ROUND_TRIP_S:  # the deadline was too short, nothing else is wrong
                self._end(shard, Outcome.TIMED_OUT, "the deadline left no time", NO_TIME)
            else:  # the server hangs: the request has not reached the shard
                self._end(shard, Outcome.UNAVAILABLE, "Redis did not take the request in time")

    def _end(
        self,
        shard: int,
        outcome: Outcome,
        reason: str,
        code: str = "",
        reply: Reply | None = None,
        worker: str = "",
    ) -> None:
        took_s = self._loop.time() - self.started
        self._record(shard, ShardResult(outcome, reason, code, None, reply, worker, took_s))

    def _record(self, shard: int, part: ShardResult) -> None:
        self.results[shard] = part
        self.num_open -= 1
        self._follow(shard, part)
        if not self.num_open and not self._done.done():
            self._done.set_result(None)

    def _follow(self, shard: int, part: ShardResult) -> None:
        """Do what depends on how a part has ended."""
        if self._until is not None and self.num_open and part.outcome is _OK:
            self._consider(self._until())
        if shard in self._on_hedge_ends:
            self._on_hedge_ends.pop(shard)(shard, part)

    def _consider(self, until: float) -> None:
        if until >= self._ends_at or self._alarm is None:
            return
        self._alarm.cancel()
        # Not at once: replies that arrived together with this one count too.
        self._ends_at, self._is_enough = until, True
        self._alarm = self._next_alarm()

    def _next_alarm(self) -> Alarm:
        if self._look_at < self._ends_at:
            return self._alarms.set(self._look_at, self._on_look_due)
        return self._alarms.set(self._ends_at, self._stop if self._is_enough else self._expire)

    def _on_look_due(self) -> None:
        look, self._look, self._look_at = self._look, None, math.inf
        self._alarm = self._next_alarm()
        if look is not None:
            look()

    def _stop(self) -> None:
        self.end(Outcome.CANCELLED, "enough of the documents was covered without it", ENOUGH)
