"""How much of its time a worker's indexer spends in users' functions that embed. Pure."""

from collections import deque
from typing import Any, Final

from hedgerow.common.fields.embedding_counts import NONE, EmbeddingCounts

WINDOW_S: Final = 60.0
# From this share of the time on, faster writes than those of the last minute wait for the function.
BOUND: Final = 0.5
_QUIET_S: Final = 600.0  # after a note, before the next


class EmbeddingAccount:
    """Adds up what the indexer reports after each command."""

    def __init__(self) -> None:
        """Nothing was embedded so far."""
        self._total = NONE
        self._last: deque[tuple[float, float]] = deque()  # when, and for how long
        self._noted_at: float | None = None

    def add(self, counts: EmbeddingCounts, now: float) -> None:
        """Count what was embedded until `now`."""
        self._total = self._total.plus(counts)
        if counts.seconds:
            self._last.append((now, counts.seconds))

    def share(self, now: float) -> float:
        """The share of the last minute in which the indexer embedded, and wrote nothing."""
        while self._last and self._last[0][0] <= now - WINDOW_S:
            self._last.popleft()
        return min(1.0, sum(seconds for _, seconds in self._last) / WINDOW_S)

    def takes_note(self, now: float) -> bool:
        """Whether it is to be logged that writes wait for the function; at most every 10 min."""
        if self.share(now) < BOUND:
            return False
        if self._noted_at is not None and now - self._noted_at < _QUIET_S:
            return False
        self._noted_at = now
        return True

    def to_json(self, now: float) -> dict[str, Any]:
        """For the heartbeat; empty if nothing was ever embedded."""
        if self._total == NONE:
            return {}
        return {
            **self._total._asdict(),
            "seconds": round(self._total.seconds, 3),
            "share": round(self.share(now), 3),
        }
