"""Documents that kill the indexer are found, kept and passed over."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import (
    EmbeddingError,
    LaneUnavailableError,
    RedisUnavailableError,
    ScorerCrashedError,
    WorkError,
)
from hedgerow.common.machine.memory_room import MemoryRoom
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.shard_log.entries import Entry
from hedgerow.common.shard_log.operations import Delete, Drop, Upsert, pack_op, unpack_op
from hedgerow.common.shard_log.set_aside_notes import SetAsideNote
from hedgerow.shard_worker.indexing.set_aside import (
    ATTEMPTS,
    MOST_IN_A_ROW,
    SetAside,
    units_of,
)
from hedgerow.shard_worker.indexing.set_aside_files import SetAsideFiles
from tests.support.garbage import left_to_collector


async def no_pause(_seconds: float) -> None:
    """Pass no time."""


class Indexer:
    """Applies what it is given, unless a document is among those that kill it."""

    def __init__(self, poison: set[str], error: WorkError | None = None) -> None:
        self.poison = poison
        self.error = error or ScorerCrashedError("killed the scorer that ran it, twice")
        self.documents: set[str] = set()
        self.deleted: set[str] = set()
        self.position: str | None = None
        self.num_deaths = 0
        self.reindexed: set[str] = set()

    async def apply(self, entry_id: str | None, ops: Sequence[bytes]) -> None:
        """Apply operations, all of them or none."""
        read = [unpack_op(op) for op in ops]
        ids = {one for op in read if isinstance(op, Upsert) for one, _ in op.documents}
        if ids & self.poison:
            self.num_deaths += 1
            raise self.error
        self.documents |= ids
        self.deleted |= {one for op in read if isinstance(op, Delete) for one in op.ids}
        self.position = entry_id or self.position

    async def reindex(self, uid: str, ids: Sequence[str]) -> None:
        """Note which documents are indexed as they are stored."""
        assert uid == "u"
        self.reindexed |= {*ids}


def entry(number: int, *ids: str) -> Entry:
    """An entry that puts in documents."""
    return Entry(f"{number}-0", pack_op(Upsert("u", [(one, b'{"id": "x"}') for one in ids])))


def kept(folder: Path) -> list[str]:
    """The ids of the documents that are set aside."""
    path = folder / "set-aside" / "shard-3.ndjson"
    if not path.exists():
        return []
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


class Notes(list[tuple[int, SetAsideNote]]):
    """What was noted, by shard."""

    async def add(self, shard: int, note: SetAsideNote) -> None:
        """Note a document."""
        self.append((shard, note))


def aside(
    folder: Path,
    *,
    memory: bool = True,
    counters: Counters | None = None,
    notes: Notes | None = None,
) -> SetAside:
    """One that never waits, on a machine with or without memory."""
    counters = counters or Counters()
    files = SetAsideFiles(folder, 1_000_000, counters)
    add = (Notes() if notes is None else notes).add
    room = MemoryRoom(10**9 if memory else 10**7, 10**9)
    return SetAside(files, counters, add, no_pause, lambda: [room])


async def test_a_document_that_ends_the_indexer_goes_aside_and_the_rest_in(tmp_path: Path) -> None:
    """All other documents of its entry, and the later entries, are applied, and it is counted."""
    indexer, counters = Indexer({"c"}), Counters()
    ids = list("abcdefg")
    entries = [entry(1, *ids), entry(2, "h"), Entry("3-0", pack_op(Delete("u", ["a"])))]
    await aside(tmp_path, counters=counters).apply(3, entries, indexer)
    assert indexer.documents == {*"abdefgh"}
    assert indexer.deleted == {"a"}
    assert indexer.position == "3-0"
    assert kept(tmp_path) == ["c"]
    assert indexer.reindexed == {"c"}
    assert counters["writes_set_aside"] == 1


async def test_those_who_wait_hear_of_it_before_the_position_moves_on(tmp_path: Path) -> None:
    """The note has the entry, the id and the reason; without it, the entry is not passed."""
    indexer, notes = Indexer({"c"}), Notes()
    await aside(tmp_path, notes=notes).apply(3, [entry(1, "a", "c")], indexer)
    ((shard, note),) = notes
    assert (shard, note.entry, note.id) == (3, "1-0", "c")
    assert "killed" in note.reason

    async def fails(_shard: int, _note: SetAsideNote) -> None:
        assert indexer.position == "1-0"
        raise RedisUnavailableError("away")

    unheard = SetAside(
        SetAsideFiles(tmp_path, 1_000_000, Counters()), Counters(), fails, no_pause, lambda: ()
    )
    with pytest.raises(RedisUnavailableError):
        await unheard.apply(3, [entry(2, "c")], indexer)
    assert indexer.position == "1-0"


async def test_what_lies_aside_can_be_loaded_again(tmp_path: Path) -> None:
    """The file has the whole document, the entry that it came in, and the reason."""
    await aside(tmp_path).apply(3, [entry(7, "c")], Indexer({"c"}))
    line = (tmp_path / "set-aside" / "shard-3.ndjson").read_text()
    record = json.loads(line)
    assert record["document"] == {"id": "x"}
    assert (record["entry"], record["uid"], record["id"]) == ("7-0", "u", "c")
    assert "killed" in record["reason"]


async def test_a_document_is_tried_a_few_times(tmp_path: Path) -> None:
    """One that kills the indexer once, for want of memory at that moment, goes in after all."""

    class Recovering(Indexer):
        async def apply(self, entry_id: str | None, ops: Sequence[bytes]) -> None:
            if self.num_deaths == ATTEMPTS - 1:
                self.poison = set()
            await super().apply(entry_id, ops)

    indexer = Recovering({"c"})
    await aside(tmp_path).apply(3, [entry(1, "c")], indexer)
    assert kept(tmp_path) == []
    assert indexer.documents == {"c"}


async def test_a_document_that_is_tried_again_leaves_no_cycle(tmp_path: Path) -> None:
    """The document, which may be tried for hours, does not wait for the garbage collector."""

    class Failing(Indexer):
        async def apply(self, entry_id: str | None, ops: Sequence[bytes]) -> None:
            if ops:
                raise ScorerCrashedError("killed the scorer that ran it, twice")

    setting, indexer = aside(tmp_path), Failing(set())
    await setting.apply(3, [entry(1, "c")], indexer)
    with left_to_collector() as left:
        await setting.apply(3, [entry(2, "d")], indexer)
    assert [one for one in left if isinstance(one, BaseException)] == []


async def test_an_entry_that_is_tried_again_sets_nothing_aside_twice(tmp_path: Path) -> None:
    """If its second half could not be applied at first, the line and the count stay single."""

    class FullDisk(Indexer):
        has_room = False

        async def apply(self, entry_id: str | None, ops: Sequence[bytes]) -> None:
            read = map(unpack_op, ops)
            ids = {one for op in read if isinstance(op, Upsert) for one, _ in op.documents}
            if "d" in ids and "a" not in ids and not self.has_room:
                raise WorkError("no space left on device")
            await super().apply(entry_id, ops)

    indexer, counters = FullDisk({"a"}), Counters()
    aside_of_shard = aside(tmp_path, counters=counters)
    with pytest.raises(WorkError, match="no space"):
        await aside_of_shard.apply(3, [entry(1, *"abcd")], indexer)
    assert kept(tmp_path) == ["a"]
    indexer.has_room = True
    await aside_of_shard.apply(3, [entry(1, *"abcd"), entry(2, "a")], indexer)
    assert indexer.documents == {*"bcd"}
    # The next entry's is another write of that document.
    assert kept(tmp_path) == ["a", "a"]
    assert counters["writes_set_aside"] == 2
    assert indexer.position == "2-0"


async def test_a_stored_document_that_ends_the_indexer_too_holds_nothing_up(
    tmp_path: Path,
) -> None:
    """If the index cannot be brought back to what is stored, the entry is passed over."""

    class Dying(Indexer):
        async def reindex(self, uid: str, ids: Sequence[str]) -> None:
            raise self.error

    indexer = Dying({"c"})
    await aside(tmp_path).apply(3, [entry(1, "c"), entry(2, "d")], indexer)
    assert kept(tmp_path) == ["c"]
    assert (indexer.documents, indexer.position) == ({"d"}, "2-0")


async def test_nothing_is_put_aside_while_the_machine_lacks_memory(tmp_path: Path) -> None:
    """Where every program dies of its memory, no document is to blame: the batch waits."""
    with pytest.raises(LaneUnavailableError):
        await aside(tmp_path, memory=False).apply(3, [entry(1, "c")], Indexer({"c"}))
    assert kept(tmp_path) == []


async def test_an_indexer_that_ends_at_everything_is_not_the_documents_fault(
    tmp_path: Path,
) -> None:
    """After eight in a row without one that goes in, the batch waits."""
    ids = [f"d{number}" for number in range(MOST_IN_A_ROW + 5)]
    with pytest.raises(LaneUnavailableError):
        await aside(tmp_path).apply(3, [entry(1, *ids)], Indexer({*ids}))
    assert len(kept(tmp_path)) == MOST_IN_A_ROW


async def test_other_failures_put_nothing_aside(tmp_path: Path) -> None:
    """An error that leaves the indexer alive, such as a full disk, makes the batch wait."""
    indexer = Indexer({"c"}, WorkError("OSError: [Errno 28] No space left on device"))
    with pytest.raises(WorkError, match="No space left"):
        await aside(tmp_path).apply(3, [entry(1, "a", "c")], indexer)
    assert kept(tmp_path) == []


async def test_what_cannot_be_kept_is_not_passed_over(tmp_path: Path) -> None:
    """Without a file to hold it, a document stays in the log, and its shard waits."""
    (tmp_path / "set-aside").write_text("in the way")
    indexer = Indexer({"c"})
    with pytest.raises(WorkError, match="cannot be set aside"):
        await aside(tmp_path).apply(3, [entry(1, "c")], indexer)
    assert indexer.position is None


@given(st.sets(st.integers(0, 40), max_size=MOST_IN_A_ROW), st.integers(1, 41))
async def test_exactly_what_ends_the_indexer_goes_aside(
    tmp_path_factory: pytest.TempPathFactory, poison: set[int], num_documents: int
) -> None:
    """Whichever documents of an entry they are, all others are applied and none is lost."""
    folder = tmp_path_factory.mktemp("data")
    ids = [f"d{number}" for number in range(num_documents)]
    bad = {f"d{number}" for number in poison}
    indexer = Indexer(bad)
    await aside(folder).apply(3, [entry(1, *ids)], indexer)
    assert indexer.documents == {*ids} - bad
    assert set(kept(folder)) == {*ids} & bad


def test_an_operation_falls_into_what_does_the_same() -> None:
    """Documents and deletions one by one; what is about a whole collection stays whole."""
    upsert = Upsert("u", [("a", b"{}"), ("b", b"{}")])
    assert [unpack_op(unit) for unit in units_of(pack_op(upsert))] == [
        Upsert("u", [("a", b"{}")]),
        Upsert("u", [("b", b"{}")]),
    ]
    assert units_of(pack_op(Drop("u"))) == [pack_op(Drop("u"))]


async def test_a_text_that_cannot_be_embedded_needs_no_memory(tmp_path: Path) -> None:
    """It is set aside though memory is short, unless the function itself ran out of it."""
    setting_aside = aside(tmp_path, memory=False)
    await setting_aside.apply(3, [entry(1, "c")], Indexer({"c"}, EmbeddingError("a bad text")))
    assert set(kept(tmp_path)) == {"c"}
    lacking = Indexer({"d"}, EmbeddingError("f raised MemoryError"))
    with pytest.raises(LaneUnavailableError, match="out of memory"):
        await setting_aside.apply(3, [entry(2, "d")], lacking)
