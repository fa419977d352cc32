"""Clones shards in a worker that serves both an old shard and one of the two that replace it.

Where all workers of a new shard serve the old one, its documents need not pass through a log: each
worker takes them from the old shard beside it, as they are at one moment. The position in the old
shard's log that they are at is one in the new shard's log, too, since entries keep their ids there.

    the new log has begun without documents (`Sealing.begin_after`) ► the documents' position is
        recorded as that of the new replica: the log keeps what follows ► the shard is made aside
        ► the new log has got to the position ► the shard is put in its place, and opened

Where snapshots are made, only one replica of each new shard is cloned, and the others wait for a
snapshot of it (`clone_or_restore`); so does a worker that has no old shard. What each step finds is
checked, so a clone that came too late, or was cut off, is begun again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from hedgerow.common.errors import HedgerowError, WorkError
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.common.snapshots.restore import has_store, shard_folder
from hedgerow.common.splitting.rest import Rest
from hedgerow.shard_worker.indexing.background_thread import Priority
from hedgerow.shard_worker.indexing.indexer_client import BegunClone, IndexerClient
from hedgerow.shard_worker.snapshots.recovery import held_replica
from hedgerow.shard_worker.splitting.clone_leases import CloneLeases
from hedgerow.shard_worker.splitting.clone_or_restore import Beginning
from hedgerow.shard_worker.splitting.clone_priority import ClonePriority
from hedgerow.shard_worker.splitting.copy_pace import TURN_S, CopyPace
from hedgerow.shard_worker.storage.store import Store

POLL_S: Final = 0.05
BEGUN_POLL_S: Final = 0.25  # every worker waits for all of its new shards at once
TURN_POLL_S: Final = 0.1  # between two attempts to get a turn of the machine
LOOK_S: Final = 0.5  # between two looks whether another worker has made a snapshot

_log = structlog.get_logger()


class _StarvedError(WorkError):
    """A clone has got too little CPU time."""


class _Part(NamedTuple):
    """A part of a clone: whether it was the last, how long it took, and how much CPU time."""

    is_made: bool
    took_s: float
    cpu_s: float


class OldShards(Protocol):
    """The shards that a split divides, as this process serves them."""

    @property
    def is_copying(self) -> bool:
        """Whether the new shards are being filled."""

    @property
    def are_there(self) -> bool:
        """Whether the new shards are being filled, or this process still serves old ones."""

    @property
    def divided(self) -> frozenset[int]:
        """The new shards whose documents old ones here have."""

    async def workers(self) -> frozenset[str]:
        """The owners of the old shards; none if the new ones are not being filled."""

    def folder(self, shard: int) -> Path | None:
        """The folder of the old shard with a new one's documents; None if it cannot be cloned."""

    async def is_late(self, shard: int) -> bool:
        """Whether the old shard with a new one's documents will be here, and is not yet."""


class ShardCloner:
    """Clones the shards that a worker of the new layout is to serve."""

    def __init__(
        self,
        log: ShardLog,
        indexer: IndexerClient,
        data: Path,
        num_shards: int,
        old: OldShards,
        pace: CopyPace,
        leases: CloneLeases | None = None,
    ) -> None:
        """Clone shards of a layout.

        Args:
            log: the logs of the layout.
            indexer: of the layout's worker.
            data: the layout's data folder.
            num_shards: of the layout.
            old: the shards that are divided.
            pace: of the copies and clones of this process.
            leases: of this worker; None if no snapshots are made, so that every replica is cloned.
        """
        self._shard_log = log
        self._indexer = indexer
        self._data = data
        self._num_shards = num_shards
        self._old = old
        self._pace = pace
        self._leases = leases
        self._priority = ClonePriority(pace.share)
        self._turn = asyncio.Lock()  # a clone holds the memory of an index that is written

    @property
    def available(self) -> frozenset[int]:
        """The new shards that can be cloned here."""
        return self._old.divided

    @property
    def is_active(self) -> bool:
        """Whether the shards are being filled."""
        return self._old.is_copying

    @property
    def has_old(self) -> bool:
        """Whether the shards are being filled, or this process still serves the old ones."""
        return self._old.are_there

    def upkeep(self) -> Priority:
        """With which priority statistics and summaries of the shards are made now.

        While the shards are being filled, no search waits for anything that their indexer does.
        """
        if not self._old.is_copying:
            return Priority.NICER
        return self._priority.choose(asyncio.get_running_loop().time())

    async def fill(self, shard: int, *, may_restore: bool = True) -> bool:
        """Clone a shard that is not open, if its log lacks documents that this replica lacks.

        Args:
            shard: the shard.
            may_restore: whether a snapshot of another replica's clone will do, and is waited for.

        Returns:
            Whether it was cloned; if not, the log, or a snapshot, has what is missing.

        Raises:
            WorkError, HedgerowError: it could not be cloned now; try again.
        """
        if not self._old.is_copying or not await self._lacks_documents(shard):
            return False
        if self._leases is None or not may_restore:
            async with self._turn:
                return await self._clone_until_made(shard)
        return await self._clone_unless_restorable(shard, self._leases)

    async def _clone_unless_restorable(self, shard: int, leases: CloneLeases) -> bool:
        """Clone a shard, unless another worker does, and makes a snapshot of it."""
        is_told = False
        while self._old.folder(shard) is not None:
            async with self._turn_soon() as has_turn:
                beginning = await leases.choose(shard, has_turn=has_turn)
                if beginning is Beginning.CLONE:
                    return await self._clone_with_lease(shard, leases)
            if beginning is Beginning.RESTORE:
                return False
            if has_turn:
                if not is_told:
                    is_told = True
                    _log.info("clone_left_to_another", shard=shard)
                await self._pause(LOOK_S)
        return False

    async def _clone_with_lease(self, shard: int, leases: CloneLeases) -> bool:
        try:
            is_cloned = await self._clone_until_made(shard)
        except BaseException:
            with suppress(HedgerowError):
                await leases.release(shard)
            raise
        await (leases.leave(shard) if is_cloned else leases.release(shard))
        return is_cloned

    @asynccontextmanager
    async def _turn_soon(self) -> AsyncIterator[bool]:
        """Have this worker's turn to clone for the block, if it comes within `LOOK_S`.

        Yields:
            Whether it has come.
        """
        try:
            async with asyncio.timeout(LOOK_S):
                await self._turn.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._turn.release()

    async def _clone_until_made(self, shard: int) -> bool:
        """Clone a shard; returns False if its old shard is not here."""
        while (folder := self._old.folder(shard)) is not None:
            await self._forget_empty(shard)
            try:
                await self._clone(shard, folder)
            except _StarvedError:
                _log.info("clone_begun_again", shard=shard)
            else:
                return True
        return False

    async def check(self, shard: int) -> None:
        """Wait until the log of a shard that is about to be opened has got to where the shard is.

        Otherwise, the log would count as one that has lost its end.

        Raises:
            WorkError: the shard is empty here, and its log does not have everything.
        """
        if not self._old.is_copying:
            return
        held = await asyncio.to_thread(held_replica, self._data, shard)
        if held is not None:
            await self._until_copied(shard, held.position)
        elif await self._shard_log.trimmed(shard) != START:
            raise WorkError(f"shard {shard}: neither its old shard nor a snapshot of it is here")

    async def _lacks_documents(self, shard: int) -> bool:
        """Whether the log does not have all that this replica lacks, once it has begun."""
        held = await asyncio.to_thread(held_replica, self._data, shard)
        if held is not None:
            return await self._shard_log.gap(shard, *held) is not None
        # A worker that has no old shard does not wait: that it begins with nothing tells the copier
        # to copy documents, and the others that they get them, too. One that has started again may
        # be asked for new shards before it has opened the old ones.
        log, old = self._shard_log, self._old
        while (old.folder(shard) or await old.is_late(shard)) and not await self._is_begun(shard):
            await self._pause(BEGUN_POLL_S)
        return await log.trimmed(shard) != START

    async def _is_begun(self, shard: int) -> bool:
        """Whether a new shard's log has begun, or is going to begin with all documents.

        It is if a replica follows it already, or the log of the old shard's other half, and that
        has not begun: then documents are copied to both.
        """
        log, other = self._shard_log, (shard + self._num_shards // 2) % self._num_shards
        followed = await log.applied_of([shard, other])
        if followed[shard] or await log.newest(shard) != START:
            return True
        return bool(followed[other]) and await log.newest(other) == START

    async def _forget_empty(self, shard: int) -> None:
        """Have the log wait no longer for the replica that is replaced."""
        replica = await asyncio.to_thread(_replica_in, self._data, shard)
        if replica is not None:
            await self._shard_log.forget_replica(shard, replica)

    async def _clone(self, shard: int, folder: Path) -> None:
        loop, log = asyncio.get_running_loop(), self._shard_log
        began = loop.time()
        priority = self._priority.choose(began)
        clone = await self._indexer.begin_clone(shard, str(folder), self._num_shards, priority)
        try:
            # Before anything else: from now on, the log keeps what the clone does not have.
            await log.record_applied(shard, clone.replica_id, clone.position)
            self._check_old(shard, folder)
            await self._check_not_trimmed(shard, clone)
            await self._make(shard, priority)
            await self._until_copied(shard, clone.position)
            await self._check_place(shard, clone)
            await self._indexer.place_clone(shard)
        except BaseException:
            with suppress(HedgerowError):
                await self._indexer.end_clone(shard)
                await log.forget_replica(shard, clone.replica_id)
            raise
        took_s = round(loop.time() - began, 3)
        _log.info(
            "shard_cloned",
            shard=shard,
            position=clone.position,
            took_s=took_s,
            priority=priority.name.lower(),
        )

    def _check_old(self, shard: int, folder: Path) -> None:
        """Make sure that the old shard was whole when its store was opened: it still is."""
        if self._old.folder(shard) != folder:
            raise WorkError(f"shard {shard}: the old shard was let go of")

    async def _check_place(self, shard: int, clone: BegunClone) -> None:
        """Make sure that the log has everything after the clone's position."""
        await self._check_not_trimmed(shard, clone)
        if not await self._shard_log.has_had(shard, clone.position):
            raise WorkError(f"shard {shard}: its log does not go on from {clone.position}")

    async def _check_not_trimmed(self, shard: int, clone: BegunClone) -> None:
        """Make sure that the log lacks nothing after the clone's position, as far as it goes."""
        trimmed = await self._shard_log.trimmed(shard)
        if position(trimmed) > position(clone.position):
            raise WorkError(f"shard {shard}: its old shard is not at {trimmed} here yet")

    async def _make(self, shard: int, priority: Priority) -> None:
        """Make a clone that has begun.

        Raises:
            _StarvedError: it has to be begun again.
        """
        loop, is_made, took_s, cpu_s = asyncio.get_running_loop(), False, 0.0, 0.0
        while not is_made:
            part = await self._advance(shard, priority)
            is_made, took_s, cpu_s = part.is_made, took_s + part.took_s, cpu_s + part.cpu_s
            if not is_made and self._priority.is_starved(priority, took_s, cpu_s, loop.time()):
                raise _StarvedError(f"shard {shard}: too little CPU time is left to clone it")

    async def _advance(self, shard: int, priority: Priority) -> _Part:
        """Make the next part of a clone, and rest."""
        loop, pace = asyncio.get_running_loop(), self._pace
        # The copiers of this process take turns for old shards, whose numbers are lower.
        turn, is_idle = self._num_shards + shard, priority is Priority.IDLE
        pause = partial(self._pause_with_lease, shard)
        async with pace.turn(turn, partial(pause, TURN_POLL_S), is_idle=is_idle):
            await self._renew_lease(shard)
            began, cpu_s, is_over = loop.time(), 0.0, False
            while not is_over:
                step = await self._indexer.clone(shard)
                cpu_s += step.cpu_s
                is_over = step.is_made or loop.time() - began >= TURN_S
            took_s = loop.time() - began
            rest = Rest.after_clone(began, loop.time(), cpu_s, pace.share)
            is_urgent = await self._shard_log.length(shard) > pace.most_log_entries
            while not rest.is_over(loop.time(), is_busy=False, is_urgent=is_urgent):
                await pause()
                await pace.keep(turn, is_idle=is_idle)
        return _Part(step.is_made, took_s, cpu_s)

    async def _until_copied(self, shard: int, end: str) -> None:
        while position(await self._shard_log.newest(shard)) < position(end):
            await self._pause_with_lease(shard)

    async def _pause_with_lease(self, shard: int, pause_s: float = POLL_S) -> None:
        await self._pause(pause_s)
        await self._renew_lease(shard)

    async def _renew_lease(self, shard: int) -> None:
        if self._leases is not None:
            await self._leases.renew(shard)

    async def _pause(self, pause_s: float = POLL_S) -> None:
        await asyncio.sleep(pause_s)
        if not self._old.is_copying:
            raise WorkError("the split has gone on without this replica")


def _replica_in(data: Path, shard: int) -> str | None:
    if not has_store(data, shard):
        return None
    store = Store.open(shard_folder(data, shard) / STORE, read_only=True)
    try:
        return store.replica_id
    finally:
        store.close()
