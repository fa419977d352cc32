"""The indexer's order of writing: cut off anywhere and applied again, a shard is what its log says.

Real files, no server: a batch is cut off by an error in the place of a kill, after which the shard
is opened again. tests/integration/test_kill_during_load.py does the same with SIGKILL.
"""

import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.errors import ConfigurationError, WorkError
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.common.shard_log.entries import START, Entry, position
from hedgerow.common.shard_log.operations import Create, Delete, Drop, Op, Upsert, Write, pack_op
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.shard_worker.indexing.background_thread import Priority
from hedgerow.shard_worker.indexing.commands import Command, pack_command
from hedgerow.shard_worker.indexing.indexer import TRACEBACK_AGAIN_S, IndexerConfig, make_indexer
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer
from hedgerow.shard_worker.indexing.shard_report import (
    MAX_FIRST_BYTES,
    MAX_FIRST_IDS,
    ShardState,
    pack_ids,
    unpack_ids,
)
from hedgerow.shard_worker.storage import length_padding, text_index_writer
from hedgerow.shard_worker.storage.document_maker import make_document
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import (
    FieldStatistics,
    Statistics,
    TermStatistics,
    pack,
)
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.support.full_disk import no_file_grows

MEMORY = 15_000_000
BOOKS = define("books", {"fields": {"title": "text"}}, "u0")
PAPERS = define("papers", {"fields": {"title": "text", "year": "integer"}}, "u1")

Model = dict[str, dict[str, dict[str, Any]]]


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it, and nothing runs after it."""


def body(one: str, number: int) -> bytes:
    """A document as JSON."""
    return json.dumps({"id": one, "title": f"word{number}"}).encode()


ids = st.sampled_from(["a", "b", "c", "d"])
uids = st.sampled_from(["u0", "u1"])
writes = st.one_of(
    st.builds(
        lambda uid, changes: Upsert(uid, [(one, body(one, number)) for one, number in changes]),
        uids,
        st.lists(st.tuples(ids, st.integers(0, 9)), min_size=1, max_size=4),
    ),
    st.builds(Delete, uids, st.lists(ids, min_size=1, max_size=2)),
    st.builds(
        lambda uid, one, after, before, token: Write(
            uid,
            one,
            None if after is None else body(one, after),
            version_of(None if before is None else body(one, before)),
            token,
        ),
        uids,
        ids,
        st.none() | st.integers(0, 2),
        st.none() | st.integers(0, 2),
        st.sampled_from("tuvwxyz"),  # some twice: of these, the first decides
    ),
)
# The log begins with both definitions; now and then a collection is dropped for good.
logs = st.builds(
    lambda before, drop, after: [*before, *drop, *after],
    st.lists(writes, max_size=8),
    st.sampled_from([[], [Drop("u1")]]),
    st.lists(writes, max_size=4),
)


def model_of(ops: list[Op]) -> Model:
    """What a shard holds after all operations."""
    model: Model = {"u0": {}, "u1": {}}
    tokens: set[str] = set()
    for op in ops:
        match op:
            case Drop(uid):
                model.pop(uid, None)
            case Upsert(uid, documents) if uid in model:
                model[uid].update({one: json.loads(data) for one, data in documents})
            case Delete(uid, doomed) if uid in model:
                for one in doomed:
                    model[uid].pop(one, None)
            case Write(uid, one, after, expected, token) if token not in tokens:
                tokens.add(token)
                before = model.get(uid, {}).get(one)
                stored = None if before is None else json.dumps(before).encode()
                if uid in model and version_of(stored) == expected:
                    model[uid].pop(one, None)
                    if after is not None:
                        model[uid][one] = json.loads(after)
    return model


def found(folder: Path, state: ShardState) -> tuple[Model, dict[str, list[str]]]:
    """What the store holds, and which ids the text indexes find, by collection."""
    store = Store.open(folder / "store.sqlite", read_only=True)
    stored = {
        uid: {one: json.loads(data) for one, data in store.scan(uid)} for uid in store.collections()
    }
    store.close()
    indexed = {}
    for report in state.collections:
        index = TextIndex.open(folder / report.uid)
        assert index.generation == report.generation
        hits = index.searcher.search(index.parse_native("*"), 1000).hits
        indexed[report.uid] = sorted(index.ids([address for _, address in hits]))
    return stored, indexed


def cut_off_at(point: str) -> Any:
    """A patch that kills at the next time that this point is reached."""

    def dying(original: Callable[..., Any], *, is_before: bool) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            if not is_before:
                original(*arguments, **named)
            raise Killed

        return run

    match point:
        case "before index":
            return patch.object(
                TextIndexWriter, "commit", dying(TextIndexWriter.commit, is_before=True)
            )
        case "after index":
            return patch.object(
                TextIndexWriter, "commit", dying(TextIndexWriter.commit, is_before=False)
            )
        case "before store":
            return patch.object(Store, "apply", dying(Store.apply, is_before=True))
        case _:
            return patch.object(Store, "apply", dying(Store.apply, is_before=False))


points = st.sampled_from(["before index", "after index", "before store", "after store"])


@settings(deadline=None, max_examples=25)
@given(logs, st.lists(st.tuples(st.integers(1, 5), st.none() | points), max_size=8))
def test_cut_off_anywhere_and_applied_again(
    log: list[Op], course: list[tuple[int, str | None]]
) -> None:
    """However a log is cut into batches, and wherever they are cut off, the end is the same."""
    ops = [Create(BOOKS.to_json()), Create(PAPERS.to_json()), *log]
    entries = [Entry(f"{n}-{n % 3}", pack_op(op)) for n, op in enumerate(ops, start=1)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        indexer = ShardIndexer(folder, 0, MEMORY)
        state = indexer.state()
        for size, point in [*course, (len(entries), None)]:
            batch = [one for one in entries if position(one.id) > position(state.position)][:size]
            if not batch:
                continue
            arguments = (batch[-1].id, [one.op for one in batch])
            if point is None:
                state = indexer.apply(*arguments)
                continue
            try:
                with cut_off_at(point):
                    state = indexer.apply(*arguments)
            except Killed:
                indexer.close()  # rolls back what the index has not committed, as a kill would
                indexer = ShardIndexer(folder, 0, MEMORY)
                state = indexer.state()
        state = indexer.apply(entries[-1].id, [one.op for one in entries])  # changes nothing
        stored, indexed = found(folder, state)
        indexer.close()
        model = model_of(ops)
        assert stored == model
        assert indexed == {uid: sorted(documents) for uid, documents in model.items()}
        assert {one.uid: one.documents for one in state.collections} == {
            uid: len(documents) for uid, documents in model.items()
        }
        assert {path.name for path in folder.iterdir() if path.is_dir()} == set(model)


def test_a_rebuild_that_is_cut_off_is_done_again(tmp_path: Path) -> None:
    """An index whose rebuilding was cut off is not taken for a whole one."""
    indexer = ShardIndexer(tmp_path, 0, MEMORY)
    documents = [(f"d{n}", body(f"d{n}", n)) for n in range(50)]
    indexer.apply("1-0", [pack_op(Create(BOOKS.to_json())), pack_op(Upsert("u0", documents))])
    changed = define("books", {"fields": {"title": "keyword"}}, "u0")
    with (
        patch.object(TextIndexWriter, "_complete", side_effect=Killed),
        pytest.raises(Killed),
    ):
        indexer.apply("2-0", [pack_op(Create(changed.to_json()))])
    indexer.close()
    indexer = ShardIndexer(tmp_path, 0, MEMORY)
    _, indexed = found(tmp_path, indexer.apply("2-0", [pack_op(Create(changed.to_json()))]))
    assert indexed == {"u0": sorted(one for one, _ in documents)}
    indexer.close()


def test_a_folder_has_one_indexer_at_a_time(tmp_path: Path) -> None:
    """A second one is refused, touches nothing, and is admitted once the first has ended."""
    first = ShardIndexer(tmp_path, 0, MEMORY)
    batch = [pack_op(Create(BOOKS.to_json())), pack_op(Upsert("u0", [("a", body("a", 1))]))]
    state = first.apply("1-0", batch)
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        ShardIndexer(tmp_path, 0, MEMORY, lock_wait_s=0.0)
    assert found(tmp_path, state)[1] == {"u0": ["a"]}
    ending = threading.Timer(0.05, first.close)
    ending.start()
    second = ShardIndexer(tmp_path, 0, MEMORY)
    ending.join()
    assert second.state() == state
    second.close()


def test_a_large_collection_is_dropped_in_slices(tmp_path: Path) -> None:
    """Dropping is many transactions, each of them bounded, and cut off in the middle it goes on."""
    indexer = ShardIndexer(tmp_path, 0, MEMORY)
    documents = [(f"d{n}", body(f"d{n}", n)) for n in range(100)]
    indexer.apply("1-0", [pack_op(Create(BOOKS.to_json())), pack_op(Upsert("u0", documents))])
    sizes: list[int] = []
    original = Store.apply

    def counting(store: Store, applied: str, **changes: Any) -> None:
        sizes.extend(len(some) for some in changes.get("documents", {}).values())
        if len(sizes) == 4:
            raise Killed
        original(store, applied, **changes)

    with (
        patch("hedgerow.shard_worker.indexing.shard_indexer.DROP_SLICE", 10),
        patch.object(Store, "apply", counting),
    ):
        with pytest.raises(Killed):
            indexer.apply("2-0", [pack_op(Drop("u0"))])
        indexer.close()
        indexer = ShardIndexer(tmp_path, 0, MEMORY)
        assert indexer.state().position == "1-0"
        state = indexer.apply("2-0", [pack_op(Drop("u0"))])
    assert (state.position, state.collections) == ("2-0", [])
    assert max(sizes) == 10
    assert not (tmp_path / "u0").exists()
    indexer.close()


def test_an_error_leaves_the_shard_open_for_the_next_try(tmp_path: Path) -> None:
    """After a batch that failed (a full disk, say) the same batch applies once it can."""
    handler = make_indexer(IndexerConfig(str(tmp_path), MEMORY))
    budget: Any = None
    opened = ShardState.unpack(handler(pack_command(Command.OPEN, 0), budget))
    assert opened.position == START
    batch = pack_command(
        Command.APPLY,
        0,
        "1-0",
        [pack_op(Create(BOOKS.to_json())), pack_op(Upsert("u0", [("a", body("a", 1))]))],
    )
    with (
        patch.object(Store, "apply", side_effect=OSError("disk full")),
        pytest.raises(OSError, match="disk full"),
    ):
        handler(batch, budget)
    state = ShardState.unpack(handler(batch, budget))
    assert [one.documents for one in state.collections] == [1]
    assert unpack_ids(state.collections[0].first_ids) == ["a"]
    assert state.replica_id == opened.replica_id
    handler.close()


def test_an_error_that_comes_again_leaves_one_traceback(tmp_path: Path) -> None:
    """Of a folder that cannot be written, say: the table is tried again every second."""
    handler = make_indexer(IndexerConfig(str(tmp_path), MEMORY))
    folder = tmp_path / "statistics"
    folder.write_text("not a folder")
    budget: Any = None
    packed = pack(Statistics(2, {"title": FieldStatistics(4, {"wing": 2})}))
    table = pack_command(Command.TABLE, "u0", packed, Priority.NICER)
    with pytest.raises(FileExistsError, match=str(folder)):  # the process prints its traceback
        handler(table, budget)
    for _ in range(3):
        with pytest.raises(WorkError, match=f"FileExistsError: .*{folder}"):
            handler(table, budget)
    folder.unlink()
    folder.mkdir()
    handler(table, budget)
    (folder / "u0.sqlite").unlink()
    with (
        patch("sqlite3.connect", side_effect=sqlite3.OperationalError("unable to open")),
        pytest.raises(OSError, match=f"{folder / 'u0.sqlite'}: unable to open"),  # it is another
    ):
        handler(table, budget)
    with (
        patch.object(time, "monotonic", lambda: time.time() + TRACEBACK_AGAIN_S),
        patch("sqlite3.connect", side_effect=sqlite3.OperationalError("unable to open")),
        pytest.raises(OSError, match="unable to open"),
    ):
        handler(table, budget)


def test_a_store_that_has_disappeared_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    """Writes fail until a worker opens the shard again, and finds that it starts from nothing."""
    handler = make_indexer(IndexerConfig(str(tmp_path), MEMORY))
    budget: Any = None
    handler(pack_command(Command.OPEN, 0), budget)
    create = pack_op(Create(BOOKS.to_json()))
    handler(pack_command(Command.APPLY, 0, "1-0", [create]), budget)
    store = tmp_path / "shards" / "0" / STORE
    for left in store.parent.glob(f"{STORE}*"):
        left.unlink()
    upsert = pack_op(Upsert("u0", [("a", body("a", 1))]))
    with pytest.raises(FileNotFoundError, match=str(store)):
        handler(pack_command(Command.APPLY, 0, "2-0", [upsert]), budget)
    for _ in range(2):
        with pytest.raises(WorkError, match=f"{store} has disappeared: restart the worker"):
            handler(pack_command(Command.APPLY, 0, "2-0", [upsert]), budget)
    assert not store.exists()
    opened = ShardState.unpack(handler(pack_command(Command.OPEN, 0), budget))
    assert (opened.position, opened.collections) == (START, [])
    handler.close()


def refusing_soon(plan: Any, document_id: str, fields: Any, *rest: Any) -> Any:
    """Stands for `make_document`; a document whose year is "soon" cannot be indexed."""
    if fields.get("year") == "soon":
        raise TypeError("no year")
    return make_document(plan, document_id, fields, *rest)


def test_a_document_that_cannot_be_indexed_keeps_no_other_out(tmp_path: Path) -> None:
    """If one gets past the gateway's check, the batch is applied without indexing it."""
    indexer = ShardIndexer(tmp_path, 0, MEMORY)
    documents = [("a", body("a", 1)), ("b", b'{"id":"b","year":"soon"}'), ("c", body("c", 1))]
    with patch.object(text_index_writer, "make_document", refusing_soon):
        state = indexer.apply(
            "1-0", [pack_op(Create(PAPERS.to_json())), pack_op(Upsert("u1", documents))]
        )
    stored, indexed = found(tmp_path, state)
    assert sorted(stored["u1"]) == ["a", "b", "c"]
    assert indexed == {"u1": ["a", "c"]}
    indexer.close()


def test_more_collections_than_open_writers(tmp_path: Path) -> None:
    """Writers beyond the limit are closed and opened as they are needed; nothing is lost."""
    indexer = ShardIndexer(tmp_path, 0, MEMORY)
    indexer.writers.max_open = 2
    many = [define(f"c{n}", {"fields": {"title": "text"}}, f"c{n}") for n in range(4)]
    for turn in range(2):
        for number, one in enumerate(many):
            last = f"{1 + turn * len(many) + number}-0"
            document = f"d{turn}"
            state = indexer.apply(
                last,
                [
                    pack_op(Create(one.to_json())),
                    pack_op(Upsert(one.uid, [(document, body(document, 1))])),
                ],
            )
            assert len(indexer.writers._open) <= 2
    _, indexed = found(tmp_path, state)
    assert indexed == {one.uid: ["d0", "d1"] for one in many}
    indexer.close()


def test_a_large_batch_leaves_no_large_journal(tmp_path: Path) -> None:
    """The room that a batch takes in SQLite's journal is given back, also while others read."""
    indexer = ShardIndexer(tmp_path, 0, MEMORY)
    large = json.dumps({"id": "a", "title": "word " * 40}).encode()
    documents = [(f"d{n}", large) for n in range(20_000)]
    reader = Store.open(tmp_path / "store.sqlite", read_only=True)
    reader.count("u0")
    indexer.apply("1-0", [pack_op(Create(BOOKS.to_json())), pack_op(Upsert("u0", documents))])
    assert (tmp_path / "store.sqlite-wal").stat().st_size <= 1_048_576
    assert reader.count("u0") == 20_000
    reader.close()
    indexer.close()


def test_definitions_of_a_newer_version_hold_up_nothing(tmp_path: Path) -> None:
    """In the log they are skipped; in the store they wait for a version that can read them."""
    newer = BOOKS.to_json().replace('"text"', '"tensor"')
    indexer = ShardIndexer(tmp_path, 0, MEMORY)
    upsert = pack_op(Upsert("u1", [("a", body("a", 1))]))
    state = indexer.apply(
        "1-0", [pack_op(Create(newer)), pack_op(Create(PAPERS.to_json())), upsert]
    )
    assert [(one.uid, one.documents) for one in state.collections] == [("u1", 1)]
    indexer.apply("2-0", [pack_op(Create(BOOKS.to_json()))])
    indexer.close()
    store = Store.open(tmp_path / "store.sqlite")
    store.apply("2-0", definitions={"u0": newer})
    store.close()

    indexer = ShardIndexer(tmp_path, 0, MEMORY)
    state = indexer.apply("3-0", [pack_op(Upsert("u0", [("b", body("b", 1))])), upsert])
    assert {one.uid: one.documents for one in state.collections} == {"u0": 1, "u1": 1}
    state = indexer.apply("4-0", [pack_op(Create(BOOKS.to_json()))])
    assert found(tmp_path, state)[1] == {"u0": ["b"], "u1": ["a"]}
    indexer.close()


def test_first_ids_are_bounded_in_bytes() -> None:
    """Long ids are reported in a smaller number, and a thousand of the usual length in full."""
    usual = [f"{n:036d}" for n in range(MAX_FIRST_IDS)]
    assert unpack_ids(pack_ids(usual)) == usual
    long = [f"{n:0512d}" for n in range(MAX_FIRST_IDS)]
    assert unpack_ids(pack_ids(long)) == long[: MAX_FIRST_BYTES // 512]


def test_a_table_that_would_be_the_same_is_not_written_again(tmp_path: Path) -> None:
    """Scorers keep the table that they have read, until its statistics differ or it is gone."""
    indexer = make_indexer(IndexerConfig(str(tmp_path), MEMORY))
    path = tmp_path / "statistics" / "u0.sqlite"
    budget: Any = None

    def write(documents: int) -> int:
        packed = pack(Statistics(documents, {"title": FieldStatistics(4, {"wing": documents})}))
        indexer(pack_command(Command.TABLE, "u0", packed, Priority.NICER), budget)
        table = TermStatistics.open(path)
        table.close()
        assert table.documents == documents
        return path.stat().st_ctime_ns

    first = write(2)
    assert write(2) == first
    second = write(3)
    assert second != first
    path.unlink()
    assert write(3) != second
    indexer(pack_command(Command.TABLE, "u0", b"", Priority.NICER), budget)
    assert not path.exists()
    assert write(3) != second


def test_an_index_that_could_not_be_fitted_loses_no_later_document(tmp_path: Path) -> None:
    """Fitting an index commits; if that fails, the index is opened again before the next write."""
    indexer = make_indexer(IndexerConfig(str(tmp_path), MEMORY))
    indexer.open(0)
    budget: Any = None

    def apply(position: str, *ops: Op) -> None:
        indexer(pack_command(Command.APPLY, 0, position, [pack_op(op) for op in ops]), budget)

    apply("1-1", Create(BOOKS.to_json()), Upsert("u0", [("a", body("a", 1)), ("b", body("b", 2))]))
    longer = Statistics(2, {"title": FieldStatistics(8, {"wing": 2})})
    indexer(pack_command(Command.TABLE, "u0", pack(longer), Priority.NICER), budget)
    with no_file_grows(), pytest.raises((ValueError, WorkError)):
        indexer(pack_command(Command.BALANCE, 0, "u0"), budget)
    apply("1-2", Upsert("u0", [("b", body("b", 3)), ("c", body("c", 4))]))
    index = TextIndex.open(tmp_path / "shards" / "0" / "u0")
    assert index.num_documents == 3
    indexer.close()


def test_an_index_that_has_the_average_lengths_is_left_alone(tmp_path: Path) -> None:
    """No commit or merge came since, and no other averages are wanted: it is not opened again."""
    shard = ShardIndexer(tmp_path, 0, MEMORY)
    bodies = [(f"d{number}", body(f"d{number}", number)) for number in range(20)]
    shard.apply("1-0", [pack_op(Create(BOOKS.to_json())), pack_op(Upsert("u0", bodies))])
    look = f"{ShardIndexer.__module__}.is_balanced"
    with patch(look, side_effect=length_padding.is_balanced) as looked:

        def num_looks(average: float) -> int:
            before = looked.call_count
            for _ in range(6):  # fitting it starts merges, which may end in between
                shard.balance("u0", {"title": average})
            return looked.call_count - before

        first = num_looks(2.0)
        assert 2 <= first < 6
        assert num_looks(2.0) == 0
        assert num_looks(2.5) >= 2
        shard.apply("2-0", [pack_op(Delete("u0", ["d1"]))])
        assert num_looks(2.5) >= 1
        assert num_looks(2.5) == 0
        shard.close()
        shard = ShardIndexer(tmp_path, 0, MEMORY)
        with patch.object(TextIndexWriter, "open") as opened:  # which costs more than to look
            assert num_looks(2.5) >= 1
            opened.assert_not_called()
    index = TextIndex.open(tmp_path / "u0")
    assert index.total_words("title") == pytest.approx(2.5 * index.max_doc, abs=0.5)
    shard.close()
