"""A small disk of its own for each process that stores something, in a file."""

import contextlib
import errno
import os
from pathlib import Path

from nemesis.commands import run

_SIZE_MB = 160
_LEAST_FREE_MB = 1
_FILLER = "filler"


class Disk:
    """A file system in a file, mounted on a folder.

    Attributes:
        folder: where it is mounted.
        device: its number as control groups have it, such as `7:0`; empty while it is not mounted.
    """

    def __init__(self, folder: Path) -> None:
        """Mount on `folder`."""
        self.folder = folder
        self.device = ""
        self._image = folder.with_suffix(".img")
        self._loop = ""

    async def open(self) -> None:
        """Create and mount it."""
        self.folder.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(_SIZE_MB << 20)
        await run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        self._loop = (await run("losetup", "--find", "--show", str(self._image))).strip()
        await run("mount", self._loop, str(self.folder))
        number = os.stat(self._loop).st_rdev  # noqa: PTH116 - of a device, at once
        self.device = f"{os.major(number)}:{os.minor(number)}"

    async def close(self) -> None:
        """Unmount and remove it."""
        if self.device:
            await run("umount", "--lazy", str(self.folder))
        if self._loop:
            with contextlib.suppress(RuntimeError):
                await run("losetup", "--detach", self._loop)
        self._image.unlink(missing_ok=True)

    def fill(self) -> None:
        """Leave no room."""
        with (self.folder / _FILLER).open("wb") as filler:
            free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
            for size in (free - (_LEAST_FREE_MB << 20), 1 << 18, 1 << 16, 1 << 12):
                with contextlib.suppress(OSError):
                    while size > 0:
                        at = filler.seek(0, os.SEEK_END)
                        os.posix_fallocate(filler.fileno(), at, size)

    def empty(self) -> None:
        """Make room again."""
        (self.folder / _FILLER).unlink(missing_ok=True)

    def is_full(self) -> bool:
        """Whether a byte finds no room; asked of the file system, not of its figures."""
        probe = self.folder / "probe"
        try:
            probe.write_bytes(b"x" * 65_536)
        except OSError as error:
            return error.errno == errno.ENOSPC
        finally:
            probe.unlink(missing_ok=True)
        return False
