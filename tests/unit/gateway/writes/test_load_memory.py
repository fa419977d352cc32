"""A bulk load of any length needs memory for a few batches, not for the stream."""

import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest

from hedgerow.common.collection import define
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from tests.support.connections import turn
from tests.unit.support.fake_log import CountingLog, OneCollection

NUM_SHARDS = 8
CHUNK_BYTES = 64 * 1024
STREAM_BYTES = 48 * 1024 * 1024


async def stream(line: bytes, num_bytes: int) -> AsyncIterator[bytes]:
    """This many bytes of NDJSON, in chunks that end anywhere: `line` with a running number."""
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
    gc.freeze()  # so that the next time, it has no other tests' objects to go through
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()


LARGE = b'{"id":"d%d","title":"' + b"a few words of text " * 800 + b'"}\n'


@pytest.mark.parametrize(
    ("line", "body", "num_bytes", "is_good"),
    [
        pytest.param(LARGE, {"fields": {"title": "text"}}, STREAM_BYTES // 3, True, id="documents"),
        pytest.param(LARGE, {}, STREAM_BYTES // 3, True, id="fields-inferred"),
        pytest.param(b"[%d]" + b" " * 200 + b"\n", {}, STREAM_BYTES // 16, False, id="rejected"),
        pytest.param(b"%d" + b"x" * 3_000_000 + b"\n", {}, STREAM_BYTES, False, id="overlong"),
        pytest.param(b"%d" + b"x" * CHUNK_BYTES, {}, STREAM_BYTES, False, id="one-endless-line"),
    ],
)
async def test_a_load_needs_memory_for_batches_not_for_the_stream(
    line: bytes, body: dict[str, Any], num_bytes: int, is_good: bool
) -> None:
    """The peak is below a quarter of what flows through, whether the lines are good or bad."""
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


async def test_a_load_whose_client_leaves_goes_at_once() -> None:
    """What it had taken in does not wait for the garbage collector, which comes seldom."""
    documents = Documents(
        cast("ShardLog", CountingLog()),
        cast("Collections", OneCollection(define("c", {"fields": {"title": "text"}}))),
        NUM_SHARDS,
        LimitSettings(),
        write_timeout_s=30.0,
    )

    class Left(Exception):  # noqa: N818 - as a server says it
        pass

    async def leave() -> AsyncIterator[bytes]:
        yield b'{"id":"a","title":"b"}\n'
        raise Left

    async def load() -> None:
        with suppress(Left):
            await documents.load("c", leave(), "applied")

    await load()
    gc.collect()  # garbage of other tests may have finalizers that give this loop work
    await turn()
    gc.freeze()
    gc.disable()
    try:
        await load()
        assert gc.collect() == 0
    finally:
        gc.enable()
