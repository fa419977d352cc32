"""A file that tells for how long a worker's last heartbeat is fresh, for a cheap health check.

Its modification time is the time until which the heartbeat counts for gateways. So the check is
whether that time is to come, which a shell finds out by itself: an interpreter that asks Redis
takes half a second of CPU. A time that is further off than a heartbeat is fresh must not count: if
the clock is set back, the file of a process that hangs would be fresh until the clock has caught
up. That of a process that sends heartbeats is right again after the next one.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

import structlog

from hedgerow.common.observability.telemetry import Throttle

log = structlog.get_logger()


class HealthFile:
    """Keeps the file; called when a heartbeat has arrived."""

    def __init__(self, path: Path | None, expiry_s: float) -> None:
        """Keep a file.

        Args:
            path: the file, in memory, so that no disk holds the loop up; None for none.
            expiry_s: how long a heartbeat is fresh, in s.
        """
        self._path = path
        self._expiry_s = expiry_s
        self._throttle = Throttle(60.0)

    def __call__(self, age_s: float) -> None:
        """A heartbeat that was composed `age_s` ago, in s, has arrived."""
        if self._path is None:
            return
        until = time.time() - age_s + self._expiry_s
        try:
            with suppress(FileNotFoundError):
                os.utime(self._path, (until, until))
                return
            self._path.touch()
            os.utime(self._path, (until, until))
        except OSError as error:
            if self._throttle.allows("unwritten", time.monotonic()):
                log.warning("health_file_unwritten", error=str(error))
