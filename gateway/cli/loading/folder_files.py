"""Finds the files under a folder, and none outside of it.

If other users can write to the folder, it may contain links to files that only this user can read,
and files that block or have an effect when they are opened. Each entry is therefore checked before
it is opened, and then opened folder by folder without following links, so that an entry that was
swapped in between is not read. Links to files in the folder are resolved first, and their targets
opened in the same way.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

# The path becomes the document's id, and the gateway's limit for ids is shorter than this.
MAX_DEPTH: Final = 256
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO that has replaced a file would wait for a writer.
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_REGULAR: Final = "is not a regular file"


class Entry(NamedTuple):
    """A file in the folder, or an entry that cannot be read.

    Attributes:
        path: its path in the folder, with `/` between the parts.
        source: the path of its content in the folder; differs from `path` for a link.
        reason: why it cannot be read, or "".
    """

    path: str
    source: str
    reason: str = ""


class FolderFiles:
    """The files in a folder, except hidden ones; a context manager that keeps the folder open."""

    def __init__(self, folder: Path, *, follow_links: bool = False) -> None:
        """Use `folder`, which may be a link itself.

        Args:
            folder: exists.
            follow_links: whether to follow links to folders, and links that lead out of the
                folder; each folder is then read once.

        Raises:
            OSError: it cannot be opened.
        """
        self._real = os.path.realpath(folder)
        self._follow_links = follow_links
        self._root = os.open(self._real, _FOLDER_FLAGS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry that is not a folder; a folder's own come before its subfolders'."""
        seen: set[tuple[int, int]] = set()
        waiting = [""]
        while waiting:
            path = waiting.pop()
            if path.count("/") >= MAX_DEPTH:
                yield Entry(path, path, f"is deeper than {MAX_DEPTH} folders")
                continue
            try:
                listed = self._list(path, seen)
            except OSError as error:
                yield Entry(path or ".", path, f"cannot be read: {error.strerror}")
                continue
            folders = listed.folders
            for name in sorted((*listed.files, *listed.others)):
                inner = f"{path}/{name}" if path else name
                if name not in listed.others:
                    yield Entry(inner, inner)
                elif not stat.S_ISLNK(listed.others[name]):
                    yield Entry(inner, inner, _NOT_REGULAR)
                else:
                    entry, is_folder = self._link(inner)
                    if is_folder:
                        folders.append(name)
                    elif entry is not None:
                        yield entry
            folders.sort(reverse=True)
            waiting += [f"{path}/{name}" if path else name for name in folders]

    def open(self, entry: Entry) -> int:
        """Open a file that `entries` named.

        Returns:
            A descriptor of a regular file, which the caller closes.

        Raises:
            OSError: it is not there, not a regular file any more, or may not be read.
        """
        descriptor = self._open(entry.source, _FILE_FLAGS)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(0, _NOT_REGULAR)
        return descriptor

    def _list(self, path: str, seen: set[tuple[int, int]]) -> "_Listed":
        descriptor = self._open(path, _FOLDER_FLAGS) if path else os.dup(self._root)
        try:
            listed = _Listed([], [], {})
            if self._follow_links:
                found = os.fstat(descriptor)
                if (found.st_dev, found.st_ino) in seen:
                    return listed
                seen.add((found.st_dev, found.st_ino))
            with os.scandir(descriptor) as scanned:
                for entry in scanned:
                    if not entry.name.startswith("."):
                        listed.add(entry)
            return listed
        finally:
            os.close(descriptor)

    def _link(self, path: str) -> tuple[Entry | None, bool]:
        """Resolve a link: returns its entry, if any, and whether to go on into a folder."""
        try:
            target = os.path.realpath(os.path.join(self._real, path), strict=True)  # noqa: PTH118
            mode = os.stat(target).st_mode  # noqa: PTH116 - a str, as all paths here
        except OSError:
            return Entry(path, path, "is a broken link"), False
        inside = self._real.rstrip("/") + "/"
        is_inside = target.startswith(inside) or target == self._real
        if not is_inside and not self._follow_links:
            reason = "is a link that leads out of the folder; use --follow-links to follow it"
            return Entry(path, path, reason), False
        if stat.S_ISDIR(mode):
            # The target is a folder inside this one, and is read there.
            return None, self._follow_links
        if not stat.S_ISREG(mode):
            return Entry(path, path, _NOT_REGULAR), False
        return Entry(path, target.removeprefix(inside) if is_inside else path), False

    def _open(self, path: str, flags: int) -> int:
        """Open folder by folder; a link on the path is an error unless links are followed."""
        no_links = 0 if self._follow_links else os.O_NOFOLLOW
        *folders, name = path.split("/")
        parent = self._root
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER_FLAGS | no_links, dir_fd=parent)
                if parent != self._root:
                    os.close(parent)
                parent = inner
            return os.open(name, flags | no_links, dir_fd=parent)
        finally:
            if parent != self._root:
                os.close(parent)


class _Listed(NamedTuple):
    """A folder's entries by kind; for those that are neither files nor folders, the mode."""

    files: list[str]
    folders: list[str]
    others: dict[str, int]

    def add(self, entry: "os.DirEntry[str]") -> None:
        if entry.is_file(follow_symlinks=False):
            self.files.append(entry.name)
        elif entry.is_dir(follow_symlinks=False):
            self.folders.append(entry.name)
        else:
            self.others[entry.name] = stat.S_IFLNK if entry.is_symlink() else 0
