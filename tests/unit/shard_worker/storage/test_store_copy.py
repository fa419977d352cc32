"""Copies of a shard, made while it is written to."""

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from hedgerow.common.errors import SnapshotError
from hedgerow.common.shard_log.document_version import ABSENT
from hedgerow.common.shard_log.operations import Delete, Write, pack_op
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer
from hedgerow.shard_worker.storage import store_copy
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.store_copy import StoreCopy, link_index
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.unit.support.snapshots import BOOKS, held, indexer, wait, write


def test_a_copy_is_the_shard_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written, merged or deleted while a copy is made is not in it, and the rest is."""
    written, begun = threading.Event(), threading.Event()

    def look(*_: object) -> None:  # after the first page: the rest is copied after the writes
        begun.set()
        assert written.wait(30)

    monkeypatch.setattr(store_copy, "_PAGES", 1)
    monkeypatch.setattr(StoreCopy, "_look", look)
    shard = indexer(tmp_path / "shard")
    write(shard, 0, count=3000)
    before = held(tmp_path / "shard")
    copy = shard.freeze(made := tmp_path / "copy")
    assert begun.wait(30)
    for number in range(1, 12):  # commits enough for merges to replace every segment
        write(shard, number)
    written.set()
    wait(copy)
    shard.close()
    assert copy.position == before[0]
    assert held(made) == before
    assert held(tmp_path / "shard") != before


def test_a_copy_is_another_replica(tmp_path: Path) -> None:
    """A copy draws an id of its own when it is opened, keeps it, and goes on from its position."""
    shard = indexer(tmp_path / "shard")
    write(shard, 0)
    wait(shard.freeze(tmp_path / "copy"))
    original = shard.state().replica_id
    shard.close()
    seen = set()
    for _ in range(2):
        again = ShardIndexer(tmp_path / "copy", 0, 15_000_000)
        seen.add(again.state().replica_id)
        write(again, 1)
        again.close()
    assert len(seen) == 1
    assert original not in seen
    assert len(held(tmp_path / "copy")[1]) == 20
    assert held(tmp_path / "copy")[1] == held(tmp_path / "copy")[2]


def test_a_copy_remembers_which_writes_were_judged(tmp_path: Path) -> None:
    """A replica that starts from it judges a second copy of a write as the other replicas do."""
    shard = indexer(tmp_path / "shard")
    write(shard, 0)
    op = pack_op(Write(BOOKS.uid, "one", b'{"id": "one"}', ABSENT, "token"))
    (judged,) = shard.apply("9-0", [op]).judgements
    wait(shard.freeze(tmp_path / "copy"))
    shard.close()
    again = ShardIndexer(tmp_path / "copy", 0, 15_000_000)
    removed = pack_op(Delete(BOOKS.uid, ["one"]))
    assert again.opened().judgements == (judged,)
    assert again.apply("9-1", [removed, op]).judgements == (judged,)
    assert again.apply("9-1", [removed, op]).judgements == (judged,)  # its answer was lost
    again.close()
    assert "one" not in held(tmp_path / "copy")[1]


def test_a_copy_that_is_stopped_leaves_no_store(tmp_path: Path) -> None:
    """Cut off in the middle, there is no file of the store's name, and the store goes on."""
    store = Store.open(tmp_path / STORE)
    store.apply(
        "2-0",
        definitions={BOOKS.uid: BOOKS.to_json()},
        documents={BOOKS.uid: {str(n): b"x" * 4000 for n in range(20_000)}},
    )
    copy = StoreCopy(tmp_path / STORE, tmp_path / "copy.sqlite")
    copy.stop()
    with pytest.raises(SnapshotError, match="stopped"):
        copy.is_done()
    assert not (tmp_path / "copy.sqlite").exists()
    store.apply("3-0")
    store.close()


def test_merges_that_remove_files_do_not_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If files vanish between reading meta.json and linking them, it is read again."""
    writer = TextIndexWriter.open(tmp_path / "index", BOOKS)
    writer.apply((), [("a", {"t": "all"})])
    writer.commit()
    meta = json.loads((tmp_path / "index" / "meta.json").read_bytes())
    ghost = {"segment_id": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "max_doc": 1, "deletes": None}
    stale = json.dumps({**meta, "segments": [*meta["segments"], ghost]}).encode()
    read, answers = Path.read_bytes, [stale, stale]
    monkeypatch.setattr(
        Path,
        "read_bytes",
        lambda path: answers.pop() if path.name == "meta.json" and answers else read(path),
    )
    link_index(tmp_path / "index", tmp_path / "copy")
    writer.close()
    assert answers == []
    assert json.loads((tmp_path / "copy" / "meta.json").read_bytes()) == meta


def test_a_copy_is_one_file(tmp_path: Path) -> None:
    """The copied store needs no write-ahead log beside it."""
    shard = indexer(tmp_path / "shard")
    write(shard, 0)
    wait(shard.freeze(tmp_path / "copy"))
    shard.close()
    assert [one.name for one in (tmp_path / "copy").iterdir() if one.is_file()] == [STORE]
    with sqlite3.connect(f"file:{tmp_path / 'copy' / STORE}?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
