"""Shards that an indexer makes of the documents of others: as if the log had brought these."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import ConfigurationError, WorkError
from hedgerow.common.partition import shard_of
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.common.shard_log.judgement import KEPT_JUDGEMENTS, Judgement
from hedgerow.common.shard_log.op_parts import parts_of
from hedgerow.common.shard_log.operations import (
    Create,
    Delete,
    Drop,
    Op,
    Remember,
    Upsert,
    Write,
    pack_op,
)
from hedgerow.shard_worker.embedding.embedder import EmbedConfig
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.indexing import shard_clone
from hedgerow.shard_worker.indexing.background_thread import Priority
from hedgerow.shard_worker.indexing.indexer import IndexerConfig, make_indexer
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.storage import store_clone
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import Statistics, collect
from hedgerow.shard_worker.storage.text_index import TextIndex

MEMORY = 15_000_000
BOOKS = define("books", {"fields": {"title": "text"}}, "u0")
PAPERS = define("papers", {"fields": {"title": "text", "year": "integer"}}, "u1")
NEW = Collection("new", "u2")  # without fields: it has no index yet
WORDS = ("oak", "ash", "elm", "yew", "fir", "box", "bay", "fig")
FUNCTION = f"{__name__}:lengths"
embedded: list[str] = []


def lengths(texts: Sequence[str]) -> list[list[float]]:
    """Embed texts, and note them."""
    embedded.extend(texts)
    return [[float(len(text)), 1.0] for text in texts]


class Worker:
    """The indexer of a data folder, in this process, with the log of each shard."""

    def __init__(self, data: Path) -> None:
        embed = EmbedConfig(frozenset({FUNCTION}))
        self.data = data
        self._indexer = make_indexer(IndexerConfig(str(data), MEMORY, MEMORY, embed))
        self._budget: Any = None  # nothing asks for it
        self.client = IndexerClient(self)

    async def run(self, work: Task) -> TaskResult:
        """Carry out a command."""
        return TaskResult(self._indexer(work.payload, self._budget), 0, 0, 0, None)

    async def apply(self, shard: int, number: int, *ops: Op) -> None:
        """Apply operations as the next batch of the log."""
        await self.client.open(shard)
        await self.client.apply(shard, f"{number}-0", [pack_op(op) for op in ops])

    async def clone(self, shard: int, old: Path, num_shards: int) -> str:
        """Clone a shard; returns its position."""
        begun = await self.client.begin_clone(shard, str(old), num_shards, Priority.IDLE)
        while not (await self.client.clone(shard)).is_made:
            pass
        await self.client.place_clone(shard)
        await self.client.open(shard)
        return begun.position

    def close(self) -> None:
        """Close all files."""
        self._indexer.close()


class Held(NamedTuple):
    """What a shard has."""

    position: str
    documents: Mapping[str, Mapping[str, bytes]]
    changes: Mapping[str, int]
    judged: Sequence[Judgement]
    found: Mapping[str, Statistics]


def held_by(data: Path, shard: int) -> Held:
    """What a shard has in its store, and what its indexes find."""
    folder = data / "shards" / str(shard)
    store = Store.open(folder / "store.sqlite", read_only=True)
    try:
        uids = store.collections()
        assert all(store.count(uid) == len(dict(store.scan(uid))) for uid in uids)
        return Held(
            store.position,
            {uid: dict(store.scan(uid)) for uid in uids},
            {uid: store.changes(uid) for uid in uids},
            store.judgements.newest(KEPT_JUDGEMENTS),
            {uid: collect(TextIndex.open(folder / uid)) for uid in uids if (folder / uid).is_dir()},
        )
    finally:
        store.close()


def text(one: str, rng: random.Random) -> bytes:
    """A document as JSON."""
    title = " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))
    return json.dumps({"id": one, "title": title, "year": rng.randint(1900, 1999)}).encode()


def ops_of(rng: random.Random) -> list[Op]:
    """What a log may have: documents that come, change and go, in several collections."""
    ops: list[Op] = [Create(one.to_json()) for one in (BOOKS, PAPERS, NEW)]
    ops.append(Create(define("gone", {"fields": {"title": "text"}}, "u3").to_json()))
    for number in range(40):
        uid = rng.choice(["u0", "u0", "u1", "u2", "u3"])
        ids = sorted({f"d{rng.randrange(150)}" for _ in range(12)})
        match rng.randrange(5):
            case 0:
                ops.append(Delete(uid, ids))
            case 1:
                ops.append(Write(uid, ids[0], text(ids[0], rng), version_of(None), f"t{number}"))
            case _:
                ops.append(Upsert(uid, [(one, text(one, rng)) for one in ids]))
    return [*ops, Drop("u3")]


async def fill_from_log(worker: Worker, shard: int, held: Held, position: str) -> None:
    """What a copy does: bring a shard, by its log, the part of another's documents that is its."""
    ops: list[Op] = [Create(one.to_json()) for one in (BOOKS, PAPERS, NEW)]
    ops.append(Remember([*held.judged[::-1]]))
    for uid, documents in held.documents.items():
        parts = parts_of(Upsert(uid, list(documents.items())), 2) or {}
        ops += [parts[shard]] if shard in parts else []
    await worker.client.open(shard)
    await worker.client.apply(shard, position, [pack_op(op) for op in ops])


@pytest.mark.parametrize("seed", range(2))
async def test_a_clone_has_what_the_log_would_have_brought(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents, counts, judgements, position, and all that its indexes count for ranking."""
    monkeypatch.setattr(store_clone, "STEP_DOCUMENTS", 7)
    rng = random.Random(seed)
    old, cloned, copied = (Worker(tmp_path / one) for one in ("old", "cloned", "copied"))
    ops = ops_of(rng)
    for number in range(0, len(ops), 15):
        await old.apply(0, number + 1, *ops[number : number + 15])
    before = held_by(old.data, 0)
    for shard in (0, 1):
        position = await cloned.clone(shard, old.data / "shards" / "0", 2)
        await fill_from_log(copied, shard, before, position)
        clone = held_by(cloned.data, shard)
        assert clone == held_by(copied.data, shard)
        assert clone.position == before.position
        assert clone.documents.keys() == before.documents.keys() == {"u0", "u1", "u2"}
        for uid, documents in clone.documents.items():
            whole = before.documents[uid]
            assert documents == {one: whole[one] for one in whole if shard_of(one, 2) == shard}
    for worker in (old, cloned, copied):
        worker.close()


async def test_what_is_written_meanwhile_is_left_to_the_log(tmp_path: Path) -> None:
    """A clone is of one moment, whose position it has; later entries make it complete."""
    rng = random.Random(1)
    old, cloned = Worker(tmp_path / "old"), Worker(tmp_path / "cloned")
    ids = [f"d{number}" for number in range(50)]
    await old.apply(0, 1, Create(BOOKS.to_json()), Upsert("u0", [(one, b"{}") for one in ids]))
    begun = await cloned.client.begin_clone(1, str(old.data / "shards" / "0"), 2, Priority.IDLE)
    later: list[Op] = [
        Upsert("u0", [(one, text(one, rng)) for one in (*ids[:9], "new")]),
        Delete("u0", ids[20:30]),
    ]
    await old.apply(0, 2, *later)
    while not (await cloned.client.clone(1)).is_made:
        pass
    await cloned.client.place_clone(1)
    state = await cloned.client.open(1)
    assert (state.position, state.replica_id) == ("1-0", begun.replica_id)
    assert held_by(cloned.data, 1).documents["u0"].keys() == {
        one for one in ids if shard_of(one, 2) == 1
    }
    await cloned.apply(
        1, 2, *(op for one in later for op in [(parts_of(one, 2) or {}).get(1)] if op)
    )
    whole = held_by(old.data, 0).documents["u0"]
    assert held_by(cloned.data, 1).documents["u0"] == {
        one: body for one, body in whole.items() if shard_of(one, 2) == 1
    }
    old.close()
    cloned.close()


async def test_a_clone_that_is_cut_off_leaves_nothing_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step was the last, there is no shard; what was there before is only replaced."""
    monkeypatch.setattr(store_clone, "STEP_DOCUMENTS", 20)
    old = Worker(tmp_path / "old")
    documents = [(f"d{number}", b'{"title": "oak"}') for number in range(100)]
    await old.apply(0, 1, Create(BOOKS.to_json()), Upsert("u0", documents))
    for num_steps in (0, 1, 3, 6, 9):
        cloned = Worker(tmp_path / "cloned")
        await cloned.apply(0, 1, Create(PAPERS.to_json()))  # of an attempt that came to nothing
        await cloned.client.begin_clone(0, str(old.data / "shards" / "0"), 2, Priority.IDLE)
        for _ in range(num_steps):
            if (await cloned.client.clone(0)).is_made:
                break
        if num_steps % 2:
            await cloned.client.end_clone(0)
            assert list((cloned.data / shard_clone.CLONES).iterdir()) == []
        # With an even number, the process is killed: its files are left as they are.
        assert held_by(cloned.data, 0).documents == {"u1": {}}
        await cloned.client.release(0)
        again = Worker(tmp_path / "cloned")
        assert await again.clone(0, old.data / "shards" / "0", 2) == "1-0"
        assert held_by(again.data, 0).documents["u0"].keys() == {
            one for one, _ in documents if shard_of(one, 2) == 0
        }
        again.close()
        cloned.close()
        for path in (again.data / "shards" / "0").glob("store.sqlite*"):
            path.unlink()
    old.close()


async def test_vectors_are_taken_from_the_old_shard(tmp_path: Path) -> None:
    """What was embedded is not embedded again; the vectors are those of before."""
    vector = {"type": "vector", "dimensions": 2, "metric": "dot", "embed": FUNCTION}
    embedding = define("books", {"fields": {"title": "text", "v": vector}}, "u0")
    old, cloned = Worker(tmp_path / "old"), Worker(tmp_path / "cloned")
    bodies = [(f"d{n}", json.dumps({"title": "x" * n}).encode()) for n in range(1, 60)]
    await old.apply(0, 1, Create(embedding.to_json()), Upsert("u0", bodies))
    embedded.clear()
    await cloned.clone(1, old.data / "shards" / "0", 2)
    assert embedded == []
    index = TextIndex.open(cloned.data / "shards" / "1" / "u0")
    wanted = [one for one, _ in bodies if shard_of(one, 2) == 1]
    assert index.num_vectors("v") == len(wanted) > 10
    old.close()
    cloned.close()


async def test_a_clone_is_fitted_to_the_statistics_of_the_old_shard(tmp_path: Path) -> None:
    """Each half has the average length of the whole: the new shard's indexer need not fit it."""
    rng = random.Random(3)
    old, cloned = Worker(tmp_path / "old"), Worker(tmp_path / "cloned")
    ids = [f"d{number}" for number in range(200)]
    await old.apply(
        0, 1, Create(BOOKS.to_json()), Upsert("u0", [(one, text(one, rng)) for one in ids])
    )
    total = await old.client.sum([await old.client.statistics(0, "u0")])
    whole = TextIndex.open(old.data / "shards" / "0" / "u0").average_length("title", WORDS)
    for worker in (old, cloned):
        await worker.client.write_table("u0", total.statistics)
    for shard in (0, 1):
        await cloned.clone(shard, old.data / "shards" / "0", 2)
        made = TextIndex.open(cloned.data / "shards" / str(shard) / "u0")
        assert made.average_length("title", WORDS) == pytest.approx(whole, rel=1e-3)
        assert made.num_padding > 0
        await cloned.client.balance(shard, "u0")
        assert TextIndex.open(made.path).generation == made.generation
    for worker in (old, cloned):
        worker.close()


async def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    """So is one that is not there: the clone would be empty, and count as whole."""
    old, cloned = Worker(tmp_path / "old"), Worker(tmp_path / "cloned")
    folder = old.data / "shards" / "0"
    with pytest.raises((ConfigurationError, WorkError), match="there is no store"):
        await cloned.client.begin_clone(0, str(folder), 2, Priority.IDLE)
    await old.apply(0, 1, Create(BOOKS.to_json()))
    store = Store.open(folder / "store.sqlite")
    with store._connection() as connection:
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'format'")
    store.close()
    with pytest.raises((ConfigurationError, WorkError), match="format 2"):
        await cloned.client.begin_clone(0, str(folder), 2, Priority.IDLE)
    old.close()
    cloned.close()
