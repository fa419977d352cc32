"""Which tasks are refused because they have killed scorers: a pure policy, `now_ms` passed in.

Its state is a set of records, and whether a task is refused depends only on that set and on the
time. So all processes with the same records refuse the same tasks, in whatever order and however
often the records arrived: a grow-only set, the simplest conflict-free replicated data type (Shapiro
et al., INRIA RR-7687, 2011, section 3.3.1). If there are too many, the latest records are kept,
which again depends only on the set.

All instants are ms on the Redis server's clock.
"""

from collections.abc import Collection, Iterable, Iterator
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

import msgpack

from hedgerow.common.errors import WireError

_VERSION = 1
MAX_RECORDS = 1024
# Workers' estimates of the server's clock differ by ms. What is further ahead than this was
# recorded before that clock was set back.
MOST_AHEAD_MS = 60_000


def fingerprint_of(payload: bytes, allowed_ms: int = 0) -> bytes:
    """The fingerprint by which two searches count as the same, on any shard.

    Args:
        payload: the packed `SearchPayload`.
        allowed_ms: how long the search may take, if searches are the same only when this is similar
            within a factor of four; otherwise 0.
    """
    alike = (allowed_ms.bit_length() + 1) // 2
    return blake2b(payload + bytes((alike,)) if alike else payload, digest_size=8).digest()


class What(IntEnum):
    """The kind of a record."""

    KILL = 1  # a scorer died, or had to be killed, while it ran this task
    TRIED = 2  # the second try that earlier kills have announced is over
    LIFTED = 3  # an operator lets the task run again: earlier kills do not count


class Record(NamedTuple):
    """One event in the life of a fingerprint; records are ordered by time.

    Attributes:
        at_ms: when it happened.
        fingerprint: the task's fingerprint.
        what: what happened.
        id: distinguishes records of one task at one time.
        worker: where it happened; "" for an operator's action.
        label: an excerpt of the task, for people.
        trial_until_ms: of a kill, until when the same task is tried once more by the worker where
            it has killed, and by no other; 0 if it is not tried again.
    """

    at_ms: int
    fingerprint: bytes
    what: What
    id: str
    worker: str = ""
    label: str = ""
    trial_until_ms: int = 0

    def pack(self) -> bytes:
        """Pack for the wire: a MessagePack array that begins with a version."""
        packed: bytes = msgpack.packb([_VERSION, *self])
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> "Record":
        """Unpack.

        Raises:
            WireError: it is malformed, or of an unknown version or kind.
        """
        try:
            version, at_ms, fingerprint, what, *rest = msgpack.unpackb(data)
            if version != _VERSION:
                raise WireError(f"a quarantine record of version {version!r}")
            record = cls(at_ms, fingerprint, What(what), *rest)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise WireError(f"a malformed quarantine record: {error}") from error
        if [type(part) for part in record] != [int, bytes, What, str, str, str, int]:
            raise WireError("a malformed quarantine record")
        return record


class QuarantineEntry(NamedTuple):
    """One fingerprint that has killed scorers.

    Attributes:
        fingerprint: identifies the task.
        label: an excerpt of the task, for people.
        num_kills: scorers that it has killed.
        last_kill_at_ms: when the last of them died.
        expires_at_ms: when the entry expires.
        is_refused: whether it has killed enough scorers to be refused until then.
        trial_until_ms: until when one scorer tries it once more; 0 if none does.
        workers: the workers whose scorers died.
    """

    fingerprint: bytes
    label: str
    num_kills: int
    last_kill_at_ms: int
    expires_at_ms: int
    is_refused: bool
    trial_until_ms: int
    workers: tuple[str, ...]


class Quarantine:
    """Counts kills by fingerprint, and refuses tasks that have killed `after` scorers.

    Each kill renews the expiry: a task is forgotten `expiry_s` after its last kill, and kills
    count together if each comes within `expiry_s` of the one before.
    """

    def __init__(self, after: int, expiry_s: float, max_records: int = MAX_RECORDS) -> None:
        self._after = after
        self._expiry_ms = int(expiry_s * 1000)
        self._max_records = max_records
        self._records: set[Record] = set()
        self._entries: dict[bytes, QuarantineEntry] = {}

    def __bool__(self) -> bool:
        """Whether there is any suspect; the first and cheapest check."""
        return bool(self._entries)

    @property
    def retention_ms(self) -> int:
        """How long a record can matter: the longest time that the last `after` kills can span."""
        return self._after * self._expiry_ms

    def take(self, records: Iterable[Record]) -> set[bytes]:
        """Add records; return the fingerprints of those that are new."""
        fresh = set(records) - self._records
        self._records |= fresh
        if (surplus := len(self._records) - self._max_records) > 0:
            self._drop(sorted(self._records)[:surplus])
        changed = {record.fingerprint for record in fresh}
        self._refresh(changed)
        return changed

    def refused(self, fingerprint: bytes, now_ms: int) -> QuarantineEntry | None:
        """The entry because of which this task is refused; None if it may run."""
        entry = self._entries.get(fingerprint)
        if entry is None or not entry.is_refused or now_ms >= entry.expires_at_ms:
            return None
        return entry

    def trial_until_ms(self, fingerprint: bytes, now_ms: int) -> int:
        """Until when this task may run only where it has killed; 0 if it may run anywhere."""
        entry = self._entries.get(fingerprint)
        if entry is None or now_ms >= min(entry.trial_until_ms, entry.expires_at_ms):
            return 0
        return entry.trial_until_ms

    def entries(self, now_ms: int) -> list[QuarantineEntry]:
        """All current entries, latest kill last, including those that are not refused yet."""
        self._forget(now_ms)
        current = [entry for entry in self._entries.values() if now_ms < entry.expires_at_ms]
        return sorted(current, key=lambda entry: (entry.last_kill_at_ms, entry.fingerprint))

    def count(self, now_ms: int) -> int:
        """How many tasks are refused."""
        return sum(entry.is_refused for entry in self.entries(now_ms))

    def _forget(self, now_ms: int) -> None:
        """Drop records that can no longer matter, or are of before the clock was set back.

        A kill of the future would be the last one for as long as it takes the clock to catch up:
        its query would be refused, or others' kills in the meantime not be counted.
        """
        oldest_ms, newest_ms = now_ms - self.retention_ms, now_ms + MOST_AHEAD_MS
        self._drop([one for one in self._records if not oldest_ms < one.at_ms <= newest_ms])

    def _drop(self, records: Collection[Record]) -> None:
        self._records.difference_update(records)
        self._refresh({record.fingerprint for record in records})

    def _refresh(self, fingerprints: Collection[bytes]) -> None:
        if not fingerprints:
            return
        found: dict[bytes, list[Record]] = {fingerprint: [] for fingerprint in fingerprints}
        for record in self._records:
            if record.fingerprint in found:
                found[record.fingerprint].append(record)
        for fingerprint, records in found.items():
            entry = self._entry(fingerprint, sorted(records))
            if entry is None:
                self._entries.pop(fingerprint, None)
            else:
                self._entries[fingerprint] = entry

    def _entry(self, fingerprint: bytes, records: list[Record]) -> QuarantineEntry | None:
        """The entry that follows from a fingerprint's records, oldest first; None without kills."""
        lifted_at_ms = _last(What.LIFTED, records)
        kills = [one for one in records if one.what is What.KILL and one.at_ms > lifted_at_ms]
        if not kills:
            return None
        run = list(_within(self._expiry_ms, kills))
        tried_at_ms = _last(What.TRIED, records)
        is_refused = len(run) >= self._after
        trials = [kill.trial_until_ms for kill in run if kill.at_ms > tried_at_ms]
        return QuarantineEntry(
            fingerprint,
            run[0].label,
            len(run),
            run[0].at_ms,
            run[0].at_ms + self._expiry_ms,
            is_refused,
            0 if is_refused else max(trials, default=0),
            tuple(sorted({kill.worker for kill in run})),
        )


def _last(what: What, records: list[Record]) -> int:
    return max((record.at_ms for record in records if record.what is what), default=-1)


def _within(expiry_ms: int, kills: list[Record]) -> Iterator[Record]:
    """The latest kills, latest first, up to the first one that expired before the next came."""
    last = kills[-1]
    for kill in reversed(kills):
        if last.at_ms - kill.at_ms >= expiry_ms:
            return
        yield kill
        last = kill
