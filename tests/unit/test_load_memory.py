"""A bulk load of any length needs memory for a few batches, not for the stream."""

import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from common.collection import Collection, define, infer_fields
from common.config import LimitSettings
from common.log import Appended, ShardLog
from gateway.collections import Collections
from gateway.documents import Documents

NUM_SHARDS = 8
CHUNK_BYTES = 64 * 1024
STREAM_BYTES = 64 * 1024 * 1024


@dataclass
class CountingLog:
    """Stands for the shards' logs: counts what it is given, and keeps none of it."""

    num_ops: int = 0
    num_bytes: int = 0

    async def append_many(self, ops: Sequence[tuple[int, bytes]]) -> list[Appended]:
        """Take operations; workers that keep up have applied them at once."""
        self.num_ops += len(ops)
        self.num_bytes += sum(len(op) for _, op in ops)
        return [Appended(f"{self.num_ops}-0", 1) for _ in ops]

    async def lengths(self, shards: Iterable[int]) -> dict[int, int]:
        """All logs are empty."""
        return dict.fromkeys(shards, 0)

    async def last_ids(self, shards: Iterable[int]) -> dict[int, str]:
        """Where the logs end."""
        return dict.fromkeys(shards, f"{self.num_ops}-0")

    async def applied_of(self, shards: Iterable[int]) -> dict[int, dict[str, str]]:
        """One replica each, which has applied everything."""
        return {shard: {"r": f"{self.num_ops}-0"} for shard in shards}


@dataclass
class OneCollection:
    """Stands for the registry's collections: one, whose fields are inferred if need be."""

    definition: Collection

    async def current(self, _name: str) -> Collection:
        """The definition."""
        return self.definition

    async def infer(self, definition: Collection, documents: Any) -> Collection:
        """The definition with the fields of these documents."""
        return definition.with_fields(infer_fields(documents))


async def stream(line: bytes, num_bytes: int) -> AsyncIterator[bytes]:
    """So many bytes of NDJSON, in chunks that end anywhere: `line` with a running number in it."""
    number, pending, sent = 0, b"", 0
    while sent < num_bytes:
        lines = []
        size = len(pending)
        while size < CHUNK_BYTES:
            number += 1
            lines.append(line % number)
            size += len(lines[-1])
        pending += b"".join(lines)
        sent += CHUNK_BYTES
        yield pending[:CHUNK_BYTES]
        pending = pending[CHUNK_BYTES:]
    yield pending


@contextmanager
def traced() -> Iterator[list[int]]:
    """The peak of what Python allocates within the block, in bytes, over what it had before."""
    peak: list[int] = []
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()


LARGE = b'{"id":"d%d","title":"' + b"a few words of text " * 200 + b'"}\n'


@pytest.mark.parametrize(
    ("line", "body", "num_bytes", "is_good"),
    [
        pytest.param(LARGE, {"fields": {"title": "text"}}, STREAM_BYTES, True, id="documents"),
        pytest.param(LARGE, {}, STREAM_BYTES, True, id="fields-inferred"),
        pytest.param(b"[%d]" + b" " * 90 + b"\n", {}, STREAM_BYTES // 8, False, id="rejected"),
        pytest.param(b"%d" + b"x" * 3_000_000 + b"\n", {}, STREAM_BYTES, False, id="overlong"),
        pytest.param(b"%d" + b"x" * CHUNK_BYTES, {}, STREAM_BYTES, False, id="one-endless-line"),
    ],
)
async def test_a_load_needs_memory_for_batches_not_for_the_stream(
    line: bytes, body: dict[str, Any], num_bytes: int, is_good: bool
) -> None:
    """The peak is below a quarter of what flows through, whatever the lines are worth."""
    log = CountingLog()
    documents = Documents(
        cast("ShardLog", log),
        cast("Collections", OneCollection(define("c", body))),
        NUM_SHARDS,
        LimitSettings(),
        write_timeout_s=30.0,
    )
    with traced() as peak:
        report = await documents.load("c", stream(line, num_bytes), "applied")
    assert (report.accepted > 0) is is_good
    assert (report.rejected_total > 0) is not is_good
    assert (log.num_bytes > num_bytes * 0.9) is is_good
    assert peak[0] < num_bytes / 4, f"{peak[0] / 2**20:.1f} MiB"
