"""What a lane asks before it runs a task, and reports when a scorer has died of one.

After its first kill a task is *on trial*: the lane whose scorer it killed tries it once more, and
no other scorer runs it until that has ended. Of copies that run at once in several workers and
would each kill a scorer within seconds, the first to kill stops the others; only scorers that die
within the milliseconds that the news takes to spread are lost too.
"""

import time
from collections.abc import Callable, Collection, Iterable
from itertools import count
from secrets import token_hex

from hedgerow.common.errors import QuarantinedError
from hedgerow.common.state.quarantine import Quarantine, Record, What
from hedgerow.shard_worker.executors.process_pool.task import TaskHandle

# A work that has killed is not tried again before the cluster was told, so that kills elsewhere
# count; but the deadline runs, and a Redis that hangs is not waited for longer than this.
CONFIRM_S = 0.1
_LONGEST_TRIAL_S = 60.0  # of a work without a deadline


class QuarantineGate:
    """One lane's view of the cluster's quarantine; for use on the event loop alone.

    Attributes:
        quarantine: what is known, from here and elsewhere.
        publish: tells the cluster of a record, and answers with `confirm`; None when there is
            none to report to.
        listeners: told the fingerprints of which something new is known; each pool that asks here
            adds its own, and removes it when it closes.
    """

    def __init__(
        self,
        quarantine: Quarantine,
        server_ms: Callable[[float], int] = lambda now: int(now * 1000),
        worker: str = "",
    ) -> None:
        """Know nothing yet.

        Args:
            quarantine: the policy.
            server_ms: the Redis server's clock, in ms, at an instant of `time.monotonic()`.
            worker: this worker's name in the cluster.
        """
        self.quarantine = quarantine
        self.publish: Callable[[Record], None] | None = None
        self.listeners: list[Callable[[Collection[bytes]], None]] = []
        self._server_ms = server_ms
        self._worker = worker
        self._unconfirmed: dict[bytes, float] = {}  # → until when to wait for the cluster
        self._run = token_hex(4)  # a worker of this name that starts again counts from 0 too
        self._numbers = count()

    # ---- questions

    def refusal(self, ticket: TaskHandle, now: float) -> QuarantinedError | None:
        """Why a work must not run at all; None when it may, now or later."""
        fingerprint = ticket.work.identity.fingerprint
        if fingerprint is None:
            return None
        now_ms = self._server_ms(now)
        entry = self.quarantine.refused(fingerprint, now_ms)
        if entry is None:
            return None
        return QuarantinedError(
            f"this query has killed {entry.num_kills} scorers and is refused "
            f"for another {(entry.expires_at_ms - now_ms) / 1000:.0f} s"
        )

    def wait_until(self, ticket: TaskHandle, now: float) -> float:
        """Until when a work must wait to be looked at again, in s; 0 when it need not.

        A listener may be told sooner.
        """
        fingerprint = ticket.work.identity.fingerprint
        if fingerprint is None:
            return 0.0
        if (confirmed_by := self._unconfirmed.get(fingerprint, 0.0)) > now:
            return confirmed_by
        if ticket.num_crashes:  # the trial is its own
            return 0.0
        now_ms = self._server_ms(now)
        until_ms = self.quarantine.trial_until_ms(fingerprint, now_ms)
        return now + (until_ms - now_ms) / 1000 if until_ms else 0.0

    def barred(self, tickets: Iterable[TaskHandle], now: float) -> list[TaskHandle]:
        """Those of `tickets` that must not run now."""
        return [one for one in tickets if self.refusal(one, now) or self.wait_until(one, now)]

    def load(self, now: float) -> int:
        """How many works are refused."""
        return self.quarantine.count(self._server_ms(now))

    # ---- what happens here

    def killed(self, ticket: TaskHandle, now: float, will_retry: bool) -> None:
        """A scorer died, or had to be killed, while it ran this work."""
        fingerprint = ticket.work.identity.fingerprint
        if fingerprint is None:
            return
        until = min(ticket.expires_at, now + _LONGEST_TRIAL_S) if will_retry else 0.0
        if self.publish is not None:
            self._unconfirmed[fingerprint] = now + CONFIRM_S
        self._tell(ticket, What.KILL, now, self._server_ms(until) if until else 0)

    def tried(self, ticket: TaskHandle, now: float) -> None:
        """A work that has killed a scorer has ended, whatever came of its second try."""
        fingerprint = ticket.work.identity.fingerprint
        if fingerprint and self.quarantine.trial_until_ms(fingerprint, self._server_ms(now)):
            self._tell(ticket, What.TRIED, now)

    def _tell(self, ticket: TaskHandle, what: What, now: float, until_ms: int = 0) -> None:
        identity = ticket.work.identity
        assert identity.fingerprint is not None  # noqa: S101 - its callers have looked
        record = Record(
            self._server_ms(now),
            identity.fingerprint,
            what,
            f"{self._run}-{next(self._numbers)}",
            self._worker,
            identity.label,
            until_ms,
        )
        if self.publish is not None:
            self.publish(record)
        self.take([record])

    # ---- what is heard

    def take(self, records: Iterable[Record]) -> None:
        """Something has happened, here or elsewhere."""
        if changed := self.quarantine.take(records):
            self._wake(changed)

    def confirm(self, fingerprints: Collection[bytes]) -> None:
        """The cluster was told of kills, and what it knows was taken; or it cannot be told now."""
        now = time.monotonic()
        for fingerprint in fingerprints:
            self._unconfirmed.pop(fingerprint, None)
        for fingerprint in [one for one, by in self._unconfirmed.items() if by <= now]:
            del self._unconfirmed[fingerprint]
        if fingerprints:
            self._wake(fingerprints)

    def _wake(self, fingerprints: Collection[bytes]) -> None:
        for listener in tuple(self.listeners):
            listener(fingerprints)
