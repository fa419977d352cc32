"""Which works are refused because they have killed scorers: a pure policy, `now_ms` passed in.

What is known is a set of records, and what is refused is a function of that set and of the time
alone. So all who have heard the same records refuse the same works, in whatever order they heard
them and however often: a grow-only set, the simplest of the conflict-free replicated data types
(Shapiro et al., INRIA RR-7687, 2011, section 3.3.1). Of a flood the latest records are kept, which
is again a function of the set.

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


def fingerprint_of(payload: bytes, allowed_ms: int = 0) -> bytes:
    """What makes two searches the same: their packed `SearchPayload`, without the shard.

    Args:
        payload: it.
        allowed_ms: how long the search may take, where two are the same only if that is alike to a
            factor of four; else 0.
    """
    alike = (allowed_ms.bit_length() + 1) // 2
    return blake2b(payload + bytes((alike,)) if alike else payload, digest_size=8).digest()


class What(IntEnum):
    """What a record tells of a fingerprint."""

    KILL = 1  # a scorer died, or had to be killed, while it ran this
    TRIED = 2  # the second try that kills until then have announced is over
    LIFTED = 3  # an operator lets it run again: kills until then do not count


class Record(NamedTuple):
    """One thing that happened; ordered by time.

    Attributes:
        at_ms: when.
        fingerprint: of which work.
        what: what happened.
        id: tells apart what happened to one work at one time.
        worker: where; "" for what an operator did.
        label: an excerpt of the work, for people.
        trial_until_ms: of a kill: until then the same work is tried once more where it has
            killed, and nowhere else; 0 when it is not tried again.
    """

    at_ms: int
    fingerprint: bytes
    what: What
    id: str
    worker: str = ""
    label: str = ""
    trial_until_ms: int = 0

    def pack(self) -> bytes:
        """Pack for the wire: a MessagePack array that a version precedes."""
        packed: bytes = msgpack.packb([_VERSION, *self])
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> "Record":
        """Unpack.

        Raises:
            WireError: it is malformed, or of a version or kind that is not known here.
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
        fingerprint: what counts as the same work.
        label: an excerpt of it, for people.
        num_kills: scorers that died under it.
        last_kill_at_ms: when the last did.
        expires_at_ms: when it is forgotten.
        is_refused: whether it has killed enough to be refused until then.
        trial_until_ms: until then it is being tried once more by one scorer; 0 when it is not.
        workers: whose scorers died.
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
    """Counts kills by fingerprint; refuses what has killed `after` times, until it expires.

    Each kill renews the expiry, so a work is forgotten `expiry_s` after its last kill, and kills
    count together when each comes within `expiry_s` of the one before.
    """

    def __init__(self, after: int, expiry_s: float, max_records: int = MAX_RECORDS) -> None:
        self._after = after
        self._expiry_ms = int(expiry_s * 1000)
        self._max_records = max_records
        self._records: set[Record] = set()
        self._entries: dict[bytes, QuarantineEntry] = {}

    def __bool__(self) -> bool:
        """Whether any work is under suspicion; the first and cheapest question."""
        return bool(self._entries)

    @property
    def retention_ms(self) -> int:
        """How long a record can matter: so long may the last `after` kills lie apart."""
        return self._after * self._expiry_ms

    def take(self, records: Iterable[Record]) -> set[bytes]:
        """Take records into account; returns the fingerprints of those that were not known."""
        fresh = set(records) - self._records
        self._records |= fresh
        if (surplus := len(self._records) - self._max_records) > 0:
            self._drop(sorted(self._records)[:surplus])
        changed = {record.fingerprint for record in fresh}
        self._refresh(changed)
        return changed

    def refused(self, fingerprint: bytes, now_ms: int) -> QuarantineEntry | None:
        """The entry by which this work is refused, or None when it may run."""
        entry = self._entries.get(fingerprint)
        if entry is None or not entry.is_refused or now_ms >= entry.expires_at_ms:
            return None
        return entry

    def trial_until_ms(self, fingerprint: bytes, now_ms: int) -> int:
        """Until when this work must not run but where it has killed; 0 when it may."""
        entry = self._entries.get(fingerprint)
        if entry is None or now_ms >= min(entry.trial_until_ms, entry.expires_at_ms):
            return 0
        return entry.trial_until_ms

    def entries(self, now_ms: int) -> list[QuarantineEntry]:
        """What is remembered, latest kill last; those not yet refused included."""
        self._forget(now_ms)
        current = [entry for entry in self._entries.values() if now_ms < entry.expires_at_ms]
        return sorted(current, key=lambda entry: (entry.last_kill_at_ms, entry.fingerprint))

    def count(self, now_ms: int) -> int:
        """How many works are refused."""
        return sum(entry.is_refused for entry in self.entries(now_ms))

    def _forget(self, now_ms: int) -> None:
        """Let go of records that cannot matter any more."""
        oldest_ms = now_ms - self.retention_ms
        self._drop([record for record in self._records if record.at_ms <= oldest_ms])

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
        """What ascending records of one fingerprint come to; None when no kill counts."""
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
    """The latest kills, latest first, until one that had expired before the next."""
    last = kills[-1]
    for kill in reversed(kills):
        if last.at_ms - kill.at_ms >= expiry_ms:
            return
        yield kill
        last = kill
