"""Memory that a process has freed, and that its C library has kept.

glibc returns to the system by itself only what is free at the end of a heap. After a load, most of
what an indexer has freed lies between blocks that are in use: 60 of its 110 MB.
"""

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

from hedgerow.common.machine.shared_pages import release_files
from hedgerow.common.runtime.ticks import sleep_to_tick

_INTERVAL_S: Final = 10.0
_GROWTH_BYTES: Final = 4_000_000


def return_freed_memory() -> None:
    """Return free pages to the system (glibc only; elsewhere, nothing happens).

    This takes a millisecond, and some more if there is much to return. Other threads that allocate
    wait for it.
    """
    with contextlib.suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def return_unused_memory() -> None:
    """Return free pages, and give up those of files (`release_files`).

    This takes some milliseconds more.
    """
    return_freed_memory()
    release_files()


async def return_memory_after_growth() -> None:
    """Return free pages whenever this process has grown, until cancelled.

    Work that takes memory, such as a load, ends at no certain time. Once the process has started,
    the pages of files that it has read are given up as well. Returns at once if the system does not
    tell how large a process is.
    """
    kept, has_started = _own_bytes(), False
    while kept is not None:
        await sleep_to_tick(_INTERVAL_S)
        if not has_started:
            has_started = True
            await asyncio.to_thread(release_files)
        own = _own_bytes() or 0
        if own < kept + _GROWTH_BYTES:
            kept = min(kept, own)
        else:
            await asyncio.to_thread(return_freed_memory)
            kept = _own_bytes()


def _own_bytes() -> int | None:
    """Memory of this process without pages of files; None if that is unknown (not Linux)."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_bytes().split()
    except (OSError, ValueError):
        return None
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
