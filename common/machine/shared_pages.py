"""Pages of memory that a process shares with its forks, until one of them writes to a page.

CPython writes to many: it counts references in the objects themselves. What is done here before
forks keeps them from writing where they need not, and returns what nothing uses. docs/memory.md
has the memory of a cluster, by process.
"""

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

_MADV_DONTNEED: Final = 4
# Python has pools of 16 KiB for its smaller objects, each for blocks of one size. The heap of the C
# library has the others, and what libraries in C and Rust allocate. Sizes differ by 16 bytes.
_STEP_BYTES: Final = 16
_POOL_BYTES: Final = 16_384
_LARGEST_OF_POOLS_BYTES: Final = 512
_LARGEST_GAP_BYTES: Final = 4_096  # a larger one contains whole pages, which can be returned
_EMPTY_BYTES: Final = sys.getsizeof(b"")
_ROW_OF_HEAP: Final = 4  # if this many blocks are side by side, they fill no gap
_MOST_BYTES: Final = 262_144  # of one size; another allocator may have no rows

_Block = TypeVar("_Block")
_filling: list[list[bytes]] = []  # kept for as long as the process lives


def share_pages() -> None:
    """Prepare the memory of this process, which has imported its modules, for being forked.

    Once that is done, only what is new is prepared, in this process and in its forks.
    """
    gc.collect()
    if not _filling:
        _forget_names()
        _fill_pools()
        with contextlib.suppress(AttributeError, OSError):  # not glibc
            libc = ctypes.CDLL(None)
            libc.malloc_trim(0)  # imports leave a megabyte that is free but not returned
            _fill_heap(libc)
    gc.freeze()  # so that no process's collector writes to shared pages


def _forget_names() -> None:
    """Empty the interpreter's cache of the last few thousand attributes that it has looked up.

    They are those of the imports. Each process would replace them by its own, and to drop the
    reference to a name is to write to its page: hundreds of pages that it never reads would be
    copied for it.
    """
    with contextlib.suppress(AttributeError):  # not CPython
        ctypes.pythonapi.PyType_ClearCache()


def _fill_pools() -> None:
    """Use up the gaps between Python's objects.

    Imports leave thousands, and each fork would put its new objects there: a few in each page,
    which is copied for them. Without gaps, they are side by side in pages of the fork's own.
    """
    for size in range(3 * _STEP_BYTES, _LARGEST_OF_POOLS_BYTES + 1, _STEP_BYTES):
        row = _POOL_BYTES // size - 2  # of a pool that was empty
        filling, _ = _fill_gaps(bytes, size - _EMPTY_BYTES, id, size, row)
        _filling.append(filling)


def _fill_heap(libc: ctypes.CDLL) -> None:
    """Use up the gaps in the heap of the C library in the same way, and keep what fills them.

    The largest come first: where there is none of a size, it is taken from a larger one, and
    several of them side by side would look like the end of the gaps.
    """
    libc.malloc.argtypes = libc.free.argtypes = (ctypes.c_size_t,)
    libc.malloc.restype = ctypes.c_size_t
    header = ctypes.sizeof(ctypes.c_size_t)
    for size in range(_LARGEST_GAP_BYTES, _STEP_BYTES, -_STEP_BYTES):
        _, row = _fill_gaps(libc.malloc, size - header, int, size, _ROW_OF_HEAP)
        for block in row:
            libc.free(block)


def _fill_gaps(
    allocate: Callable[[int], _Block],
    asked: int,
    address: Callable[[_Block], int],
    size: int,
    num_in_row: int,
) -> tuple[list[_Block], list[_Block]]:
    """Allocate blocks until some are side by side; returns those before this row, and the row.

    If there is no row, all are returned as if they were one.

    Args:
        allocate: returns a block.
        asked: bytes that it is asked for.
        address: where a block is.
        size: bytes from one block of a row to the next.
        num_in_row: blocks in a row.
    """
    blocks: list[_Block] = []
    last = length = 0
    while length < num_in_row and len(blocks) < _MOST_BYTES // size:
        blocks.append(allocate(asked))
        at = address(blocks[-1])
        length = length + 1 if at - last == size else 1
        last = at
    begin = 0 if length < num_in_row else len(blocks) - length
    return blocks[:begin], blocks[begin:]


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
