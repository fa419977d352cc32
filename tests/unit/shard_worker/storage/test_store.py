"""The store keeps what was applied, once, and shows nothing half-done."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.storage.store import Store

DEFINITIONS = {"u": "{}", "v": "{}"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store with two collections."""
    opened = Store.open(tmp_path / "a" / "store.sqlite")
    opened.apply("1-0", definitions=DEFINITIONS)
    yield opened
    opened.close()


def body(value: object) -> bytes:
    """A document as the store keeps it."""
    return json.dumps(value).encode()


def test_documents_come_back_in_the_order_asked_for(store: Store) -> None:
    """An id that is not there gives None, and one asked for twice comes twice."""
    store.apply("2-0", documents={"u": {"a": body(1), "b": body(2)}, "v": {"a": body(3)}})
    assert store.get("u", ["b", "zz", "a", "b"]) == [body(2), None, body(1), body(2)]
    assert store.get("v", ["a", "b"]) == [body(3), None]
    assert store.get("nowhere", ["a"]) == [None]
    assert store.get("u", []) == []


def test_ids_are_ordered_by_code_point_like_pythons_strings(store: Store) -> None:
    """The first ids are those that Python's own sort puts first."""
    ids = ["b", "B", "é", "10", "9", "ñ", "😀", "\uffee", "a/b", "a b", "a"]
    store.apply("2-0", documents={"u": {one: body(one) for one in ids}})
    assert store.first_ids("u", 100) == sorted(ids)
    assert store.first_ids("u", 3) == sorted(ids)[:3]
    assert [one for one, _ in store.scan("u", page=2)] == sorted(ids)


def test_ids_are_found_by_rank(store: Store) -> None:
    """Each rank has the id at that place of all ids in order; a rank beyond them has none."""
    ids = [f"{number:03}" for number in range(50)]
    store.apply("2-0", documents={"u": {one: body(1) for one in reversed(ids)}, "v": {"x": b"1"}})
    assert store.ids_at("u", [0, 1, 7, 48, 49]) == ["000", "001", "007", "048", "049"]
    assert store.ids_at("u", [3, 50, 60]) == ["003"]
    assert store.ids_at("nowhere", [0]) == []


def test_the_position_and_the_replica_outlive_the_process(tmp_path: Path) -> None:
    """A store that is opened again is the same replica, at the same position."""
    path = tmp_path / "store.sqlite"
    first = Store.open(path)
    assert first.position == "0-0"
    replica = first.replica_id
    first.apply("7-3", definitions={"u": '{"a":1}'}, documents={"u": {"a": body(1)}})
    first.close()
    again = Store.open(path)
    assert (again.position, again.replica_id) == ("7-3", replica)
    assert again.collections() == {"u": '{"a":1}'}
    assert again.definition("u") == '{"a":1}'
    assert again.count("u") == 1
    again.close()


def test_two_stores_are_two_replicas(tmp_path: Path) -> None:
    """Each draws a name of its own."""
    stores = [Store.open(tmp_path / str(number)) for number in range(2)]
    assert stores[0].replica_id != stores[1].replica_id
    for one in stores:
        one.close()


def test_a_changed_definition_replaces_the_old_and_keeps_the_documents(store: Store) -> None:
    """Definitions are recorded by uid."""
    store.apply("2-0", documents={"u": {"a": body(1)}})
    store.apply("3-0", definitions={"u": '{"new":1}'})
    assert store.definition("u") == '{"new":1}'
    assert store.count("u") == 1


def test_a_dropped_collection_is_gone_and_its_late_documents_too(store: Store) -> None:
    """Documents that arrive for it afterwards go nowhere; other collections stay."""
    store.apply("2-0", documents={"u": {"a": body(1)}, "v": {"a": body(2)}})
    store.apply("3-0", documents={"u": {"b": body(1)}}, dropped={"u"})
    store.apply("4-0", documents={"u": {"c": body(1)}})
    assert store.collections().keys() == {"v"}
    assert (store.count("u"), store.first_ids("u", 9), store.count("v")) == (0, [], 1)
    assert store.definition("u") is None


def test_a_batch_that_fails_leaves_everything_as_it_was(store: Store) -> None:
    """Documents and position change together or not at all."""
    store.apply("2-0", documents={"u": {"a": body(1)}})
    with pytest.raises(sqlite3.Error):
        store.apply("3-0", documents={"u": {"b": body(2), "c": object()}})  # type: ignore[dict-item]  # the failure
    assert store.position == "2-0"
    assert store.first_ids("u", 9) == ["a"]
    assert store.count("u") == 1
    store.apply("3-0", documents={"u": {"b": body(2)}})
    assert store.count("u") == 2


changes = st.dictionaries(st.sampled_from("abcdef"), st.none() | st.integers(0, 3), max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("uvx"), changes), max_size=12), st.data())
def test_any_batches_replayed_at_will_leave_what_a_dict_would_hold(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[str, dict[str, int | None]]],
    data: st.DataObject,
) -> None:
    """Counts and documents are those of plain dicts, however often the last batch is repeated."""
    with closing(Store.open(tmp_path_factory.mktemp("store") / "store.sqlite")) as store:
        model: dict[str, dict[str, bytes]] = {"u": {}, "v": {}}
        store.apply("1-0", definitions=DEFINITIONS)
        for number, (uid, change) in enumerate(batches):
            bodies = {one: None if value is None else body(value) for one, value in change.items()}
            for _ in range(data.draw(st.integers(1, 2))):
                store.apply(f"{number + 2}-0", documents={uid: bodies})
            for one, content in bodies.items():
                if uid in model and content is not None:
                    model[uid][one] = content
                elif uid in model:
                    model[uid].pop(one, None)
        for uid, documents in model.items():
            assert dict(store.scan(uid, page=2)) == documents
            assert store.count(uid) == len(documents)


def test_a_reader_in_another_thread_sees_what_was_applied_last(
    store: Store, tmp_path: Path
) -> None:
    """Readers have connections of their own, and never wait for the writer."""
    reader = Store.open(tmp_path / "a" / "store.sqlite", read_only=True)
    seen: list[list[bytes | None]] = []
    apply, read = threading.Barrier(2, timeout=20), threading.Barrier(2, timeout=20)

    def look() -> None:
        for _ in range(3):
            apply.wait()
            seen.append(reader.get("u", ["a"]))
            read.wait()

    thread = threading.Thread(target=look)
    thread.start()
    for value in range(3):
        store.apply(f"{value + 2}-0", documents={"u": {"a": body(value)}})
        apply.wait()
        read.wait()
    thread.join()
    assert seen == [[body(value)] for value in range(3)]
    reader.close()


def test_a_read_only_store_cannot_be_written(store: Store, tmp_path: Path) -> None:
    """A store that is opened for reading cannot be changed by mistake."""
    reader = Store.open(tmp_path / "a" / "store.sqlite", read_only=True)
    with pytest.raises(sqlite3.Error):
        reader.apply("9-0")
    assert store.position == "1-0"
    reader.close()


def test_a_read_only_store_must_be_there(tmp_path: Path) -> None:
    """It is not made; the error names the path."""
    with pytest.raises(ConfigurationError, match=r"missing\.sqlite"):
        Store.open(tmp_path / "missing.sqlite", read_only=True)
    assert not (tmp_path / "missing.sqlite").exists()


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """SQLite does not say which file it cannot open: the message does, also to an operator."""
    path = tmp_path / "store.sqlite"
    path.mkdir()
    with pytest.raises(sqlite3.OperationalError, match=f"^{path}: unable to open"):
        Store.open(path)


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    """A store that a later version has written is not touched."""
    path = tmp_path / "store.sqlite"
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    connection.close()
    with pytest.raises(ConfigurationError, match="99"):
        Store.open(path)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at open files in /proc")
def test_a_store_that_cannot_be_opened_leaves_no_file_open(tmp_path: Path) -> None:
    """Not even while the error is held, whose traceback refers to the store."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, but long enough to be one; " * 100)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        Store.open(path, read_only=True)
    assert caught.tb is not None
    assert path not in [file.resolve() for file in Path("/proc/self/fd").iterdir()]


def stocked(folder: Path, *sizes: int) -> Store:
    """A store with documents d0, d1, … of these sizes, of the collection "u1"."""
    store = Store.open(folder / "store.sqlite")
    bodies = {f"d{at}": b"x" * size for at, size in enumerate(sizes)}
    store.apply("1-0", definitions={"u1": "{}"}, documents={"u1": bodies})
    return store


@pytest.mark.parametrize(
    ("wanted", "max_bytes", "expected"),
    [
        ("d0 d1 d2", 600, [100, 200, 300]),
        ("d2 d1 d0", 599, [300, 200, "left out: 100"]),
        ("d0 d2 d1", 310, [100, "left out: 300", 200]),
        ("d2 d0", 99, ["left out: 300", "left out: 100"]),
        ("d1 gone d0", 300, [200, None, 100]),
        ("gone d2 d1", 299, [None, "left out: 300", 200]),
    ],
)
def test_reading_keeps_within_its_bound(
    tmp_path: Path, wanted: str, max_bytes: int, expected: list[object]
) -> None:
    """What is most wanted is read while it fits; of the rest the size is given."""
    store = stocked(tmp_path, 100, 200, 300)
    read = store.read("u1", wanted.split(), max_bytes)
    assert [f"left out: {one}" if isinstance(one, int) else one and len(one) for one in read] == (
        expected
    )
    store.close()


def test_what_is_picked_is_measured(tmp_path: Path) -> None:
    """Documents over the bound are read one by one while what is picked of them fits."""
    store = stocked(tmp_path, 1000, 2000, 3000, 4000)
    picked: list[int] = []

    def pick(body: bytes) -> bytes:
        picked.append(len(body))
        return body[: len(body) // 100]

    assert store.read("u1", ["d3", "d2", "d1", "d0"], 100, pick) == [
        b"x" * size for size in (40, 30, 20, 10)
    ]
    picked.clear()
    read = store.read("u1", ["d3", "d2", "d1", "d0"], 65, pick)
    assert read == [b"x" * 40, 30, 2000, 1000]
    assert 1000 not in picked[-2:]  # once the bound is reached nothing more is read
    store.close()


def test_reading_ends_when_it_is_late(tmp_path: Path) -> None:
    """From then on documents are left out, so that a thread comes back."""
    store = stocked(tmp_path, 10, 10, 10)
    assert store.read("u1", ["d0", "d1", "d2"], 1000, None, lambda: True) == [b"x" * 10, 10, 10]
    store.close()
