"""How much memory and disk the embedded server may use."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hedgerow.common.machine.disk import MB, read_disk
from hedgerow.common.settings.storage import StorageSettings

_MEMORY_SHARE: Final = 0.25  # of the machine's memory; workers and the page cache need the rest
_LEAST_MEMORY_BYTES: Final = 64 * MB
_REWRITE_FROM_BYTES: Final = 64 * MB
_REWRITE_SHARE: Final = 0.1  # of the disk
_LEAST_REWRITE_BYTES: Final = 4 * MB
# Of cgroup 2 and 1; inside a container, its own group is at the root.
_GROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def max_memory_bytes(settings: StorageSettings) -> int:
    """Return the server's maxmemory, in bytes, at which it refuses writes."""
    if settings.embedded_max_memory_mb:
        return settings.embedded_max_memory_mb * MB
    return max(_LEAST_MEMORY_BYTES, int(machine_memory_bytes() * _MEMORY_SHARE))


def machine_memory_bytes(limits: Iterable[Path] = _GROUP_LIMITS) -> int:
    """Return the memory of this machine, or of this container if that is less, in bytes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in limits:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            memory = min(memory, int(text))
    return memory


def rewrite_from_bytes(folder: Path) -> int:
    """Return the size in bytes from which the append-only file is rewritten once it has doubled."""
    try:
        total = read_disk(folder).total_bytes
    except OSError:
        return _REWRITE_FROM_BYTES
    return min(_REWRITE_FROM_BYTES, max(_LEAST_REWRITE_BYTES, int(total * _REWRITE_SHARE)))
