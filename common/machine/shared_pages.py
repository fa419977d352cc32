"""Pages of memory that a process shares with its forks, until one of them writes to a page.

CPython writes to many: it counts references in the objects themselves. What is done here before
forks keeps it from writing where it need not, and returns what nothing uses. docs/operations.md
has the memory of a cluster, by process.
"""

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MADV_DONTNEED: Final = 4


def share_pages() -> None:
    """Prepare the memory of this process, which has imported its modules, for being forked."""
    gc.collect()
    # The interpreter keeps the last few thousand names of attributes that it has looked up, now
    # those of the imports. Each process would replace them by its own: to drop the reference to a
    # name is to write to its page, so each would copy hundreds of pages that it never reads.
    with contextlib.suppress(AttributeError):  # not CPython
        ctypes.pythonapi.PyType_ClearCache()
    with contextlib.suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)  # imports leave a megabyte that is free but not returned
    gc.freeze()  # so that no process's collector writes to shared pages


def release_files() -> None:
    """Give up the pages of programs and libraries that this process has read (Linux only).

    Imports read many that are not needed again. Those that are, are mapped again when they are
    read, without reading the disk.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError, OSError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in _untouched_files():
            madvise(start, end - start, _MADV_DONTNEED)


def _untouched_files() -> Iterator[tuple[int, int]]:
    """The mappings that are nothing but a file: read-only, and without a page of our own.

    A page of our own would be lost: the loader has written addresses to some, and made them
    read-only afterwards.
    """
    start = end = 0
    with Path("/proc/self/smaps").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, rest = line.partition(" ")
            if "-" in name:  # a mapping: START-END RIGHTS OFFSET DEVICE INODE PATH
                rights, *_, path = rest.split(None, 4)
                start, end = (int(part, 16) for part in name.split("-"))
                if not path.startswith("/") or "w" in rights or "s" in rights:
                    start = end = 0
            elif name == "Anonymous:" and end and rest.split()[0] == "0":
                yield start, end
