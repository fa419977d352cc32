"""What becomes of the lines of a load: batches by shard, rejections by line."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.collection import Collection, define
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.shard_log.operations import Upsert, unpack_op
from hedgerow.gateway.shapes.collection import RejectedLine
from hedgerow.gateway.writes.load import (
    BATCH_BYTES,
    INFER_FROM_BYTES,
    INFER_FROM_LINES,
    MAX_REJECTIONS_KEPT,
    OPEN_BYTES,
    Batch,
    Intake,
    LoadReport,
)

NUM_SHARDS = 3
DEFINITION = define("books", {"fields": {"title": "text", "year": "integer"}})


def intake_of(definition: Collection = DEFINITION) -> Intake:
    """An intake with the usual limits."""
    return Intake(definition, NUM_SHARDS, LimitSettings())


def take(intake: Intake, lines: list[bytes | None]) -> list[Batch]:
    """Take all lines, and hand over batches whenever one is full."""
    rest = iter(list(enumerate(lines, start=1)))
    batches: list[Batch] = []
    while not intake.take(rest, lambda: False):
        if intake.needs_fields:
            return batches
        batches += intake.batches()
    return batches + intake.batches()


def upserts(batches: list[Batch]) -> list[tuple[int, list[tuple[str, bytes]]]]:
    """Shard and documents of each batch, as the log will have them."""
    found = []
    for batch in batches:
        op = unpack_op(batch.pack("u"))
        assert isinstance(op, Upsert)
        found.append((batch.shard, op.documents))
    return found


def dump(document: dict[str, Any]) -> bytes:
    """A document as a compact line."""
    return json.dumps(document, separators=(",", ":")).encode()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers())))
def test_the_last_line_of_an_id_wins(writes: list[tuple[int, int]]) -> None:
    """Applying the batches in order leaves each id's last document, on the shard that owns it."""
    lines: list[bytes | None] = [dump({"id": f"d{one}", "n": n % 1000}) for one, n in writes]
    model = {f"d{one}": dump({"id": f"d{one}", "n": n % 1000}) for one, n in writes}
    stored: dict[str, bytes] = {}
    for shard, documents in upserts(take(intake_of(), lines)):
        assert all(shard == shard_of(one, NUM_SHARDS) for one, _ in documents)
        stored.update(documents)
    assert stored == model


@given(st.lists(st.integers(1, 60_000), max_size=30))
def test_batches_are_bounded(sizes: list[int]) -> None:
    """No entry of the log is larger than its bound, unless one document alone is."""
    lines: list[bytes | None] = [
        dump({"id": f"d{number}", "x": "y" * size}) for number, size in enumerate(sizes)
    ]
    batches = upserts(take(intake_of(), lines))
    assert sum(len(documents) for _, documents in batches) == len(sizes)
    for _, documents in batches:
        size = sum(len(body) for _, body in documents)
        assert size <= BATCH_BYTES or len(documents) == 1


def test_bad_lines_stop_nothing() -> None:
    """Rejected lines are named with a reason, empty ones passed over, and the rest accepted."""
    lines: list[bytes | None] = [
        dump({"id": "a", "year": 1999}),
        b"",
        dump({"id": "b", "year": "soon"}),
        b"  \r",
        None,
        b"{",
        dump({"id": "c"}) + b"\r",
    ]
    intake = intake_of()
    batches = take(intake, lines)
    assert sorted(one for _, documents in upserts(batches) for one, _ in documents) == ["a", "c"]
    assert [rejection.line for rejection in intake.report.rejected] == [3, 5, 6]
    reasons = [rejection.reason for rejection in intake.report.rejected]
    assert "year" in reasons[0]
    assert "limit" in reasons[1]
    assert "JSON" in reasons[2]


def test_rejections_are_counted_beyond_those_kept() -> None:
    """A load of nothing but bad lines is counted in full and kept in bounded memory."""
    report = LoadReport()
    for line in range(1, MAX_REJECTIONS_KEPT + 501):
        report.reject(line, "bad")
    answer = report.answer()
    assert len(answer.rejected) == MAX_REJECTIONS_KEPT
    assert answer.rejected[0] == RejectedLine(1, "bad")
    assert answer.rejected_total == MAX_REJECTIONS_KEPT + 500


def test_first_documents_wait_for_fields() -> None:
    """Without fields nothing is batched until they are given; then the first are checked too."""
    intake = intake_of(define("books", {}))
    lines: list[bytes | None] = [
        dump({"id": f"d{number}", "year": number or "?"}) for number in range(INFER_FROM_LINES + 5)
    ]
    assert take(intake, lines) == []
    assert intake.needs_fields
    assert intake.inferred_fields() == {"year": FieldType.TEXT}  # "?", once, is no number
    intake.define(intake.definition.with_fields({"year": FieldType.INTEGER}))
    batches = take(intake, [])
    assert [rejection.line for rejection in intake.report.rejected] == [1]
    batched = [one for _, documents in upserts(batches) for one, _ in documents]
    assert sorted(batched) == sorted(f"d{number}" for number in range(1, INFER_FROM_LINES))


def test_lines_that_wait_for_fields_are_bounded_in_bytes() -> None:
    """Fields are needed as soon as the lines that wait have a megabyte, however few they are."""
    intake = intake_of(define("books", {}))
    lines: list[bytes | None] = [dump({"id": f"d{n}", "x": "y" * 300_000}) for n in range(20)]
    take(intake, lines)
    assert intake.needs_fields
    assert len(intake._first) == 1 + INFER_FROM_BYTES // 300_000


def test_what_a_load_holds_in_batches_is_bounded() -> None:
    """However many shards there are, batches are full when they have a megabyte together."""
    intake = Intake(DEFINITION, 1000, LimitSettings())
    lines = enumerate((dump({"id": f"d{n}", "x": "y" * 1000}) for n in range(3000)), start=1)
    while not intake.take(lines, lambda: False):
        held = intake.batches()
        assert sum(batch.num_bytes for batch in held) < OPEN_BYTES + 100_000
    assert intake.report.rejected_total == 0


def test_a_long_line_is_read_in_steps() -> None:
    """A slice takes one step of a long line; nothing is lost or done twice by that."""
    intake = intake_of()
    lines = iter([(1, dump({"id": "long", "x": "y" * 500_000})), (2, dump({"id": "short"}))])
    num_slices, batches = 1, []
    while not intake.take(lines, lambda: False):
        num_slices += 1
        batches += intake.batches()
    batches += intake.batches()
    assert num_slices > 3
    assert sorted(one for _, some in upserts(batches) for one, _ in some) == ["long", "short"]


def test_a_long_line_that_is_bad_stops_nothing() -> None:
    """Whichever step finds it at fault, it is rejected once and the next line goes in."""
    lines: list[bytes | None] = []
    for bad in ('"', "[" * 200 + "]" * 200 + ",", ",1e999", "[]," * 20_000):
        lines += [('{"id":"a","y":"' + "y" * 100_000 + '","x":[' + bad + "1]}").encode(), None]
        lines[-1] = dump({"id": f"good{len(lines)}"})
    lines.append(b" " * 100_000)
    intake = intake_of()
    rest = iter(list(enumerate(lines, start=1)))
    batches: list[Batch] = []
    while not intake.take(rest, lambda: False):
        batches += intake.batches()
    batches += intake.batches()
    assert [rejection.line for rejection in intake.report.rejected] == [1, 3, 5, 7]
    assert len([one for _, some in upserts(batches) for one, _ in some]) == 4


def test_a_slice_ends_when_time_is_up() -> None:
    """However many lines there are, a slice of work ends soon after its time."""
    lines = iter(enumerate([dump({"id": str(number)}) for number in range(1000)], start=1))
    looks: list[bool] = []

    def up_at(count: int) -> Callable[[], bool]:
        looks.clear()

        def is_up() -> bool:
            looks.append(True)
            return len(looks) >= count

        return is_up

    intake = intake_of()
    assert not intake.take(lines, up_at(2))
    left = len(list(lines))
    assert 900 < left < 1000


def test_accepted_documents_are_counted_in_words() -> None:
    """In the singular for one, with the verb that follows."""
    report = LoadReport(accepted=1)
    assert (report.documents(), report.documents(" is", " are")) == ("1 document", "1 document is")
    report.accepted = 2
    assert (report.documents(), report.documents(" is", " are")) == (
        "2 documents",
        "2 documents are",
    )
