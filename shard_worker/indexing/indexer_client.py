"""The worker's side of the indexer process: a method for each command, with a typed answer."""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgpack

from hedgerow.common.errors import WorkError
from hedgerow.common.fields.embedding_counts import NONE, EmbeddingCounts
from hedgerow.common.shard_log.operations import is_of_mirror, written_uids
from hedgerow.shard_worker.executors.process_pool.task import Named, Task, TaskResult
from hedgerow.shard_worker.indexing.background_thread import Priority
from hedgerow.shard_worker.indexing.commands import Command, pack_command
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.storage.term_statistics import Summed


class Executor(Protocol):
    """What runs the commands: a `ProcessLane` of one process."""

    async def run(self, task: Task) -> TaskResult:
        """Run a command; returns its result.

        Raises:
            WorkError: it has failed, or could not be run.
        """


Retract = Callable[[int, set[str], bool], Awaitable[None]]


def _nicer() -> Priority:
    return Priority.NICER


async def _keep(_shard: int, _uids: set[str], _is_mirrored: bool) -> None:
    """Retract nothing: there are no summaries."""


class FrozenCollection(NamedTuple):
    """A collection in a frozen shard.

    Attributes:
        uid: the collection's.
        definition: as JSON.
        documents: how many the shard holds.
    """

    uid: str
    definition: str
    documents: int


class FrozenShard(NamedTuple):
    """A shard as it was when its copy began.

    Attributes:
        position: id of the last log entry that is applied.
        collections: what it held.
    """

    position: str
    collections: tuple[FrozenCollection, ...]


class BegunClone(NamedTuple):
    """A shard that is being made of another one's documents.

    Attributes:
        replica_id: of its replica here.
        position: the last entry of the other shard's log that is applied to these documents.
    """

    replica_id: str
    position: str


class CloneStep(NamedTuple):
    """A step of making a shard.

    Attributes:
        is_made: whether only `place_clone` is left to do.
        cpu_s: CPU time that it took.
    """

    is_made: bool
    cpu_s: float


class IndexerClient:
    """Sends commands to the indexer process, which carries them out one after another.

    Every method raises a `WorkError` if the indexer fails; `apply` and `reindex` also raise what
    `retract` raises. None has a deadline: a write that was begun is finished, however long it
    takes.
    """

    def __init__(
        self,
        executor: Executor,
        retract: Retract = _keep,
        on_embedded: Callable[[EmbeddingCounts], None] = lambda _counts: None,
        upkeep: Callable[[], Priority] = _nicer,
    ) -> None:
        """Run the commands in `executor`, whose factory is `indexer:make_indexer`.

        Args:
            executor: runs the commands.
            retract: called before documents, or words of documents, are added to collections of a
                shard, with the shard, those that are named, and whether others that follow one may
                get some; raises RedisUnavailableError if that must not be done yet.
            on_embedded: called with what the indexer has embedded, after commands that did.
            upkeep: the priority that statistics and summaries are made with, which no search or
                write waits for.
        """
        self._executor = executor
        self._on_embedded = on_embedded
        self._retract = retract
        self._upkeep = upkeep
        self._released: set[int] = set()

    async def open(self, shard: int) -> ShardState:
        """Open a shard; returns what it holds."""
        self._released.discard(shard)
        return await self._state(Command.OPEN, shard)

    async def release(self, shard: int) -> None:
        """Close a shard, after the commands that wait; later ones fail until it is opened again.

        The indexer opens the shards that commands name: one that came late would make the folder
        again that was removed meanwhile.
        """
        self._released.add(shard)
        await self._send(Command.RELEASE, shard)

    async def define(self, shard: int, definitions: Sequence[str]) -> ShardState:
        """Define collections (as JSON) whose definitions may no longer be in the log."""
        return await self._state(Command.DEFINE, shard, list(definitions))

    async def apply(
        self, shard: int, last_entry_id: str | None, ops: Sequence[bytes]
    ) -> ShardState:
        """Apply packed operations; the id moves the shard's position there, None does not."""
        uids, is_mirrored = written_uids(ops), any(map(is_of_mirror, ops))
        if uids or is_mirrored:
            await self._retract(shard, uids, is_mirrored)
        return await self._state(Command.APPLY, shard, last_entry_id, list(ops))

    async def reindex(self, shard: int, uid: str, ids: Sequence[str]) -> ShardState:
        """Index some documents again, as the store has them."""
        await self._retract(shard, {uid}, False)
        return await self._state(Command.REINDEX, shard, uid, list(ids))

    async def statistics(self, shard: int, uid: str) -> bytes:
        """Collect a shard's term statistics, packed; b"" if it has none."""
        return await self._run(Command.STATISTICS, shard, uid, self._upkeep())

    async def summary(self, shard: int, uid: str, max_bytes: int) -> bytes:
        """Summarise what a shard holds, packed; b"" if it cannot be summarised."""
        return await self._run(Command.SUMMARY, shard, uid, max_bytes, self._upkeep())

    async def sum(self, parts: Sequence[bytes]) -> Summed:
        """Add up packed statistics of shards."""
        packed = await self._run(Command.SUM, list(parts), self._upkeep())
        return Summed(*msgpack.unpackb(packed))

    async def write_table(self, uid: str, statistics: bytes) -> None:
        """Write the sum of all shards' statistics to the file that the scorers read."""
        await self._run(Command.TABLE, uid, statistics, self._upkeep())

    async def remove_table(self, uid: str) -> None:
        """Remove the file that `write_table` writes, if there is one."""
        await self._run(Command.TABLE, uid, b"", self._upkeep())

    async def unbalanced(self, uid: str, shards: Iterable[int]) -> list[int]:
        """Which of these shards, which must be open, have indexes that may not fit the table."""
        held = [shard for shard in shards if shard not in self._released]
        found: list[int] = msgpack.unpackb(await self._send(Command.UNBALANCED, uid, held))
        return found

    async def balance(self, shard: int, uid: str) -> ShardState:
        """Fit a shard's index to the table."""
        return await self._state(Command.BALANCE, shard, uid)

    async def begin_optimising(self, shard: int, uid: str) -> ShardState | None:
        """Begin to rewrite an index in few segments.

        Returns:
            None if `optimise` has to follow; the shard's state if there is nothing to do.
        """
        return self._finished(await self._run(Command.BEGIN_OPTIMISING, shard, uid))

    async def optimise(self, shard: int, uid: str) -> ShardState | None:
        """Take the next step of it; returns None while there are more."""
        return self._finished(await self._run(Command.OPTIMISE, shard, uid))

    async def begin_filling(self, shard: int, uid: str) -> ShardState | None:
        """Begin to index a collection with the fields that were added to it.

        Returns:
            None when `fill` is to follow; the shard's state when its index lacks no field.
        """
        return self._finished(await self._run(Command.BEGIN_FILLING, shard, uid))

    async def fill(self, shard: int, uid: str) -> ShardState | None:
        """Take the next step of it; returns None while more are to follow."""
        return self._finished(await self._run(Command.FILL, shard, uid))

    async def begin_graphs(self, shard: int, uid: str, *, is_quiet: bool) -> ShardState | None:
        """Begin to build the graphs that a collection's vectors need.

        Args:
            shard: the shard.
            uid: the collection's.
            is_quiet: whether its documents have not been written for a while.

        Returns:
            None when `build_graphs` is to follow; the shard's state when there is nothing to do.
        """
        return self._finished(await self._run(Command.BEGIN_GRAPHS, shard, uid, is_quiet))

    async def build_graphs(self, shard: int, uid: str) -> ShardState | None:
        """Take the next step of it; returns None while more are to follow."""
        return self._finished(await self._run(Command.BUILD_GRAPHS, shard, uid))

    async def freeze(self, shard: int, folder: str) -> FrozenShard:
        """Begin a copy of a shard in a folder, which must not exist yet."""
        position, collections = msgpack.unpackb(await self._run(Command.FREEZE, shard, folder))
        return FrozenShard(position, tuple(FrozenCollection(*one) for one in collections))

    async def is_frozen(self, shard: int) -> bool:
        """Whether the copy is complete."""
        return bool(await self._run(Command.FROZEN, shard))

    async def thaw(self, shard: int) -> None:
        """End a copy, if there is one."""
        await self._run(Command.THAW, shard)

    async def begin_clone(
        self, shard: int, old: str, num_shards: int, priority: Priority
    ) -> BegunClone:
        """Begin to make a shard, which is not open, of the documents of another one.

        Args:
            shard: the new shard.
            old: the folder of the other one.
            num_shards: over how many shards the documents are to be spread.
            priority: with which it is made.
        """
        packed = await self._send(Command.BEGIN_CLONE, shard, old, num_shards, int(priority))
        return BegunClone(*msgpack.unpackb(packed))

    async def clone(self, shard: int) -> CloneStep:
        """Take the next step of it."""
        return CloneStep(*msgpack.unpackb(await self._send(Command.CLONE, shard)))

    async def place_clone(self, shard: int) -> None:
        """Put the new shard in its place, instead of whatever was there."""
        await self._send(Command.PLACE_CLONE, shard)

    async def end_clone(self, shard: int) -> None:
        """Give up making a shard, if that was begun."""
        await self._send(Command.END_CLONE, shard)

    async def _state(self, command: Command, shard: int, *arguments: Any) -> ShardState:
        return self._read(await self._run(command, shard, *arguments))

    def _finished(self, packed: bytes) -> ShardState | None:
        return self._read(packed) if packed else None

    def _read(self, packed: bytes) -> ShardState:
        state = ShardState.unpack(packed)
        if state.embedded != NONE:
            self._on_embedded(state.embedded)
        return state

    async def _run(self, command: Command, *arguments: Any) -> bytes:
        if isinstance(arguments[0], int) and arguments[0] in self._released:
            raise WorkError(f"this worker has let go of shard {arguments[0]}")
        return await self._send(command, *arguments)

    async def _send(self, command: Command, *arguments: Any) -> bytes:
        label = f"{command} {arguments[0]}" if isinstance(arguments[0], int) else str(command)
        task = Task(pack_command(command, *arguments), math.inf, Named(label))
        return (await self._executor.run(task)).body
