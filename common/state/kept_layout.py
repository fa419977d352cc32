"""The layout on a worker's disk, for a cluster whose Redis has lost it.

    DATA/layout-ID/layout.json    the layout, in the folder of the one that was current

Without it, the shards in `layout-ID` would be passed over, and an empty cluster would begin.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from hedgerow.common.errors import WireError
from hedgerow.common.state.layout import ClusterLayout, LayoutStore

MARK: Final = "layout.json"


async def read_layout(store: LayoutStore, folders: Iterable[Path]) -> ClusterLayout | None:
    """Read the layout; if Redis has lost it, the one on disk, which is stored again.

    Args:
        store: where it is in Redis.
        folders: the data folders of workers on this machine.

    Returns:
        The layout; None for a cluster that was never split.

    Raises:
        RedisUnavailableError: there was no answer in time.
        WireError: the layout is malformed, or of a newer version.
    """
    layout = await store.read()
    if layout is None and (kept := await asyncio.to_thread(kept_layout, folders)):
        await store.write(kept, 0)
        layout = await store.read()
    return layout


def kept_layout(folders: Iterable[Path]) -> ClusterLayout | None:
    """The newest layout that was current when a worker last served one of these data folders."""
    found = []
    for path in (path for folder in folders for path in folder.glob(f"layout-*/{MARK}")):
        with suppress(OSError, WireError):
            found.append(ClusterLayout.from_json(path.read_bytes()))
    return max(found, key=lambda one: one.version, default=None)
