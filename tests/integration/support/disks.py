"""Small disks that tests fill, free and make read-only; root alone may mount them."""

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.needs import missing

_CHUNK = b"\0" * 65_536


class Disk:
    """A file system in memory, of a bounded size.

    Attributes:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all the space except `leave_bytes`."""
        free = os.statvfs(self.path)
        left = free.f_bavail * free.f_frsize - leave_bytes
        with self._filler.open("ab", buffering=0) as file:
            while left > 0:
                try:
                    left -= file.write(_CHUNK[:left])
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # others write to it too  # noqa: PT017
                    return

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()

    def protect(self, folder: Path) -> None:
        """Make a folder read-only for all that is opened from now on."""
        # A mount is not made read-only while a file is open for writing through it. Through this
        # one none is; its copy is read-only from the first moment at which the folder leads there.
        aside = self.path / "read-only"
        aside.mkdir()
        _run("mount", "--bind", str(folder), str(aside))
        _run("mount", "-o", "remount,bind,ro", str(aside))
        _run("mount", "--bind", str(aside), str(folder))

    def allow(self, folder: Path) -> None:
        """Undo that."""
        _run("mount", "-o", "remount,bind,rw", str(folder))


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Disk]:
    """A disk for the block; skips the test, or fails it in CI, where it cannot be mounted."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-disk-") as name:
        path = Path(name)
        try:
            _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", name)
        except (OSError, subprocess.CalledProcessError):
            missing("the right to mount a tmpfs")
        try:
            yield Disk(path)
        finally:
            # What was mounted within goes first.
            mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
            for mount in sorted(mounts, key=len, reverse=True):
                if Path(mount).is_relative_to(path):
                    _run("umount", "--lazy", mount)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
