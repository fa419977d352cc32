"""One collection follows another: every replica comes to the same, however its log is cut.

The shards here have real stores, and no text index.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.common.shard_log.entries import Entry
from hedgerow.common.shard_log.mirror_report import MirrorReport
from hedgerow.common.shard_log.operations import (
    CopyNext,
    Create,
    Delete,
    Drop,
    Mirror,
    Op,
    Turn,
    Unmirror,
    Upsert,
    Write,
    pack_op,
    unpack_op,
)
from hedgerow.shard_worker.indexing.batch_cuts import cut
from hedgerow.shard_worker.indexing.combined_batch import CombinedBatch
from hedgerow.shard_worker.indexing.definitions import Definitions
from hedgerow.shard_worker.indexing.mirror_reports import mirror_reports
from hedgerow.shard_worker.storage.store import Store

OLD, NEW, PAIR = "old", "new", "pair"
IDS = "abcdef"
NARROW = define("narrow", {"fields": {"title": "text"}}, OLD)
WIDE = define("wide", {"fields": {"title": "text", "n": "integer"}}, NEW)
CREATED = [Create(NARROW.to_json()), Create(WIDE.to_json())]
COPIES = [CopyNext(PAIR, number, 2, 1000) for number in range(20, 25)]  # enough for all ids

Documents = dict[str, bytes]
Shards = Callable[[], "Shard"]


def body(value: Any) -> bytes:
    """A document; one whose `n` is not a number does not fit the new collection."""
    return json.dumps({"id": "any", "n": value}).encode()


def does_fit(one: bytes) -> bool:
    """Whether a document fits the new collection."""
    return type(json.loads(one)["n"]) is int


class Shard:
    """A replica of a shard."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "store.sqlite")
        self.store._connection().execute("PRAGMA synchronous=OFF")  # no power is lost here
        self._definitions = Definitions(folder, 0, self.store)
        self._next_id = itertools.count(1).__next__

    def apply(self, ops: Iterable[Op], cuts: Sequence[int] = ()) -> None:
        """Apply operations in batches that end at some places, and where they must."""
        entries = [Entry(f"{self._next_id()}-0", pack_op(op)) for op in ops]
        ends = sorted({0, len(entries), *(one % (len(entries) + 1) for one in cuts)})
        for begin, end in itertools.pairwise(ends):
            is_mirrored = bool(self.store.mirrors.all())
            for batch in cut(entries[begin:end], is_mirrored=is_mirrored):
                self._apply(batch)

    def _apply(self, entries: Sequence[Entry]) -> None:
        read = [unpack_op(entry.op) for entry in entries]
        batch = CombinedBatch.of(read, self.store, self._definitions)
        changes = batch.changes
        self.store.apply(
            entries[-1].id,
            definitions=changes.definitions,
            documents=batch.documents,
            dropped=changes.dropped,
            judged=changes.judged.values(),
            mirrors=changes.mirroring.changed,
            fits=batch.fits,
        )

    def documents(self, uid: str) -> Documents:
        """The documents of a collection."""
        return dict(self.store.scan(uid))

    @property
    def report(self) -> MirrorReport:
        """On the pair."""
        (report,) = mirror_reports(self.store)
        return report

    def state(self) -> object:
        """All that replicas must agree on."""
        held = {uid: self.documents(uid) for uid in self.store.collections()}
        return held, self.store.mirrors.all(), mirror_reports(self.store)


@pytest.fixture
def shards(tmp_path: Path) -> Iterable[Shards]:
    """Makes shards, which are closed in the end."""
    made: list[Shard] = []

    def make() -> Shard:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Shard(folder))
        return made[-1]

    yield make
    for shard in made:
        shard.store.close()


quick = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ids = st.sampled_from(IDS)
values = st.sampled_from([1, 2, "x"])
bodies = values.map(body)
tokens = st.integers(0, 10**9).map(str)


def writes(*uids: str) -> st.SearchStrategy[Op]:
    """Writes to some collections."""
    of = st.sampled_from(uids)
    expected = (st.none() | bodies).map(version_of)
    return st.one_of(
        st.builds(Upsert, of, st.lists(st.tuples(ids, bodies), min_size=1, max_size=3)),
        st.builds(Delete, of, st.lists(ids, min_size=1, max_size=2)),
        st.builds(Write, of, ids, st.none() | bodies, expected, tokens),
    )


some_cuts = st.lists(st.integers(0, 60), max_size=6)
numbered = st.lists(writes(OLD) | st.just(None), max_size=12)


def with_copies(steps: Iterable[Op | None]) -> list[Op]:
    """Steps, each None of which is the next step of a copy."""
    number = itertools.count(1).__next__
    return [CopyNext(PAIR, number(), 2, 1000) if one is None else one for one in steps]


def effect(there: Documents, op: Op) -> dict[str, bytes | None]:
    """What a write makes of documents, given those that are there; tokens do not occur twice."""
    match op:
        case Upsert():
            return dict(op.documents)
        case Delete():
            return dict.fromkeys(op.ids)
        case Write() if version_of(there.get(op.id)) == op.expected:
            return {op.id: op.body}
    return {}


def do(model: Documents, written: Mapping[str, bytes | None]) -> None:
    """Apply what was written to a dictionary."""
    for one, body_of in written.items():
        model.pop(one, None)
        if body_of is not None:
            model[one] = body_of


def distinct(ops: Iterable[Op]) -> list[Op]:
    """Operations, of which no two have the same token."""
    return [
        op._replace(token=str(number)) if isinstance(op, Write) else op
        for number, op in enumerate(ops)
    ]


@quick
@given(st.lists(writes(OLD), max_size=6), numbered, some_cuts)
def test_a_copy_has_what_fits_whatever_is_written_meanwhile(
    shards: Shards, before: list[Op], steps: list[Op | None], cuts: list[int]
) -> None:
    """In the end, the new collection has each document that fits; the others are counted."""
    log = distinct([*before, Mirror(PAIR, OLD, NEW), *with_copies(steps), *COPIES])
    shard, model = shards(), Documents()
    shard.apply([*CREATED, *log], cuts)
    for op in log:
        do(model, effect(model, op))
    assert shard.documents(OLD) == model
    assert shard.documents(NEW) == {one: it for one, it in model.items() if does_fit(it)}
    report = shard.report
    misfits = sorted(one for one, it in model.items() if not does_fit(it))
    assert report.is_copied
    assert report.misfits == len(misfits)
    assert [one for one, _ in report.first_misfits] == misfits[:5]
    assert report.old_documents == report.new_documents + report.misfits == len(model)


@quick
@given(st.lists(writes(OLD), max_size=6), st.lists(writes(OLD, NEW), max_size=12), some_cuts)
def test_after_the_turn_a_write_to_either_is_one_to_both(
    shards: Shards, before: list[Op], after: list[Op], cuts: list[int]
) -> None:
    """Nothing is lost, fit or not; conditions are judged by what the new collection has.

    What was left out is still judged by the old one, for those who write to that.
    """
    copied = [*CREATED, *distinct(before), Mirror(PAIR, OLD, NEW), *COPIES]
    shard = shards()
    shard.apply(copied)
    left_out = {one: it for one, it in shard.documents(OLD).items() if not does_fit(it)}
    model = shard.documents(NEW)
    late = distinct([*before, *after])[len(before) :]
    shard.apply([Turn(PAIR), *late], cuts)
    for op in late:
        is_late = isinstance(op, Write) and op.uid == OLD
        written = effect({**left_out, **model} if is_late else model, op)
        left_out = {one: it for one, it in left_out.items() if one not in written}
        do(model, written)
    assert shard.documents(NEW) == model
    assert shard.documents(OLD) == {**left_out, **model}


anything = st.lists(
    st.one_of(
        writes(OLD, NEW),
        st.just(Mirror(PAIR, OLD, NEW)),
        st.builds(CopyNext, st.just(PAIR), st.integers(1, 9), st.integers(1, 3), st.just(1000)),
        st.just(Turn(PAIR)),
        st.just(Unmirror(PAIR)),
        st.builds(Drop, st.sampled_from([OLD, NEW])),
        st.sampled_from(CREATED),
    ),
    max_size=16,
)


@quick
@given(anything, some_cuts, some_cuts)
@example([Drop(OLD), CREATED[0]], [], [3])
@example([Drop(OLD), Upsert(OLD, [("a", body(1))]), CREATED[0]], [], [3])
@example([Mirror(PAIR, OLD, NEW), Upsert(OLD, [("a", body("x"))]), Drop(OLD)], [], [4])
def test_replicas_converge_whatever_is_in_the_log(
    shards: Shards, log: list[Op], cuts: list[int], others: list[int]
) -> None:
    """Two replicas whose logs are cut differently hold the same documents, pairs and misfits."""
    one, other = shards(), shards()
    one.apply([*CREATED, *log], cuts)
    other.apply([*CREATED, *log], others)
    assert one.state() == other.state()


def test_an_operation_that_is_there_twice_changes_nothing(shards: Shards) -> None:
    """A step of a copy counts once, and a pair stays as far as it was."""
    shard = shards()
    start: list[Op] = [
        *CREATED,
        Upsert(OLD, [(one, body(1)) for one in IDS]),
        Mirror(PAIR, OLD, NEW),
    ]
    shard.apply([*start, CopyNext(PAIR, 1, 2, 1000)])
    reached = shard.state()
    shard.apply([CopyNext(PAIR, 1, 2, 1000), Mirror(PAIR, OLD, NEW)])
    assert shard.state() == reached
    assert shard.documents(NEW).keys() == {"a", "b"}


def test_a_step_is_bounded_by_bytes_and_copies_one_at_least(shards: Shards) -> None:
    """Large documents are copied one by one."""
    shard = shards()
    shard.apply([*CREATED, Upsert(OLD, [(one, body(1)) for one in IDS]), Mirror(PAIR, OLD, NEW)])
    shard.apply([CopyNext(PAIR, 1, 100, 1)])
    assert shard.documents(NEW).keys() == {"a"}
    shard.apply([CopyNext(PAIR, 2, 100, 2 * len(body(1)))])
    assert shard.documents(NEW).keys() == {"a", "b", "c"}


def test_what_is_written_to_the_new_collection_itself_stays(shards: Shards) -> None:
    """A copy does not replace what is there, and the numbers of documents then differ."""
    shard = shards()
    shard.apply([*CREATED, Upsert(OLD, [("a", body(1))]), Mirror(PAIR, OLD, NEW)])
    shard.apply([Upsert(NEW, [("a", body(2)), ("z", body(2))]), *COPIES])
    assert shard.documents(NEW) == {"a": body(2), "z": body(2)}
    assert (shard.report.old_documents, shard.report.new_documents) == (1, 2)


def test_writes_to_a_removed_collection_reach_the_one_that_has_replaced_it(shards: Shards) -> None:
    """A gateway that has not heard of it for long loses nothing."""
    shard = shards()
    shard.apply([*CREATED, Upsert(OLD, [("a", body(1))]), Mirror(PAIR, OLD, NEW), *COPIES])
    shard.apply([Turn(PAIR), Drop(OLD), Upsert(OLD, [("b", body(2))])])
    shard.apply([Write(OLD, "a", body(3), version_of(body(1)), "t")])
    assert shard.documents(NEW) == {"a": body(3), "b": body(2)}


@pytest.mark.parametrize("end", [Unmirror(PAIR), Drop(NEW), Drop(OLD)])
def test_a_copy_that_is_given_up_leaves_nothing_behind(shards: Shards, end: Op) -> None:
    """Neither the pair nor what did not fit stays, and later writes go to one collection alone."""
    shard = shards()
    shard.apply([*CREATED, Upsert(OLD, [("a", body("x"))]), Mirror(PAIR, OLD, NEW), *COPIES, end])
    shard.apply([Upsert(OLD, [("b", body(1))])])
    assert mirror_reports(shard.store) == []
    assert shard.store.mirrors.first_misfits(PAIR) == []
    assert "b" not in shard.documents(NEW)
