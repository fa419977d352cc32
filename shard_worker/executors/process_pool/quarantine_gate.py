"""Whether a lane may run a task, and the reports of tasks that have killed a scorer.

After its first kill a task is *on trial*: the lane whose scorer it killed tries it once more, and
no other scorer runs an equal task until that try has ended. If equal tasks run in several workers,
and each would kill a scorer within seconds, the first kill stops the others; only scorers that die
within the milliseconds before the record arrives are lost, too.
"""

import time
from collections.abc import Callable, Collection, Iterable
from itertools import count
from secrets import token_hex

from hedgerow.common.errors import QuarantinedError
from hedgerow.common.state.quarantine import Quarantine, Record, What
from hedgerow.shard_worker.executors.process_pool.task import TaskHandle

# A task that has killed a scorer is not tried again before the cluster has confirmed the record, so
# that kills elsewhere count. But its deadline approaches, so this is the longest wait, in s.
CONFIRM_S = 0.1
_LONGEST_TRIAL_S = 60.0  # of a task without a deadline


class QuarantineGate:
    """One lane's view of the cluster's quarantine; for use on the event loop alone.

    Attributes:
        quarantine: what is known, from here and elsewhere.
        publish: sends a record to the cluster, which leads to a call of `confirm`; None without a
            cluster.
        listeners: called with the fingerprints for which records have changed or were confirmed;
            each pool that asks here adds its own, and removes it when it closes.
    """

    def __init__(
        self,
        quarantine: Quarantine,
        server_ms: Callable[[float], int] = lambda now: int(now * 1000),
        worker: str = "",
        has_memory: Callable[[], bool] = lambda: True,
    ) -> None:
        """Start without records.

        Args:
            quarantine: the policy.
            server_ms: the Redis server's clock, in ms, at an instant of `time.monotonic()`.
            worker: this worker's name in the cluster.
            has_memory: whether there is memory to spare here; if not, no task is to blame for a
                scorer that died.
        """
        self.quarantine = quarantine
        self.publish: Callable[[Record], None] | None = None
        self.listeners: list[Callable[[Collection[bytes]], None]] = []
        self._server_ms = server_ms
        self._worker = worker
        self._has_memory = has_memory
        self._unconfirmed: dict[
            bytes, float
        ] = {}  # fingerprint → until when to wait for the cluster
        self._run = token_hex(4)  # distinguishes runs of a worker, each of which counts from 0
        self._numbers = count()

    # ---- questions

    def refusal(self, handle: TaskHandle, now: float) -> QuarantinedError | None:
        """Why a task must not run at all; None if it may run, now or later."""
        fingerprint = handle.task.identity.fingerprint
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

    def wait_until(self, handle: TaskHandle, now: float) -> float:
        """Until when a task must be held, by `time.monotonic()`; 0 if it may run now.

        A listener may release it sooner.
        """
        fingerprint = handle.task.identity.fingerprint
        if fingerprint is None:
            return 0.0
        if (confirmed_by := self._unconfirmed.get(fingerprint, 0.0)) > now:
            return confirmed_by
        if handle.num_crashes:  # it is the one on trial
            return 0.0
        now_ms = self._server_ms(now)
        until_ms = self.quarantine.trial_until_ms(fingerprint, now_ms)
        return now + (until_ms - now_ms) / 1000 if until_ms else 0.0

    def barred(self, handles: Iterable[TaskHandle], now: float) -> list[TaskHandle]:
        """The tasks among `handles` that must not run now."""
        return [one for one in handles if self.refusal(one, now) or self.wait_until(one, now)]

    def load(self, now: float) -> int:
        """How many queries are refused."""
        return self.quarantine.count(self._server_ms(now))

    # ---- records of this lane

    def died(self, handle: TaskHandle, now: float, will_retry: bool) -> None:
        """Record that a scorer died while it ran this task, unless any might have died here."""
        if self._has_memory():
            self.killed(handle, now, will_retry)

    def killed(self, handle: TaskHandle, now: float, will_retry: bool) -> None:
        """Record that a scorer had to be killed, or died of this task, while it ran it."""
        fingerprint = handle.task.identity.fingerprint
        if fingerprint is None:
            return
        until = min(handle.expires_at, now + _LONGEST_TRIAL_S) if will_retry else 0.0
        if self.publish is not None:
            self._unconfirmed[fingerprint] = now + CONFIRM_S
        self._tell(handle, What.KILL, now, self._server_ms(until) if until else 0)

    def tried(self, handle: TaskHandle, now: float) -> None:
        """Record that the second try of a task has ended, with any result."""
        fingerprint = handle.task.identity.fingerprint
        if fingerprint and self.quarantine.trial_until_ms(fingerprint, self._server_ms(now)):
            self._tell(handle, What.TRIED, now)

    def _tell(self, handle: TaskHandle, what: What, now: float, until_ms: int = 0) -> None:
        identity = handle.task.identity
        assert identity.fingerprint is not None  # noqa: S101 - checked by the callers
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

    # ---- records of the cluster

    def take(self, records: Iterable[Record]) -> None:
        """Take records of this lane or others."""
        if changed := self.quarantine.take(records):
            self._wake(changed)

    def confirm(self, fingerprints: Collection[bytes]) -> None:
        """The cluster has confirmed records of these tasks, or cannot be reached now."""
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
