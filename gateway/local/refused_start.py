"""Undoes what a start that is refused has put into a folder that holds no cluster."""

import shutil
from contextlib import suppress
from pathlib import Path

LOGS = "logs"
_OF_A_CLUSTER = "redis"


class RefusedStart:
    """What was in a data folder before a start.

    Attributes:
        keeps_logs: whether the logs stay: workers have written some, which may say more than the
            error.
    """

    def __init__(self, data: Path) -> None:
        """Look into a folder, which need not exist."""
        self._data = data
        self._before = {path.name for path in data.iterdir()} if data.is_dir() else None
        self.keeps_logs = False

    def undo(self) -> None:
        """Remove what was not there, unless the folder held a cluster; nothing may use it now."""
        before = self._before or set()
        if _OF_A_CLUSTER in before or not self._data.is_dir():
            return
        kept = before | {LOGS} if self.keeps_logs else before
        for path in self._data.iterdir():
            if path.name not in kept:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        if self._before is None:
            with suppress(OSError):  # the logs are in it
                self._data.rmdir()
