"""How many bytes a second a worker restores, in all of its restores together."""

import threading
import time
from collections.abc import Callable
from typing import Final, Self

from hedgerow.common.runtime.token_bucket import TokenBucket
from hedgerow.common.settings.settings import Settings

SHORTEST_SLEEP_S: Final = 0.001  # a clock may not show a shorter one
LONGEST_SLEEP_S: Final = 0.1  # until it is asked again whether to go on


class RestorePace:
    """Lets threads restore at most `max_bytes_per_s` together, and a second's worth at once."""

    def __init__(
        self,
        max_bytes_per_s: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start with a second's worth; `now` and `sleep` are the threads' clock, in s."""
        self._bucket = TokenBucket(max_bytes_per_s)
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The pace of a worker with these settings; None for no limit.

        A worker whose shards are pinned restores only before it serves, and has no limit.
        """
        rate = settings.placement.max_restore_bytes_per_s
        return cls(rate) if settings.worker.join and rate else None

    def wait(self, num_bytes: int, check: Callable[[], None]) -> None:
        """Return when `num_bytes` may be restored; blocks the thread that calls it.

        Args:
            num_bytes: how many; 0 never waits.
            check: called at least every 0.1 s; an error that it raises ends the wait.
        """
        while num_bytes and (wait_s := self._take(num_bytes)):
            self._sleep(min(max(wait_s, SHORTEST_SLEEP_S), LONGEST_SLEEP_S))
            check()

    def _take(self, num_bytes: int) -> float:
        with self._lock:
            return self._bucket.take(self._now(), num_bytes)
