"""Keeps other users out of a data folder: its folders have mode 0700 and its files 0600.

Documents, logs and Redis's file contain what callers sent. New files get their mode from the umask
of the processes that write. If an earlier version made the folder, its modes are changed when it is
next used.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.user_function import working_folder

UMASK = 0o077
FOLDER_MODE = 0o700
FILE_MODE = 0o600
LOCK = "lock"
# Our files and folders in a data folder, which may also hold others.
PARTS = (
    "shards",
    "statistics",
    "workers",
    "unused",
    "snapshots",
    "restoring",
    "redis",
    "redis-nodes",
    "logs",
    "ray",
    "run",
    LOCK,
    "set-aside",
    "worker",
)

_OTHERS = 0o077

_log = structlog.get_logger()


def write_privately() -> None:
    """Make files that this process and its children create accessible only to its user.

    For entry points: the umask applies to the whole process.
    """
    os.umask(UMASK)


def make_private(folder: Path) -> None:
    """Create a data folder, or remove other users' rights to an existing one.

    Only files and folders of this user are changed, and links are not followed. The folder itself
    stays as it is if it is used for more than our data: the current folder or one above it, the
    home folder, and one that all users may write to, such as /tmp.

    Raises:
        ConfigurationError: it cannot be created.
    """
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ConfigurationError(f"data: {folder}: is not a folder") from error
    except OSError as error:
        raise ConfigurationError(f"data: {folder}: {error.strerror}") from error
    folder = folder.resolve()
    parts = list(_parts(folder))
    loose = [part for part in parts if _is_open(part)]
    num_changed = sum(_tighten(path) for part in loose for path in _within(part))
    if _is_open(folder) and not _is_shared(folder):
        num_changed += _tighten(folder)
    if num_changed and any(part.name != LOCK for part in parts):  # a new folder has no data yet
        _log.warning(
            "data_folder_tightened",
            folder=str(folder),
            files=num_changed,
            hint="other users could read the stored data; now only this user can",
        )


def make_folders(path: Path) -> None:
    """Create a folder in a data folder, and missing folders above it.

    Raises:
        OSError: one cannot be created.
    """
    if not path.parent.is_dir():
        make_folders(path.parent)
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)


def _parts(folder: Path) -> Iterator[Path]:
    for name in PARTS:
        path = folder / name
        if os.path.lexists(path):
            yield path


def _within(part: Path) -> Iterator[Path]:
    """A file, or a folder with everything in it, from the outside inwards."""
    yield part
    # By now no other user can change the folder, so no file in it can be replaced by a link.
    for parent, folders, files in os.walk(part):
        for name in (*folders, *files):
            yield Path(parent, name)


def _is_open(path: Path) -> bool:
    """Whether it belongs to this user, is not a link, and other users have any right to it."""
    found = path.lstat()
    is_ours = found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode)
    return is_ours and bool(found.st_mode & _OTHERS)


def _is_shared(folder: Path) -> bool:
    """Whether the folder is used for more than our data."""
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111 - Path.home raises without one
    others = {home}
    if (here := working_folder()) is not None:
        others |= {here.resolve(), *here.resolve().parents}
    is_sticky = bool(folder.stat().st_mode & stat.S_ISVTX)
    return is_sticky or folder in others


def _tighten(path: Path) -> int:
    """Remove other users' rights; return how many files were changed."""
    try:
        if not _is_open(path):
            return 0
        path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~_OTHERS)
    except OSError:  # removed meanwhile, or a disk that is read-only
        return 0
    return 1
