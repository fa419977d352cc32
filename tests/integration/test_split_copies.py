"""Logs are sealed, and shards copied into new logs, on a real server: whatever ends a copier."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from hedgerow.common.errors import SealedError
from hedgerow.common.partition import shard_of
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.entries import START, Entry
from hedgerow.common.shard_log.judgement import KEPT_JUDGEMENTS, Judgement
from hedgerow.common.shard_log.log import MAX_ENTRY_BYTES, ShardLog
from hedgerow.common.shard_log.operations import (
    Create,
    Upsert,
    pack_op,
    unpack_op,
)
from hedgerow.common.shard_log.sealing import Sealing
from hedgerow.common.state.machine_turns import TURN_LEASE_S, MachineTurns
from hedgerow.common.tasks import end
from hedgerow.shard_worker.indexing.changes import Changes
from hedgerow.shard_worker.splitting import copier
from hedgerow.shard_worker.splitting.clone_choice import CloneChoice
from hedgerow.shard_worker.splitting.copier import Copier
from hedgerow.shard_worker.splitting.copy_pace import CopyPace
from hedgerow.shard_worker.splitting.shard_documents import ShardDocuments
from tests.integration.support.old_shard import BOOKS, SPLIT, Source
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def control(redis_server: RedisServer) -> AsyncIterator[RedisClient]:
    """A connection to the server."""
    control = await connect(RedisSettings(url=redis_server.url))
    yield control
    await control.close()


async def test_a_sealed_log_takes_no_appends_until_it_is_unsealed(
    control: RedisClient, key_prefix: str
) -> None:
    """Not even one that was never written to; entries and ids are then as before."""
    keys = Keys(key_prefix)
    log, sealing = ShardLog(control, keys), Sealing(control, keys)
    first = await log.append(0, b"one")
    for _ in range(2):  # sealing twice is as good as once
        await sealing.seal([0, 1], 2)
    for shard in (0, 1):
        with pytest.raises(SealedError):
            await log.append(shard, b"late")
    assert await sealing.ends([0, 1]) == [first.id, START]
    assert [entry.op for entry in await log.read(0, START, 100)] == [b"one"]
    for _ in range(2):
        await sealing.unseal([0, 1], 3)
    second = await log.append(0, b"two")
    await log.append(1, b"three")
    assert await sealing.ends([0]) == [second.id]
    assert [entry.id for entry in await log.read(0, START, 100)] == [first.id, second.id]


async def test_a_copy_is_appended_only_after_what_is_expected(
    control: RedisClient, key_prefix: str
) -> None:
    """Of two copiers, the one that comes late appends nothing."""
    keys = Keys(key_prefix, layout=1)
    copies = Sealing(control, keys)
    assert await copies.copy(0, START, [("0-1", b"a"), ("5-0", b"b")])
    assert not await copies.copy(0, START, [("0-1", b"c")])
    assert not await copies.copy(0, "4-0", [("6-0", b"d")])
    assert await copies.copy(0, "5-0", [("6-0", b"e")])
    assert await copies.last_ids([0, 1]) == ["6-0", START]
    entries = await ShardLog(control, keys).read(0, START, 100)
    assert entries == [Entry("0-1", b"a"), Entry("5-0", b"b"), Entry("6-0", b"e")]


class Nothing:
    """A shard that is empty before its log."""

    last_number = 0

    def body(self, uid: str, document_id: str) -> bytes | None:
        """None."""

    def has_collection(self, uid: str) -> bool:
        """No."""
        return False

    def find(self, token: str) -> tuple[int, Judgement] | None:
        """None."""


async def copied(control: RedisClient, keys: Keys) -> tuple[dict[str, bytes], dict[str, Judgement]]:
    """What the replicas of the new shards have, once they have applied their logs.

    Returns:
        Their documents, and the judgements that they remember, by token.
    """
    found: dict[str, bytes] = {}
    judged: dict[str, Judgement] = {}
    for shard in (0, 1):
        entries = await ShardLog(control, keys.of_layout(1)).read(shard, START, 100_000_000)
        changes = Changes.of([unpack_op(entry.op) for entry in entries], Nothing())
        assert changes.definitions.keys() == {"u"}
        for document_id, body in changes.documents.get("u", {}).items():
            assert shard_of(document_id, 2) == shard
            if body is not None:
                found[document_id] = body
        for token, (_, judgement) in changes.judged.items():
            assert judged.setdefault(token, judgement) == judgement
    return found, judged


@pytest.mark.parametrize("seed", range(6))
async def test_a_copier_that_ends_at_any_point_loses_nothing(
    control: RedisClient, key_prefix: str, tmp_path: Path, seed: int
) -> None:
    """Writes, deletes and trims go on; copiers are ended and begun again; the copy is the same."""
    rng, keys = random.Random(seed), Keys(key_prefix)
    source = Source(control, keys, tmp_path / "store.sqlite", rng)
    await source.log.append(0, pack_op(Create(BOOKS.to_json())))
    for _ in range(30):
        await source.write()
        if rng.random() < 0.5:
            await source.apply()

    async def always() -> None:
        await asyncio.sleep(0)

    def copier() -> Copier:
        return Copier(
            control,
            keys,
            SPLIT,
            0,
            source.path,
            applied=lambda: source.applied,
            pace=CopyPace(1.0),
            clones=CloneChoice(control, keys, SPLIT, 5.0),
            replicas_within_s=0.0,
        )

    for _ in range(15):
        task = asyncio.create_task(copier().run(always))
        for _ in range(rng.randrange(4)):
            await source.write()
            await source.apply()
            await asyncio.sleep(rng.random() * 0.005)
        await end([task])
    for _ in range(5):
        await source.write()
    await source.apply()
    last = asyncio.create_task(copier().run(always))
    ends = await Sealing(control, keys).ends([0])

    async def is_there() -> bool:
        return await Sealing(control, keys.of_layout(1)).last_ids([0, 1]) == ends * 2

    await until(is_there, what="the rest of the log")
    await end([last])
    await source.apply()
    judged = {one.token: one for one in source.store.judgements.newest(KEPT_JUDGEMENTS)}
    assert await copied(control, keys) == (source.documents(), judged)
    source.store.close()


async def test_a_copy_cancelled_while_it_opens_the_store_closes_it(
    control: RedisClient, key_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read transaction would keep the store's log of changes from being emptied."""
    source = Source(control, Keys(key_prefix), tmp_path / "store.sqlite", random.Random(0))
    await source.log.append(0, pack_op(Create(BOOKS.to_json())))
    await source.apply()  # trims the log, so that the documents must be copied from the store
    opening, go_on, num_open = threading.Event(), threading.Event(), 0

    class SlowDocuments(ShardDocuments):
        def __init__(self, path: Path, num_shards: int) -> None:
            nonlocal num_open
            opening.set()
            assert go_on.wait(15.0)
            super().__init__(path, num_shards)
            num_open += 1

        def close(self) -> None:
            nonlocal num_open
            super().close()
            num_open -= 1

    monkeypatch.setattr(copier, "ShardDocuments", SlowDocuments)

    async def always() -> None:
        await asyncio.sleep(0)

    task = asyncio.create_task(
        Copier(
            control,
            Keys(key_prefix),
            SPLIT,
            0,
            source.path,
            applied=lambda: source.applied,
            pace=CopyPace(1.0),
            clones=CloneChoice(control, Keys(key_prefix), SPLIT, 5.0),
            replicas_within_s=0.0,
        ).run(always)
    )
    await until(opening.is_set)
    task.cancel()
    await asyncio.sleep(0)  # it is cancelled while the thread opens the store
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert num_open == 0
    await until(lambda: not any(one.name.startswith("split") for one in threading.enumerate()))
    source.store.close()


async def test_the_workers_of_a_machine_take_turns(control: RedisClient, key_prefix: str) -> None:
    """A machine's turns are limited, whichever of its workers take them; one that ends is free."""
    keys = Keys(key_prefix)

    def turns(host: str, worker: str) -> MachineTurns:
        return MachineTurns(control, partial(keys.copy_turn, host), worker=worker)

    first, second, elsewhere = turns("here", "w1"), turns("here", "w2"), turns("there", "w3")
    assert [await first.hold(shard, 2) for shard in (1, 2, 3)] == [True, True, False]
    assert not await second.hold(4, 2)
    assert await elsewhere.hold(5, 2)
    assert await first.hold(1, 2)  # again, without a question
    await first.end(1)

    async def is_free() -> bool:
        return await second.hold(4, 2)

    await until(is_free)
    assert not await first.hold(1, 2)
    assert await elsewhere.hold(6, 1)  # who may take more turns has left it that one
    # A worker that dies leaves its turns to expire.
    assert 0 < await control.execute("PTTL", keys.copy_turn("here", 1)) <= 1000 * TURN_LEASE_S


async def test_copies_are_never_further_ahead_of_the_replicas_than_a_turn(
    control: RedisClient, key_prefix: str, tmp_path: Path
) -> None:
    """So searches are not crowded out, and the new logs take little memory of Redis."""
    keys, num_documents = Keys(key_prefix), 400
    source = Source(control, keys, tmp_path / "store.sqlite", random.Random(0))
    await source.log.append(0, pack_op(Create(BOOKS.to_json())))
    body = b"x" * 10_000
    for number in range(num_documents):
        await source.log.append(0, pack_op(Upsert("u", [(f"d{number}", body)])))
        if number % 50 == 49:
            await source.apply()
    target = ShardLog(control, keys.of_layout(1))
    for shard in (0, 1):
        await target.record_applied(shard, "replica", START)

    async def always() -> None:
        """Hold the lease."""

    copier = Copier(
        control,
        keys,
        SPLIT,
        0,
        source.path,
        applied=lambda: source.applied,
        pace=CopyPace(0.9, largest_bytes=250_000),
        clones=CloneChoice(control, keys, SPLIT, 5.0),
    )
    copying = asyncio.create_task(copier.run(always))
    applied, num_copied = {0: START, 1: START}, 0

    async def apply() -> bool:
        """Apply what is there to both shards; whether all documents were copied."""
        nonlocal num_copied
        waiting = {shard: await target.read(shard, applied[shard], 10_000_000) for shard in (0, 1)}
        some = [entry for entries in waiting.values() for entry in entries]
        assert sum(len(entry.op) for entry in some) <= 250_000 + MAX_ENTRY_BYTES
        num_copied += sum(entry.op.count(body) for entry in some)
        for shard, entries in waiting.items():
            if entries:
                applied[shard] = entries[-1].id
                await target.record_applied(shard, "replica", applied[shard])
        return num_copied == num_documents

    await until(apply, 60.0, what="all documents")
    await end([copying])
    source.store.close()
