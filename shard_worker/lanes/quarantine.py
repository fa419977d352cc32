"""Which works are refused because they have killed scorers: a pure policy, `now` passed in."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """One fingerprint that has killed scorers.

    Attributes:
        fingerprint: what counts as the same work.
        label: an excerpt of it, for people.
        num_kills: scorers that died under it.
        first_kill_at: when the first did, in s on the caller's clock.
        expires_at: when it is forgotten, in s on the caller's clock.
        is_refused: whether it has killed enough to be refused until then.
    """

    fingerprint: bytes
    label: str
    num_kills: int
    first_kill_at: float
    expires_at: float
    is_refused: bool


class Quarantine:
    """Counts kills by fingerprint; refuses what has killed `after` times, until it expires.

    Each kill renews the expiry, so a work is forgotten `expiry_s` after its last kill, and kills
    count together when each comes within `expiry_s` of the one before. At most
    `max_entries` fingerprints are remembered; the one that killed least recently goes first.
    """

    def __init__(self, after: int, expiry_s: float, max_entries: int = 1024) -> None:
        self._after = after
        self._expiry_s = expiry_s
        self._max_entries = max_entries
        self._entries: dict[bytes, QuarantineEntry] = {}  # in order of their last kill

    def record_kill(self, fingerprint: bytes, label: str, now: float) -> None:
        """A scorer died, or had to be killed, while it ran this work."""
        self._forget(now)
        known = self._entries.pop(fingerprint, None)
        num_kills = 1 if known is None else known.num_kills + 1
        self._entries[fingerprint] = QuarantineEntry(
            fingerprint,
            label,
            num_kills,
            now if known is None else known.first_kill_at,
            now + self._expiry_s,
            num_kills >= self._after,
        )
        if len(self._entries) > self._max_entries:
            del self._entries[next(iter(self._entries))]

    def refused(self, fingerprint: bytes, now: float) -> QuarantineEntry | None:
        """The entry by which this work is refused, or None when it may run."""
        if not self._entries:
            return None
        entry = self._entries.get(fingerprint)
        if entry is None or not entry.is_refused or now >= entry.expires_at:
            return None
        return entry

    def is_quarantined(self, fingerprint: bytes, now: float) -> bool:
        """Whether this work is refused."""
        return self.refused(fingerprint, now) is not None

    def entries(self, now: float) -> list[QuarantineEntry]:
        """What is remembered, latest kill last; those not yet refused included."""
        self._forget(now)
        return list(self._entries.values())

    def count(self, now: float) -> int:
        """How many works are refused."""
        return sum(entry.is_refused for entry in self.entries(now))

    def _forget(self, now: float) -> None:
        for fingerprint in list(self._expired(now)):
            del self._entries[fingerprint]

    def _expired(self, now: float) -> Iterator[bytes]:
        for fingerprint, entry in self._entries.items():  # the order of kills is that of expiry
            if now < entry.expires_at:
                return
            yield fingerprint
