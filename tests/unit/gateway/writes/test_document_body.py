"""One document as the body of a request."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError, OverloadedError, TooLargeError
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.shard_log.entries import Appended
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Upsert, unpack_op
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.document_body import line_of
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.load_slots import LoadSlots
from tests.unit.support.fake_log import CountingLog, OneCollection

LIMITS = LimitSettings(max_document_bytes=100_000, max_document_values=50)


class KeepingLog(CountingLog):
    """Keeps the documents that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, tuple[int, bytes]] = {}

    async def append_many(
        self, ops: Sequence[tuple[int, bytes]], trace: bytes | None = None
    ) -> list[Appended]:
        """Keep each document with its shard."""
        for shard, packed in ops:
            op = unpack_op(packed)
            assert isinstance(op, Upsert)
            self.documents |= {one: (shard, body) for one, body in op.documents}
        return await super().append_many(ops, trace)


def documents_over(log: CountingLog, slots: LoadSlots | None = None) -> Documents:
    """Documents of one collection with a text and a number."""
    fields = {"title": "text", "year": "integer"}
    return Documents(
        cast("ShardLog", log),
        cast("Collections", OneCollection(define("c", {"fields": fields}))),
        2,
        LIMITS,
        write_timeout_s=1.0,
        slots=slots,
    )


async def cut(body: bytes, size: int = 7) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def line(body: bytes, document_id: str = "b7") -> bytes:
    """The line of NDJSON that a body becomes."""
    return b"".join([chunk async for chunk in line_of(cut(body, 5000), document_id, LIMITS)])


@pytest.mark.parametrize(
    ("document_id", "body"),
    [
        ("b7", b'{"title": "wing"}'),
        ("b7", b'{"id": "b7", "title": "wing"}'),
        ("7", b'{"id": 7, "title": "wing"}'),
        ("b7", b'{\n  "title":\n  "wing",\r\n  "year": 1e3\n}\n'),
        ('a/b \\ "', b'{"title": "wing\\nfeather"}'),
    ],
)
async def test_a_body_becomes_one_line_with_its_id(document_id: str, body: bytes) -> None:
    """Whatever lines it was on, and whether or not it repeats the id."""
    written = await line(body, document_id)
    assert b"\n" not in written
    assert json.loads(written) == {**json.loads(body), "id": document_id}


@pytest.mark.parametrize("body_id", ['"b8"', "8", '""', "null", "[1]"])
async def test_another_id_in_the_body_is_refused_by_both_names(body_id: str) -> None:
    """The caller sees which two ids contradict each other."""
    with pytest.raises(BadRequestError, match=r"^id: ") as refused:
        await line(b'{"id": %b}' % body_id.encode())
    shown = repr(str(json.loads(body_id))) if body_id == "8" else repr(json.loads(body_id))
    assert shown in refused.value.reason
    assert "'b7'" in refused.value.reason


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "the body"),
        (b"[1]", "the body"),
        (b'{"title": "a"', "the body"),
        (b'{"title": "a"}\n{"title": "b"}', "the body"),
        (b'{"title": "\xff"}', "the body"),
        (b'{"title": NaN}', "the body"),
    ],
)
async def test_what_is_no_document_is_refused(body: bytes, field: str) -> None:
    """Two documents in one body are an error too."""
    with pytest.raises(BadRequestError) as refused:
        await line(body)
    assert refused.value.field in (field, "the document")


@pytest.mark.parametrize(
    "body", [b'{"t": "%b"}' % (b"x" * 100_000), b'{"t": [%b 1]}' % (b"1," * 60), b" " * 100_001]
)
async def test_the_limits_are_those_of_a_line(body: bytes) -> None:
    """Bytes and values are counted as for a line of a load."""
    with pytest.raises(TooLargeError):
        await line(body)


async def test_a_body_that_is_too_large_is_not_read_to_its_end() -> None:
    """What comes after the limit is not read."""
    body = cut(b"x" * 1_000_000, 50_000)
    with pytest.raises(TooLargeError):
        await anext(line_of(body, "b7", LIMITS))
    assert len([chunk async for chunk in body]) == 17


async def test_a_document_goes_to_the_log_of_its_shard() -> None:
    """Long ones too, which are read in steps."""
    log = KeepingLog()
    documents = documents_over(log)
    for number in range(10):
        title = "wing " * (10_000 if number == 5 else 1)
        body = json.dumps({"title": title}).encode()
        report = await documents.put("c", f"d{number}", cut(body, 4096))
        assert (report.accepted, report.rejected_total, report.is_applied) == (1, 0, True)
    assert {one: shard for one, (shard, _) in log.documents.items()} == {
        f"d{number}": shard_of(f"d{number}", 2) for number in range(10)
    }
    assert json.loads(log.documents["d3"][1]) == {"id": "d3", "title": "wing "}


async def test_a_document_that_a_load_would_reject_is_an_error() -> None:
    """The reason is the same, nothing is logged, and the place is free again."""
    log = KeepingLog()
    documents = documents_over(log, LoadSlots(1))
    for _ in range(2):
        with pytest.raises(BadRequestError, match="year"):
            await documents.put("c", "d1", cut(b'{"year": "soon"}'))
    assert log.num_ops == 0


async def test_an_id_that_no_document_can_have_is_refused_before_the_body() -> None:
    """The caller's mistake costs no place."""
    body = cut(b"{}")
    with pytest.raises(BadRequestError, match=r"^id: ") as refused:
        await documents_over(KeepingLog()).put("c", "..", body)
    assert not isinstance(refused.value, TooLargeError)
    assert await anext(body) == b"{}"


async def test_a_document_takes_a_place_among_the_loads() -> None:
    """Where none is free, it is refused and its body is not read."""
    slots = LoadSlots(1)
    slots.take(0.0)
    body = cut(b"{}")
    with pytest.raises(OverloadedError):
        await documents_over(KeepingLog(), slots).put("c", "d1", body)
    assert await anext(body) == b"{}"
