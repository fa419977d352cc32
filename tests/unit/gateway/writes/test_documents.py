"""The write path, as far as it goes without a server."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import cast
from unittest.mock import AsyncMock

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import (
    BadRequestError,
    LoadInterruptedError,
    OverloadedError,
    TooLargeError,
)
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.shard_log.entries import Appended
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.set_aside_notes import SetAsideNote
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.load_slots import LoadSlots
from tests.support.virtual_time import run_virtually
from tests.unit.support.fake_log import CountingLog, OneCollection


@pytest.mark.parametrize("document_id", ["", "a" * 513, "é" * 257, "a\0b", "a\n", "..", "\ud800"])
async def test_deleting_what_no_document_can_be_called_is_refused(document_id: str) -> None:
    """An id that no load would take is at fault, and nothing is logged."""
    log, collections = AsyncMock(spec=ShardLog), AsyncMock(spec=Collections)
    documents = Documents(log, collections, 2, LimitSettings(), write_timeout_s=1.0)
    with pytest.raises(BadRequestError, match=r"^id: ") as refused:
        await documents.delete("books", document_id)
    assert not isinstance(refused.value, TooLargeError)
    log.append_many.assert_not_called()


def documents_with(slots: LoadSlots | None, log: CountingLog | None = None) -> Documents:
    """Documents whose logs are applied at once."""
    return Documents(
        cast("ShardLog", log or CountingLog()),
        cast("Collections", OneCollection(define("c", {"fields": {"title": "text"}}))),
        2,
        LimitSettings(),
        write_timeout_s=1.0,
        slots=slots,
    )


async def half_a_line(rest: asyncio.Event) -> AsyncIterator[bytes]:
    """A document, and half of another, whose rest comes when the test releases it."""
    yield b'{"id":"a"}\n{"id":"'
    await rest.wait()
    yield b'b"}\n'


async def lines(*documents: bytes) -> AsyncIterator[bytes]:
    """Documents that are there at once."""
    for document in documents:
        yield document + b"\n"


async def test_a_load_that_waits_for_its_client_holds_up_no_other() -> None:
    """While one client has sent half of a line, others load; then the first goes on."""
    documents, rest = documents_with(LoadSlots(2, idle_s=60.0)), asyncio.Event()
    slow = asyncio.create_task(documents.load("c", half_a_line(rest)))
    await asyncio.sleep(0)
    assert (await documents.load("c", lines(b'{"id":"c"}'))).accepted == 1
    assert not slow.done()
    rest.set()
    assert (await slow).accepted == 2


async def test_a_load_too_many_is_refused_and_costs_nothing() -> None:
    """It is refused before its first byte is read, and a place that is given back is free."""
    documents, rest = documents_with(LoadSlots(1, idle_s=60.0)), asyncio.Event()
    slow = asyncio.create_task(documents.load("c", half_a_line(rest)))
    await asyncio.sleep(0)
    unread = lines(b'{"id":"c"}')
    with pytest.raises(OverloadedError):
        await documents.load("c", unread)
    assert await anext(unread) == b'{"id":"c"}\n'
    rest.set()
    await slow
    assert (await documents.load("c", lines(b'{"id":"c"}'))).accepted == 1


async def test_a_load_that_gives_way_says_how_far_it_got() -> None:
    """The load whose client is idle ends with its report, and the new one goes in."""
    documents = documents_with(LoadSlots(1, idle_s=0.0))
    idle = asyncio.create_task(documents.load("c", half_a_line(asyncio.Event())))
    await asyncio.sleep(0)
    assert (await documents.load("c", lines(b'{"id":"c"}'))).accepted == 1
    with pytest.raises(LoadInterruptedError, match="the client sent no document") as ended:
        await idle
    assert ended.value.report.accepted in (0, 1)


class Clock:
    """Stands for the loop's time."""

    now = 0.0

    def time(self) -> float:
        """The time that was set."""
        return self.now


@pytest.mark.parametrize(
    ("line", "keeps_its_place"), [(b'{"id":"a"}\n', True), (b'{"id":"a","title":{}}\n', False)]
)
async def test_a_load_keeps_its_place_by_documents_that_are_accepted(
    monkeypatch: pytest.MonkeyPatch, line: bytes, keeps_its_place: bool
) -> None:
    """A line each 6 s keeps a place that is lost after 10 s if it is accepted, not if rejected."""
    slots, clock = LoadSlots(1, idle_s=10.0), Clock()
    documents, rest = documents_with(slots), asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield line
            clock.now += 6.0
        waits.set()
        await rest.wait()

    waits = asyncio.Event()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.time)
    dripping = asyncio.create_task(documents.load("c", drip(), "logged"))
    await waits.wait()
    if keeps_its_place:
        with pytest.raises(OverloadedError):
            slots.take(clock.now)
        rest.set()
        assert (await dripping).accepted == 4
    else:
        slots.take(clock.now)
        rest.set()
        report = await dripping
        assert (report.accepted, report.rejected_total) == (0, 4)


def test_a_wait_for_the_replicas_asks_less_and_less_often() -> None:
    """In a minute without news the log is asked about 120 times, and at once when there is news."""

    async def main() -> None:
        log, collections = AsyncMock(spec=ShardLog), AsyncMock(spec=Collections)
        collections.current.return_value = define("books", {"fields": {"title": "text"}}, "u")
        log.last_ids.return_value = {0: "5-0"}
        log.applied_of.return_value = {0: {"a": "4-0"}}
        documents = Documents(log, collections, 1, LimitSettings(), write_timeout_s=100.0)
        waiting = asyncio.create_task(documents.load("books", lines()))
        await asyncio.sleep(60.0)
        assert 100 <= log.applied_of.await_count <= 130
        log.applied_of.return_value = {0: {"a": "5-0"}}
        documents.wake(0)
        await asyncio.sleep(0.001)
        assert waiting.done()
        assert (await waiting).is_applied

    run_virtually(main())


class FirstSetAside(CountingLog):
    """Of each call's entries, the first has a document that a replica has set aside."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[int, SetAsideNote]] = []

    async def append_many(
        self, ops: Sequence[tuple[int, bytes]], trace: bytes | None = None
    ) -> list[Appended]:
        """Give each operation an entry of its own."""
        appended = []
        for op in ops:
            appended += await super().append_many([op], trace)
        self.notes.append((ops[0][0], SetAsideNote(appended[0].id, "x", "no vector")))
        return appended

    async def set_aside_of(self, entries: Mapping[int, Iterable[str]]) -> list[SetAsideNote]:
        """The notes of the entries that are asked about."""
        asked = {(shard, one) for shard, ids in entries.items() for one in ids}
        return [note for shard, note in self.notes if (shard, note.entry) in asked]


async def test_every_entry_of_a_load_is_asked_about() -> None:
    """What was set aside is in the answer, whichever of a shard's entries it is from."""
    log = FirstSetAside()
    body = b"".join(b'{"id":"%d","title":"%s"}\n' % (one, b"x" * 200) for one in range(2000))
    report = await documents_with(None, log).load("c", lines(body), wait="applied")
    assert log.num_ops > 2 * len(log.notes)  # several entries of a shard in one write
    assert [note.entry for note in report.set_aside] == [note.entry for _, note in log.notes]
    assert not report.is_applied
