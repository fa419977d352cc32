"""The indexer process: makes all writes to a worker's shards, one at a time.

It runs in a process lane of one process (`shard_worker.wiring.indexer_lane`), so that it delays
neither the worker's loop nor its scorers, and its crash affects nothing else.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgpack

from hedgerow.common.errors import WorkError
from hedgerow.common.machine.descriptors import probe_descriptors
from hedgerow.common.machine.disk import DiskJudge, DiskState, disk_failure, read_disk
from hedgerow.common.machine.shortage import lacking
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.shard_worker.embedding.embedder import EmbedConfig, Embedder
from hedgerow.shard_worker.executors.error_text import error_line
from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.indexing.background_thread import BackgroundThread, Priority, run_aside
from hedgerow.shard_worker.indexing.commands import Command, unpack_command
from hedgerow.shard_worker.indexing.shard_clone import ShardClone
from hedgerow.shard_worker.indexing.shard_indexer import OPTIMISE_MEMORY_BYTES, ShardIndexer
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.storage.store_copy import StoreCopy
from hedgerow.shard_worker.storage.term_statistics import (
    pack_sum,
    read_average_lengths,
    statistics_path,
    unpack,
    write_table,
)

TRACEBACK_AGAIN_S: Final = 600.0  # after which the same error is worth another traceback
MAX_WRITERS = 16  # most text indexes that stay open for writing, in all shards together


@dataclass(frozen=True)
class IndexerConfig:
    """What an indexer process needs to know.

    Attributes:
        data: the worker's folder.
        memory_bytes: memory of one text index's writer.
        optimise_memory_bytes: most memory of a writer that optimises.
        embed: the functions that make vectors from texts.
    """

    data: str
    memory_bytes: int = 32_000_000
    optimise_memory_bytes: int = OPTIMISE_MEMORY_BYTES
    embed: EmbedConfig = field(default_factory=EmbedConfig)


class Indexer:
    """The handler of an indexer process; it opens each shard when a command first names it.

    Only `open` creates the store of a shard. If the file disappears later, an empty one in its
    place would take the writes that follow, and pass for a shard that has missed none.
    """

    def __init__(self, config: IndexerConfig) -> None:
        self._data = Path(config.data)
        self._memory_bytes = config.memory_bytes
        self._optimise_memory_bytes = config.optimise_memory_bytes
        self._embedder = Embedder(config.embed)
        self._shards: dict[int, ShardIndexer] = {}
        self._copies: dict[int, StoreCopy] = {}
        self._clones: dict[int, ShardClone] = {}
        self._written: dict[str, bytes] = {}  # uid → digest of the statistics in its table
        self._tracebacks = Throttle(TRACEBACK_AGAIN_S)

    def __call__(self, payload: bytes, _budget: Budget) -> bytes:
        """Carry out a command that `IndexerClient` has packed.

        Most commands return a packed `ShardState`. The others: `statistics` and `sum` return packed
        statistics, and `summary` a packed `ShardSummary` (b"" for none); `table`, `thaw` and
        `release` return b""; `unbalanced` returns shards, packed; `freeze` returns a position and
        `[[uid, definition, documents], …]`, packed; `frozen` returns b"" until the copy is
        complete; `begin_optimising`, `optimise`, `begin_filling`, `fill`, `begin_graphs` and
        `build_graphs` return b"" while steps are left; `begin_clone` returns a
        replica's id and a position, packed; `clone` returns whether no step is left, and the CPU
        time in s, packed; `place_clone` and `end_clone` return b"".
        """
        command, arguments = unpack_command(payload)
        try:
            return _ACTIONS[command](self, *arguments)
        except (OSError, sqlite3.Error) as error:
            # A shortage, which the worker reports, or an error that comes again every second or so,
            # such as that of a folder that cannot be written: a traceback each time adds nothing.
            line = error_line(error)
            is_new = self._tracebacks.allows(line, time.monotonic())
            if not is_new or self._lacks_something(error):
                raise WorkError(line) from error
            raise

    def open(self, shard: int) -> bytes:
        """Open a shard; returns what it holds."""
        return self._shard(shard, is_new=True).opened().pack()

    def define(self, shard: int, definitions: list[str]) -> bytes:
        """Define collections whose definitions may no longer be in the log."""
        return self._shard(shard).define(definitions).pack()

    def apply(self, shard: int, last_entry_id: str | None, ops: list[bytes]) -> bytes:
        """Apply a batch of the log."""
        return self._write(shard, lambda indexer: indexer.apply(last_entry_id, ops))

    def reindex(self, shard: int, uid: str, ids: list[str]) -> bytes:
        """Index some documents again, as the store has them."""
        return self._write(shard, lambda indexer: indexer.reindex(uid, ids))

    def statistics(self, shard: int, uid: str, priority: int) -> bytes:
        """Collect one shard's term statistics."""
        indexer = self._shard(shard)
        return run_aside(Priority(priority), lambda: indexer.statistics(uid))

    def summary(self, shard: int, uid: str, max_bytes: int, priority: int) -> bytes:
        """Summarise what one shard holds."""
        indexer = self._shard(shard)
        return run_aside(Priority(priority), lambda: indexer.summary(uid, max_bytes))

    def sum(self, parts: list[bytes], priority: int) -> bytes:
        """Add up the statistics of shards."""
        packed: bytes = msgpack.packb(run_aside(Priority(priority), lambda: pack_sum(parts)))
        return packed

    def table(self, uid: str, statistics: bytes, priority: int) -> bytes:
        """Write the sum of all shards' statistics to the file that the scorers read.

        A sum is new whenever a shard has moved, for all workers at once, but is often the same as
        before. Then the file stays.
        """
        path = self._table(uid)
        digest = blake2b(statistics).digest()
        if statistics and self._written.pop(uid, b"") == digest and path.exists():
            self._written[uid] = digest
        elif statistics:
            run_aside(Priority(priority), lambda: write_table(path, unpack(statistics)))
            self._written[uid] = digest
        else:
            self._written.pop(uid, None)
            path.unlink(missing_ok=True)
        return b""

    def unbalanced(self, uid: str, shards: list[int]) -> bytes:
        """Which of these shards' indexes may not fit the table."""
        averages = read_average_lengths(self._table(uid))
        packed: bytes = msgpack.packb(
            [
                shard
                for shard in shards
                if averages and self._shard(shard).may_be_unbalanced(uid, averages)
            ]
        )
        return packed

    def balance(self, shard: int, uid: str) -> bytes:
        """Fit a shard's index to the table."""
        averages = read_average_lengths(self._table(uid))
        if not averages:
            return self._shard(shard).state().pack()
        return self._write(shard, lambda indexer: indexer.balance(uid, averages))

    def begin_optimising(self, shard: int, uid: str) -> bytes:
        """Begin to rewrite an index in few segments."""
        indexer = self._shard(shard)
        return b"" if indexer.begin_optimising(uid) else indexer.state().pack()

    def optimise(self, shard: int, uid: str) -> bytes:
        """Take the next step of it."""
        return self.balance(shard, uid) if self._shard(shard).optimise(uid) else b""

    def begin_filling(self, shard: int, uid: str) -> bytes:
        """Begin to index a collection with the fields that were added to it."""
        indexer = self._shard(shard)
        return b"" if indexer.begin_filling(uid) else indexer.state().pack()

    def fill(self, shard: int, uid: str) -> bytes:
        """Take the next step of it."""
        return self.balance(shard, uid) if self._shard(shard).fill(uid) else b""

    def begin_graphs(self, shard: int, uid: str, is_quiet: bool) -> bytes:
        """Begin to build the graphs that a collection's vectors need."""
        indexer = self._shard(shard)
        return b"" if indexer.begin_graphs(uid, is_quiet=is_quiet) else indexer.state().pack()

    def build_graphs(self, shard: int, uid: str) -> bytes:
        """Take the next step of it."""
        indexer = self._shard(shard)
        return indexer.state().pack() if indexer.build_graphs(uid) else b""

    def freeze(self, shard: int, folder: str) -> bytes:
        """Begin a copy of a shard; between two batches, store and indexes agree."""
        self.thaw(shard)
        indexer, target = self._shard(shard), Path(folder)
        target.mkdir(parents=True)
        self._copies[shard] = indexer.freeze(target)
        state = indexer.state()
        held = [[one.uid, one.definition, one.documents] for one in state.collections]
        packed: bytes = msgpack.packb([state.position, held])
        return packed

    def frozen(self, shard: int) -> bytes:
        """Whether the copy is complete."""
        return b"1" if self._copies[shard].is_done() else b""

    def thaw(self, shard: int) -> bytes:
        """End a copy, if there is one."""
        if copy := self._copies.pop(shard, None):
            copy.stop()
        return b""

    def begin_clone(self, shard: int, old: str, num_shards: int, priority: int) -> bytes:
        """Begin to make a shard of the documents of another one, whose folder is `old`."""
        self.end_clone(shard)
        self._clones[shard] = clone = ShardClone(
            Path(old),
            self._data,
            shard,
            num_shards,
            self._optimise_memory_bytes,
            self._embedder.of_field,
            BackgroundThread(Priority(priority)),
        )
        packed: bytes = msgpack.packb([clone.replica_id, clone.position])
        return packed

    def clone(self, shard: int) -> bytes:
        """Take the next step of it; the CPU time is that of all threads."""
        before_s = time.process_time()
        is_made = self._clones[shard].step()
        packed: bytes = msgpack.packb([is_made, time.process_time() - before_s])
        return packed

    def place_clone(self, shard: int) -> bytes:
        """Put the shard in its place."""
        self.release(shard)
        self._clones[shard].place()
        del self._clones[shard]
        return b""

    def end_clone(self, shard: int) -> bytes:
        """Give up making a shard, if that was begun."""
        if clone := self._clones.pop(shard, None):
            clone.end()
        return b""

    def release(self, shard: int) -> bytes:
        """Close a shard that the worker lets go of; merges that run are given up."""
        self.thaw(shard)
        if indexer := self._shards.pop(shard, None):
            indexer.close(is_abandoned=True)
            self._share_writers()
        return b""

    def close(self) -> None:
        """Close every shard."""
        for copy in self._copies.values():
            copy.stop()
        for clone in self._clones.values():
            clone.end()
        for shard in self._shards.values():
            shard.close()

    def _lacks_something(self, error: Exception) -> bool:
        if disk_failure(error) is not None or lacking(error) is not None:
            return True
        if probe_descriptors() is not None:
            return True
        with suppress(OSError):  # tantivy does not report the cause
            found = DiskJudge(StorageSettings()).judge(read_disk(self._data), 0.0)
            return found is not DiskState.OK
        return False

    def _write(self, shard: int, write: Callable[[ShardIndexer], ShardState]) -> bytes:
        indexer = self._shard(shard)
        try:
            return write(indexer).pack()
        except Exception:
            # After a failure half-way (on a full disk, say) open both writer and store again.
            del self._shards[shard]
            with suppress(Exception):
                indexer.close()
            raise

    def _table(self, uid: str) -> Path:
        return statistics_path(self._data, uid)

    def _shard(self, shard: int, *, is_new: bool = False) -> ShardIndexer:
        if shard not in self._shards:
            folder = self._data / "shards" / str(shard)
            if not is_new and not (folder / STORE).is_file():
                raise WorkError(f"{folder / STORE} has disappeared: restart the worker")
            self._shards[shard] = ShardIndexer(
                folder,
                shard,
                self._memory_bytes,
                optimise_memory_bytes=self._optimise_memory_bytes,
                embedder=self._embedder,
            )
            self._share_writers()
        return self._shards[shard]

    def _share_writers(self) -> None:
        for indexer in self._shards.values():
            indexer.writers.max_open = max(1, MAX_WRITERS // len(self._shards))


_ACTIONS: dict[Command, Callable[..., bytes]] = {
    Command.OPEN: Indexer.open,
    Command.DEFINE: Indexer.define,
    Command.APPLY: Indexer.apply,
    Command.REINDEX: Indexer.reindex,
    Command.STATISTICS: Indexer.statistics,
    Command.SUMMARY: Indexer.summary,
    Command.SUM: Indexer.sum,
    Command.TABLE: Indexer.table,
    Command.UNBALANCED: Indexer.unbalanced,
    Command.BALANCE: Indexer.balance,
    Command.BEGIN_OPTIMISING: Indexer.begin_optimising,
    Command.OPTIMISE: Indexer.optimise,
    Command.BEGIN_FILLING: Indexer.begin_filling,
    Command.FILL: Indexer.fill,
    Command.BEGIN_GRAPHS: Indexer.begin_graphs,
    Command.BUILD_GRAPHS: Indexer.build_graphs,
    Command.FREEZE: Indexer.freeze,
    Command.FROZEN: Indexer.frozen,
    Command.THAW: Indexer.thaw,
    Command.RELEASE: Indexer.release,
    Command.BEGIN_CLONE: Indexer.begin_clone,
    Command.CLONE: Indexer.clone,
    Command.PLACE_CLONE: Indexer.place_clone,
    Command.END_CLONE: Indexer.end_clone,
}


def make_indexer(config: IndexerConfig) -> Indexer:
    """The factory of an indexer lane."""
    return Indexer(config)
