"""A shard that is split, without a worker: its log, and a store that follows it."""

import random
from pathlib import Path

from hedgerow.common.collection import Collection
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Delete, Op, Upsert, Write, pack_op, unpack_op
from hedgerow.common.state.layout import Layout, Split, SplitState
from hedgerow.shard_worker.indexing.changes import Changes
from hedgerow.shard_worker.indexing.stored_before import StoredBefore
from hedgerow.shard_worker.storage.store import Store

SPLIT = Split(Layout(0, 1), Layout(1, 2), SplitState.COPYING, 0, 0)
BOOKS = Collection("books", "u")
BODIES = [b"1", b"2", b"3"]


class Source:
    """A shard whose store follows its log, as a worker's does."""

    def __init__(self, control: RedisClient, keys: Keys, path: Path, rng: random.Random) -> None:
        self.log = ShardLog(control, keys)
        self.path = path
        self.store = Store.open(path)
        self.rng = rng
        self.applied = START
        self.num_writes = 0

    async def write(self) -> None:
        """Log a write of some documents, of few contents, so that they come back."""
        chosen = {f"d{self.rng.randrange(40)}" for _ in range(3)}
        op: Op
        match self.rng.randrange(4):
            case 0:
                op = Delete("u", sorted(chosen))
            case 1:
                op = Upsert("u", [(one, self._body()) for one in sorted(chosen)])
            case _:
                self.num_writes += 1
                expected = version_of(self.rng.choice([None, *BODIES]))
                body = self.rng.choice([None, self._body()])
                op = Write("u", min(chosen), body, expected, f"t{self.num_writes}")
        await self.log.append(0, pack_op(op))

    def _body(self) -> bytes:
        return self.rng.choice(BODIES)

    async def apply(self) -> None:
        """Apply the log's rest to the store, and trim the log as far as it is not held."""
        entries = await self.log.read(0, self.applied, 1_000_000)
        if not entries:
            return
        ops = [unpack_op(entry.op) for entry in entries]
        changes = Changes.of(ops, StoredBefore(self.store))
        self.applied = entries[-1].id
        self.store.apply(
            self.applied,
            definitions=changes.definitions,
            documents=changes.documents,
            judged=changes.judged.values(),
        )
        positions = await self.log.record_applied(0, "replica", self.applied)
        slowest = min(positions.values(), key=position)
        await self.log.trim_to(0, slowest)

    def documents(self) -> dict[str, bytes]:
        """What the store has."""
        return dict(self.store.scan("u"))
