"""The shards that a worker holds: takes each up, keeps it, and lets go of it.

    open: restore if empty ► indexer, log ► store ► queues      (nothing is pulled yet)
    warm: scorers open its indexes                              (so that no search waits for it)
    serve: its log is followed, its jobs run; its requests are pulled once it is complete
    release: no more is pulled ► what was pulled is answered ► log, jobs ► store, indexer

The parts of a worker know a shard from `open` to `release`, and none keeps a list of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from hedgerow.common.errors import WorkError
from hedgerow.common.tasks import KeyedTasks
from hedgerow.shard_worker.serving.answering import Answering
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.shard_stores import ShardStores
from hedgerow.shard_worker.writing import Writing

log = structlog.get_logger()


class HeldShards:
    """Takes up shards, and lets go of them; `run` owns the tasks that follow their logs."""

    def __init__(
        self,
        writing: Writing,
        answering: Answering,
        states: ShardStates,
        stores: ShardStores,
        warm: Callable[[int], Awaitable[None]],
        on_change: Callable[[], None],
    ) -> None:
        """Hold no shard yet.

        Args:
            writing: opens a shard for writing, and follows its log.
            answering: pulls a shard's requests, and answers them.
            states: what the shards hold.
            stores: the shards' documents.
            warm: has scorers open a shard's indexes.
            on_change: called when the shards, or those that must not be searched, have changed.
        """
        self._writing = writing
        self._answering = answering
        self._states = states
        self._stores = stores
        self._warm = warm
        self._on_change = on_change
        self._following = KeyedTasks[int]()
        self._open: set[int] = set()
        self._turn = asyncio.Lock()

    def __contains__(self, shard: object) -> bool:
        return shard in self._open

    @property
    def shards(self) -> tuple[int, ...]:
        """Those that are open, in order."""
        return tuple(sorted(self._open))

    @property
    def restorable(self) -> frozenset[int]:
        """Those with a gap of which a snapshot was made since they were opened."""
        return self._writing.restorable()

    async def run(self) -> None:
        """Follow the logs of the shards until cancelled."""
        await self._following.run()

    async def open(self, shard: int) -> None:
        """Open a shard, unless it is open; it is not served yet.

        Raises:
            WorkError, SnapshotError, RedisUnavailableError: as `Writing.open`.
            ConfigurationError: its store is of another format, or in use.
        """
        if shard in self._open:
            return
        try:
            await self._writing.open(shard)
            self._stores.open(shard)
        except BaseException:
            await self._close(shard)
            raise
        self._open.add(shard)
        self._on_change()  # first: it is withheld until it is served
        self._answering.add(shard)

    async def hold(self, shard: int) -> None:
        """Open a shard and serve it, ranked as the others are, unless it is held.

        Raises:
            WorkError, SnapshotError, RedisUnavailableError, ConfigurationError: as `open`; the
                shard is not held then.
        """
        if shard in self._open:
            return
        await self.open(shard)
        try:
            await self._writing.jobs.prepare(shard)
            await self._warm(shard)
        except BaseException:
            await self.release(shard)
            raise
        self.serve(shard)

    def serve(self, shard: int) -> None:
        """Follow an open shard's log, and answer its requests as soon as it is complete."""
        applier = self._writing.applier
        self._following.start(shard, applier.follow(shard), name=f"log of shard {shard}")
        self._writing.jobs.serve(shard)
        # Callers that wait for a write do not wait for it before a heartbeat has named it.
        applier.doubt([shard])
        applier.serve(shard)
        self._on_change()

    async def release(self, shard: int) -> None:
        """Let go of a shard, after the requests that were pulled are answered; its data stays."""
        async with self._turn:
            if shard not in self._open:
                return
            # Gateways, and callers that wait for writes, no longer count on this replica.
            self._writing.applier.leave(shard)
            self._on_change()
            await self._answering.remove(shard)
            await self._close(shard)

    async def _close(self, shard: int) -> None:
        await self._following.end(shard)
        self._stores.close(shard)
        try:
            await self._writing.close(shard)
        except WorkError as error:
            log.warning("shard_not_closed", shard=shard, error=str(error))
        self._states.remove(shard)
        self._open.discard(shard)
        self._on_change()
