"""The layout of a cluster: how many shards it has, and the split that is changing that.

A **layout** is a complete set of shards. The first has the id 0; a split makes another beside it,
with twice the shards, fills it, and changes over (`common.splitting`). The shards of a layout have
names (`Keys.layout`), folders and a placement of their own, so that a shard is never part of two.

The layout is one document in Redis with a version. A cluster that was never split has none.
"""

from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.versioned import VersionedStore, hold_lease
from hedgerow.common.wire.formats import read_document

FORMAT: Final = 1  # of the JSON; members that a newer version adds are ignored


class SplitState(StrEnum):
    """How far a split is."""

    COPYING = "copying"  # the target is filled; the source takes writes and answers searches
    SEALED = "sealed"  # the source refuses writes, which gateways hold back
    SWITCHED = "switched"  # the target is complete, and gateways search it
    RETIRING = "retiring"  # the target takes writes; searches of the source end
    REMOVING = "removing"  # the source's workers end, and its data is removed
    ABANDONING = "abandoning"  # the split was cancelled or has failed; the target is removed


class Layout(msgspec.Struct, frozen=True):
    """A complete set of shards.

    Attributes:
        id: 0 for the first; each attempt at a split has another.
        num_shards: its shards are `range(num_shards)`.
    """

    id: int
    num_shards: int

    def data(self, data: Path) -> Path:
        """The folder of its shards in a worker's data folder."""
        return data / f"layout-{self.id}" if self.id else data


FIRST: Final = Layout(0, 0)  # where only its id counts


class Split(msgspec.Struct, frozen=True):
    """A split in progress.

    Attributes:
        source: the layout that is replaced.
        target: the one that replaces it.
        state: how far it is.
        began_at_ms: when it began, an instant on the Redis server's clock.
        changed_at_ms: when it got to its state.
        reason: why it is being abandoned, or why it has last fallen back; "" if it has not.
    """

    source: Layout
    target: Layout
    state: SplitState
    began_at_ms: int
    changed_at_ms: int
    reason: str = ""


class PastSplit(msgspec.Struct, frozen=True):
    """How the last split has ended.

    Attributes:
        from_shards: how many shards there were.
        to_shards: how many there should have been.
        took_ms: how long it took until the target took writes, or until it was abandoned.
        held_ms: how long writes were held back at the end.
        ended_at_ms: when it ended, an instant on the Redis server's clock.
        error: why it was abandoned; "" if it is done.
    """

    from_shards: int
    to_shards: int
    took_ms: int
    held_ms: int
    ended_at_ms: int
    error: str = ""


class ClusterLayout(msgspec.Struct, frozen=True):
    """One version of the document.

    Attributes:
        version: 0 if there is no document; each change adds 1.
        current: the layout that takes writes.
        next_id: the id of the next split's target.
        split: the split in progress.
        last: how the last split has ended.
        format: the version of the document's form.
    """

    version: int  # stays first: the script reads it from the start of the JSON
    current: Layout
    next_id: int = 1
    split: Split | None = None
    last: PastSplit | None = None
    format: int = FORMAT

    @property
    def searched(self) -> Layout:
        """The layout that gateways should search."""
        split = self.split
        return split.target if split and split.state is SplitState.SWITCHED else self.current

    @property
    def takes_writes(self) -> bool:
        """Whether writes go on; if not, gateways hold them back for a moment."""
        held = (SplitState.SEALED, SplitState.SWITCHED)
        return self.split is None or self.split.state not in held

    def takes_writes_of(self, layout: int) -> bool:
        """Whether writes go on, and go to this layout."""
        return self.takes_writes and self.current.id == layout

    @property
    def served(self) -> tuple[Layout, ...]:
        """The layouts that workers should serve."""
        match self.split:
            case Split(source=source, state=SplitState.ABANDONING):
                return (source,)
            case Split(target=target, state=SplitState.REMOVING):
                return (target,)
            case Split(source=source, target=target):
                return (source, target)
        return (self.current,)

    @property
    def is_copying(self) -> bool:
        """Whether what is written to the source is copied to the target."""
        copied = (SplitState.COPYING, SplitState.SEALED, SplitState.SWITCHED)
        return self.split is not None and self.split.state in copied

    def is_filling(self, layout: int) -> bool:
        """Whether a layout is the target of a split, and documents are still copied to it."""
        split = self.split
        return split is not None and split.target.id == layout and split.state is SplitState.COPYING

    def num_shards_of(self, layout: int) -> int:
        """How many shards a layout has.

        Raises:
            ConfigurationError: there is no such layout any more.
        """
        known = [self.current]
        if self.split is not None:
            known += [self.split.source, self.split.target]
        for one in known:
            if one.id == layout:
                return one.num_shards
        raise ConfigurationError(f"the cluster was split: there is no layout {layout} any more")

    def to_json(self) -> bytes:
        """Write it as JSON."""
        return _encode(self)

    @classmethod
    def from_json(cls, data: bytes) -> "ClusterLayout":
        """Read a layout, which a newer version of Hedgerow may have written.

        Raises:
            NewerVersionError: it has a form that this version does not know.
            WireError: it is malformed.
        """
        return read_document("layout", data, FORMAT, _decode)


class SplitProgress(msgspec.Struct, frozen=True):
    """What the worker that moves a split on has last found.

    Attributes:
        copied: shards of the source whose documents are copied.
        waits_for: what the split waits for, in words.
    """

    copied: int
    waits_for: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ClusterLayout).decode
_decode_progress = msgspec.json.Decoder(SplitProgress).decode
_PROGRESS_KEPT_S: Final = 10


class LayoutStore(VersionedStore[ClusterLayout]):
    """Reads and writes the layout of a cluster; one that was never split has none.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        super().__init__(
            control,
            keys,
            keys.layout_document,
            ClusterLayout.from_json,
            channel=keys.layout_document,
            event=lambda layout: str(layout.version),
        )

    async def progress(self) -> SplitProgress | None:
        """How far the split in progress is; None if no worker has said so lately."""
        stored: bytes | None = await self._control.execute("GET", self._keys.split_progress)
        try:
            return None if stored is None else _decode_progress(stored)
        except msgspec.DecodeError:  # of another version
            return None

    async def put_progress(self, progress: SplitProgress) -> None:
        """Report how far the split in progress is."""
        await self._control.execute(
            "SET", self._keys.split_progress, _encode(progress), "EX", _PROGRESS_KEPT_S
        )

    async def hold_lease(self, key: str, holder: str, hold_s: float) -> bool:
        """Take or renew a lease of `Keys`; return whether `holder` has it now."""
        return await hold_lease(self._control, key, holder, hold_s)


async def current_keys(control: RedisClient, keys: Keys) -> Keys:
    """The names of the keys of the layout that is searched now; `keys` may be of any layout.

    Raises:
        RedisUnavailableError: there was no answer in time.
        WireError: the layout is malformed, or of a newer version.
    """
    layout = await LayoutStore(control, keys).read()
    return keys if layout is None else keys.of_layout(layout.searched.id)
