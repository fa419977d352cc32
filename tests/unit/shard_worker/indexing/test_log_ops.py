"""Operations of the log: as bytes and back, and what a batch of them comes to."""

import contextlib
from dataclasses import dataclass, field
from itertools import pairwise
from unittest.mock import patch

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.errors import NewerVersionError, WireError
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.common.shard_log.entries import position
from hedgerow.common.shard_log.judgement import Judgement
from hedgerow.common.shard_log.operations import (
    FORMAT,
    Create,
    Delete,
    Drop,
    Op,
    Remember,
    Upsert,
    Write,
    pack_op,
    unpack_op,
    written_uids,
)
from hedgerow.shard_worker.indexing.changes import Changes

UIDS = ["u0", "u1"]
uids = st.sampled_from(UIDS)
ids = st.sampled_from(["a", "b", "c", "ü"])
bodies = st.sampled_from([b"1", b"2"]) | st.binary(max_size=4)
versions = st.sampled_from([version_of(body) for body in (None, b"1", b"2")])
tokens = st.sampled_from(["t0", "t1", "t2", "t3", "t4"])
ops = st.one_of(
    st.builds(lambda uid: Create(define("c", {}, uid).to_json()), uids),
    st.builds(Drop, uids),
    st.builds(Upsert, uids, st.lists(st.tuples(ids, st.binary(max_size=4)), max_size=3)),
    st.builds(Delete, uids, st.lists(ids, max_size=3)),
    st.builds(
        Write,
        uids,
        ids,
        st.none() | bodies,
        versions,
        tokens,
    ),
    st.builds(
        Remember, st.lists(st.builds(Judgement, tokens, st.booleans(), versions), max_size=3)
    ),
)


@given(ops)
def test_operations_survive_the_log(op: Op) -> None:
    """What is packed is what is unpacked."""
    assert unpack_op(pack_op(op)) == op


@given(st.lists(ops, max_size=4), st.binary(max_size=8))
def test_collections_that_may_grow_are_found_without_reading_their_documents(
    batch: list[Op], foreign: bytes
) -> None:
    """Those of upserts and conditional writes; what is no operation is skipped."""
    expected = {op.uid for op in batch if isinstance(op, Upsert | Write)}
    found = written_uids([*map(pack_op, batch), foreign])
    assert expected <= found
    assert found == expected or foreign


@given(st.binary(max_size=40) | ops.map(pack_op).map(lambda packed: packed[:-1]))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Whatever lies in a log, reading it gives an operation or a WireError."""
    with contextlib.suppress(WireError):
        assert isinstance(unpack_op(data), Create | Drop | Upsert | Delete | Write)


@pytest.mark.parametrize(
    "parts",
    [
        ["upsert", "u", [["a", "text"]]],
        ["upsert", "u", [["a"]]],
        ["upsert", 1, []],
        ["delete", "u", [1]],
        ["delete", "u"],
        ["create", 1],
        ["create", "{}"],
        ["create", "[]"],
        ["create", "not JSON"],
        ["create", define("c", {}, "u").to_json().replace('"fields":null', '"fields":{"a":"map"}')],
        ["create", define("c", {}, "u").to_json().replace('"fields":null', '"fields":[1]')],
        ["create", define("c", {}, "u").to_json().replace('"u"', "7")],
        ["drop"],
        ["merge", "u"],
        ["write", "u", "a", b"1", "", "t"],
        [2, "write", "u", "a", "1", "", "t"],
        [2, "write", "u", "a", b"1", "", 7],
        [2, "write", "u", "a", b"1", ""],
        [2, "merge", "u", "a", b"1", "", "t"],
        [2, "remember"],
        [2, "remember", [["t", 1, ""]]],
        [2],
        [["create"], "x"],
        {"op": "drop"},
    ],
)
def test_wrong_parts_are_refused(parts: object) -> None:
    """An operation with parts of other types or numbers, or an unknown one, is a WireError."""
    with pytest.raises(WireError):
        unpack_op(msgpack.packb(parts))


@given(ops, st.lists(st.none() | st.integers(0, 9) | st.text(max_size=3), max_size=3))
def test_parts_of_a_newer_version_are_ignored(op: Op, more: list[object]) -> None:
    """What a newer gateway appends to an operation does not change what this version reads."""
    assert unpack_op(msgpack.packb([*msgpack.unpackb(pack_op(op)), *more])) == op


def test_an_operation_of_a_newer_format_is_told_from_a_foreign_one() -> None:
    """It is an error of its own, since it must not be skipped, and says what to upgrade."""
    with pytest.raises(NewerVersionError, match=r"has format 3.*upgrade this process"):
        unpack_op(msgpack.packb([FORMAT + 1, "merge", "u"]))
    with pytest.raises(NewerVersionError, match=r"'merge'.*upgrade this process"):
        unpack_op(msgpack.packb([FORMAT, "merge", "u"]))
    for code in (0, 1, -1, True, 1.5, "2"):
        with pytest.raises(WireError) as caught:
            unpack_op(msgpack.packb([code, "merge", "u"]))
        assert not isinstance(caught.value, NewerVersionError)


@given(st.tuples(st.integers(0), st.integers(0)), st.tuples(st.integers(0), st.integers(0)))
def test_positions_compare_as_numbers(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Entry ids order by their numbers, not by their digits."""
    first, second = (f"{milliseconds}-{number}" for milliseconds, number in (one, other))
    assert (position(first) < position(second)) == (one < other)


KEPT = 3  # judgements; fewer than by default, so that some are forgotten
Shard = dict[str, dict[str, bytes]]


@dataclass
class Folded:
    """A shard to which batches are applied, as the store keeps it."""

    shard: Shard
    judged: dict[int, Judgement] = field(default_factory=dict)

    def has_collection(self, uid: str) -> bool:
        """Whether there is such a collection."""
        return uid in self.shard

    def body(self, uid: str, document_id: str) -> bytes | None:
        """A document as it is stored."""
        return self.shard.get(uid, {}).get(document_id)

    def find(self, token: str) -> tuple[int, Judgement] | None:
        """The newest judgement of a token."""
        found = [(number, one) for number, one in self.judged.items() if one.token == token]
        return max(found, default=None)

    @property
    def last_number(self) -> int:
        """Number of the newest judgement."""
        return max(self.judged, default=0)


def apply_one_by_one(shard: Shard, batch: list[Op]) -> list[Judgement]:
    """The model: each operation by itself, on a dictionary of dictionaries."""
    gone: set[str] = set()  # a uid is never used again
    judged: list[Judgement] = []
    reported: list[Judgement] = []
    for op in batch:
        match op:
            case Create(definition):
                uid = next(one for one in UIDS if f'"{one}"' in definition)
                if uid not in gone:
                    shard.setdefault(uid, {})
            case Drop(uid):
                shard.pop(uid, None)
                gone.add(uid)
            case Upsert(uid, documents) if uid in shard:
                shard[uid].update(documents)
            case Delete(uid, doomed) if uid in shard:
                for one in doomed:
                    shard[uid].pop(one, None)
            case Remember(judgements):
                remember(judged, judgements)
            case Write(uid, one, body, expected, token):
                known = [judgement for judgement in judged[-KEPT:] if judgement.token == token]
                if not known:
                    present = version_of(shard.get(uid, {}).get(one))
                    is_done = uid in shard and present == expected
                    if is_done and body is None:
                        shard[uid].pop(one, None)
                    elif is_done and body is not None:
                        shard[uid][one] = body
                    present = version_of(body) if is_done else present
                    known = [Judgement(token, is_done, present)]
                    judged += known
                reported += known
    return reported


def remember(judged: list[Judgement], judgements: list[Judgement]) -> None:
    """Take over the judgements that are not known."""
    for judgement in judgements:
        if judgement.token not in [known.token for known in judged[-KEPT:]]:
            judged.append(judgement)


def apply_at_once(folded: Folded, batch: list[Op]) -> list[Judgement]:
    """What `Changes` says, on the same dictionaries; the judgements are those it reports."""
    shard = folded.shard
    changes = Changes.of(batch, folded)
    for uid in changes.definitions:
        shard.setdefault(uid, {})
    for uid, documents in changes.documents.items():
        for one, body in documents.items():
            if uid in shard:
                if body is None:
                    shard[uid].pop(one, None)
                else:
                    shard[uid][one] = body
    for uid in changes.dropped:
        shard.pop(uid, None)
    folded.judged |= dict(changes.judged.values())
    return list(changes.judgements)


@given(st.lists(ops, max_size=12), st.lists(uids, unique=True))
def test_a_batch_comes_to_what_its_operations_do(batch: list[Op], existing: list[str]) -> None:
    """Folding a batch gives the same shard as applying its operations one by one.

    A document before its collection's create is the one exception: the log never has that.
    """
    created = [Create(define("c", {}, uid).to_json()) for uid in UIDS if uid not in existing]
    model: Shard = {uid: {"old": b"1"} for uid in existing}
    folded = Folded({uid: {"old": b"1"} for uid in existing})
    apply_one_by_one(model, [*created, *batch])
    with patch("hedgerow.shard_worker.indexing.changes.KEPT_JUDGEMENTS", KEPT):
        apply_at_once(folded, [*created, *batch])
    assert folded.shard == model


# The first token is forgotten, and judged again, in one batch.
FORGOTTEN: list[Op] = [
    Write("u0", "a", None, expected, token)
    for expected, token in [("", "t"), ("", "1"), ("", "2"), ("", "3"), ("another", "t")]
]


@example(FORGOTTEN, [])
@given(st.lists(ops, max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_replicas_judge_alike_however_the_log_is_cut(batch: list[Op], cuts: list[int]) -> None:
    """Each write's condition is judged by what the writes before it have left, and once.

    Of copies with one token, the first decides, as long as it is remembered, also from a shard that
    this one was split from. Where batches begin and end makes no difference, neither to the
    documents nor to the judgements.
    """
    writes: list[Op] = [op for op in batch if not isinstance(op, Drop | Create)]
    model: Shard = {uid: {"old": b"1"} for uid in UIDS}
    expected = apply_one_by_one(model, writes)
    folded = Folded({uid: {"old": b"1"} for uid in UIDS})
    reported: list[Judgement] = []
    with patch("hedgerow.shard_worker.indexing.changes.KEPT_JUDGEMENTS", KEPT):
        for start, end in pairwise([0, *sorted(cuts), len(writes)]):
            reported += apply_at_once(folded, writes[start:end])
    assert folded.shard == model
    assert set(reported) == set(expected)
    num_remembered = sum(len(op.judgements) for op in writes if isinstance(op, Remember))
    assert len(folded.judged) <= len(expected) + num_remembered
