"""The answers to loads and deletes while a disk or memory runs out."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal
from unittest.mock import AsyncMock

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import (
    InsufficientStorageError,
    WriteRefusedError,
)
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.shard_log.entries import Appended
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.load import LoadReport
from hedgerow.gateway.writes.storage_gate import StorageGate

FULL = {"resource": "disk", "state": "full", "detail": "0 MB free", "since_ms": 1}


class Writing:
    """Documents over a log of mocks, and a gate over what the workers say."""

    def __init__(self, outage_timeout_s: float = 5.0) -> None:
        self.shortages: list[dict[str, Any]] = []
        self.appended = asyncio.Event()
        self.log = AsyncMock(spec=ShardLog)
        self.log.append_many.side_effect = self._append
        self.log.applied_of.return_value = {0: {}, 1: {}}
        collections = AsyncMock(spec=Collections)
        collections.current.return_value = define("books", {"fields": {"title": "text"}}, "u")
        self.gate = StorageGate(self._workers, now=lambda: 0.0, now_ms=lambda: 0)
        self.documents = Documents(
            self.log,
            collections,
            2,
            LimitSettings(),
            write_timeout_s=1.0,
            gate=self.gate,
            outage_timeout_s=outage_timeout_s,
        )

    def _workers(self) -> list[Heartbeat]:
        return [Heartbeat("w0", 1, "h", [0], "1", 0, 0, shortages=self.shortages)]

    async def _append(
        self, ops: Sequence[tuple[int, bytes]], _trace: bytes | None = None
    ) -> list[Appended]:
        self.appended.set()
        return [Appended("5-0", 1) for _ in ops]

    async def load(self, wait: Literal["logged", "applied"] = "logged") -> LoadReport:
        """Load two documents."""

        async def lines() -> AsyncIterator[bytes]:
            yield b'{"id": "a"}\n{"id": "b"}\n'

        return await self.documents.load("books", lines(), wait)


async def test_a_load_is_refused_before_its_body_is_read() -> None:
    """While a disk is short of room not a line is drawn, and nothing is logged."""
    writing = Writing()
    writing.shortages = [FULL]

    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    with pytest.raises(InsufficientStorageError, match="w0: 0 MB free") as refused:
        await writing.documents.load("books", unread())
    assert refused.value.report.accepted == 0
    writing.log.append_many.assert_not_called()


async def test_a_load_that_runs_into_a_full_disk_says_what_is_safe() -> None:
    """The report counts what was logged before the disk filled up."""
    writing = Writing()

    async def lines() -> AsyncIterator[bytes]:
        yield b'{"id": "a"}\n'
        await writing.appended.wait()  # a pause has what there is logged
        writing.shortages = [FULL]
        yield b'{"id": "b"}\n'

    with pytest.raises(InsufficientStorageError) as refused:
        await writing.documents.load("books", lines(), "logged")
    assert refused.value.report.accepted == 1


@pytest.mark.parametrize("cause", ["memory", "disk"])
async def test_a_server_without_room_is_not_asked_again(cause: str) -> None:
    """What Redis refuses for want of room ends the load at once, with the server named."""
    writing = Writing()
    writing.log.append_many.side_effect = WriteRefusedError("OOM command not allowed", cause)
    with pytest.raises(InsufficientStorageError, match="redis: OOM command") as refused:
        await writing.load()
    assert refused.value.report.accepted == 0
    writing.log.append_many.assert_called_once()


async def test_a_server_that_is_read_only_for_a_moment_is_asked_again() -> None:
    """In a failover a replica becomes the master within seconds."""
    writing = Writing()
    refusal = WriteRefusedError("READONLY", "read_only")
    answers = iter([refusal])

    async def append(
        ops: Sequence[tuple[int, bytes]], _trace: bytes | None = None
    ) -> list[Appended]:
        for answer in answers:
            raise answer
        return [Appended("5-0", 1) for _ in ops]

    writing.log.append_many.side_effect = append
    assert (await writing.load()).accepted == 2
    lasting = Writing(outage_timeout_s=0.0)
    lasting.log.append_many.side_effect = refusal
    with pytest.raises(InsufficientStorageError, match="READONLY"):
        await lasting.load()


async def test_what_a_full_disk_keeps_from_being_applied_is_not_waited_for() -> None:
    """All is accepted, and the answer says at once that it waits for room, and not for replicas."""
    writing = Writing()

    async def fill(ops: Sequence[tuple[int, bytes]], _trace: bytes | None = None) -> list[Appended]:
        writing.shortages = [FULL]
        return [Appended("5-0", 1) for _ in ops]

    writing.log.append_many.side_effect = fill
    with pytest.raises(InsufficientStorageError) as refused:
        await writing.load("applied")
    assert (refused.value.report.accepted, refused.value.report.is_applied) == (2, False)


@pytest.mark.parametrize("state", ["low", "full"])
async def test_a_delete_may_use_the_reserve(state: str) -> None:
    """It is taken on a low disk, and refused on one that takes nothing."""
    writing = Writing()
    writing.shortages = [{**FULL, "state": state}]
    if state == "low":
        await writing.documents.delete("books", "a", "logged")
        writing.log.append_many.assert_called_once()
    else:
        with pytest.raises(InsufficientStorageError):
            await writing.documents.delete("books", "a", "logged")
        writing.log.append_many.assert_not_called()
