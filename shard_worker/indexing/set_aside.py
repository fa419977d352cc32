"""Finds documents that cannot be indexed, saves them in a file, and skips them.

A document whose indexing takes all memory, or crashes tantivy, ends the indexer each time, and
would block its shard for ever; so would one whose text a user's function cannot embed. So a batch
that has ended the indexer is applied entry by entry, and an entry that ends the indexer is applied
in halves, down to single documents. Such a document is tried again a few times, and then set aside
where an operator can find it. All others are applied.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgpack
import structlog

from hedgerow.common.errors import (
    EmbeddingError,
    LaneUnavailableError,
    ScorerCrashedError,
    WorkError,
)
from hedgerow.common.machine.memory_room import MemoryRoom, has_memory, memory_rooms
from hedgerow.common.machine.shortage import MEMORY, lacking
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.shard_log.entries import Entry
from hedgerow.common.shard_log.operations import Delete, Upsert, Write, pack_op, unpack_op
from hedgerow.common.shard_log.set_aside_notes import SetAsideNote
from hedgerow.shard_worker.indexing.set_aside_files import SetAsideFiles

ATTEMPTS: Final = 3
PAUSE_S: Final = 1.0
# If this many in a row could not be applied, the machine is at fault.
MOST_IN_A_ROW: Final = 8

_log = structlog.get_logger()


class Target(Protocol):
    """The shard that entries are applied to."""

    async def apply(self, entry_id: str | None, ops: Sequence[bytes]) -> None:
        """Apply operations of one entry; the id moves the shard's position there, None does not.

        Raises:
            WorkError: they were not applied, or not in full.
        """

    async def reindex(self, uid: str, ids: Sequence[str]) -> None:
        """Index some documents again, as the store has them.

        Raises:
            WorkError: they were not indexed.
        """


def ends_the_indexer(error: WorkError) -> bool:
    """Whether an error may be a document's fault.

    The indexer process has died or run out of memory, or a text could not be embedded.
    """
    is_documents = isinstance(error, ScorerCrashedError | EmbeddingError)
    return is_documents or "MemoryError" in str(error)


def _may_lack_memory(error: WorkError) -> bool:
    return not isinstance(error, EmbeddingError) or lacking(error) == MEMORY


def units_of(op: bytes) -> list[bytes]:
    """An operation, split into the smallest operations with the same effect."""
    match unpack_op(op):
        case Upsert(uid, documents):
            return [pack_op(Upsert(uid, [one])) for one in documents]
        case Delete(uid, ids):
            return [pack_op(Delete(uid, [one])) for one in ids]
        case _:
            return [op]


class SetAside:
    """Applies entries one by one, and skips documents that end the indexer."""

    def __init__(
        self,
        files: SetAsideFiles,
        counters: Counters,
        note: Callable[[int, SetAsideNote], Awaitable[None]],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        memory: Callable[[], Iterable[MemoryRoom]] = memory_rooms,
    ) -> None:
        """Save what is set aside in `files`.

        Args:
            files: keep the documents, up to a limit.
            counters: `writes_set_aside` counts the documents.
            note: tells those who wait for a document's entry that it was set aside.
            pause: waits, in s.
            memory: what the machine, and each control group, has left. A crash is the document's
                fault only if that is enough.
        """
        self._files = files
        self._counters = counters
        self._note = note
        self._pause = pause
        self._memory = memory
        self._num_in_a_row = 0
        # Shard → its entry that is partly applied, and the hashes of the parts that were set aside.
        self._unfinished: dict[int, tuple[str, set[bytes]]] = {}

    async def apply(self, shard: int, entries: Sequence[Entry], target: Target) -> None:
        """Apply all entries, except for documents that have to be set aside.

        Raises:
            WorkError: the machine is at fault, not a document; what was applied by then stays
                applied.
        """
        for entry in entries:
            try:
                await target.apply(entry.id, [entry.op])
                self._num_in_a_row = 0
            except WorkError as error:
                if not ends_the_indexer(error):
                    raise
                # What an earlier attempt has set aside is neither tried nor saved again.
                done = self._set_aside_of(shard, entry)
                units = [unit for unit in units_of(entry.op) if _hash(unit) not in done]
                if units:
                    await self._apply_parts(shard, entry, units, target, error)
                await target.apply(entry.id, [])
            self._unfinished.pop(shard, None)

    def _set_aside_of(self, shard: int, entry: Entry) -> set[bytes]:
        known = self._unfinished.get(shard)
        if known is None or known[0] != entry.id:
            known = self._unfinished[shard] = (entry.id, set())
        return known[1]

    async def _apply_parts(
        self, shard: int, entry: Entry, units: list[bytes], target: Target, error: WorkError
    ) -> None:
        if len(units) == 1:
            await self._apply_unit(shard, entry, units[0], target, error)
            return
        middle = len(units) // 2
        for half in (units[:middle], units[middle:]):
            try:
                await target.apply(None, half)
                self._num_in_a_row = 0
            except WorkError as again:
                if not ends_the_indexer(again):
                    raise
                await self._apply_parts(shard, entry, half, target, again)

    async def _apply_unit(
        self, shard: int, entry: Entry, unit: bytes, target: Target, error: WorkError
    ) -> None:
        reason, may_lack_memory = str(error), _may_lack_memory(error)
        for attempt in range(1, ATTEMPTS):
            await self._pause(PAUSE_S * attempt)
            try:
                await target.apply(None, [unit])
            except WorkError as again:
                if not ends_the_indexer(again):
                    raise
                # Not the error: its traceback holds this frame, a cycle.
                reason, may_lack_memory = str(again), _may_lack_memory(again)
            else:
                self._num_in_a_row = 0
                return
        if self._num_in_a_row >= MOST_IN_A_ROW:
            raise LaneUnavailableError(f"the indexer fails on every document: {reason}")
        if may_lack_memory and not has_memory(self._memory()):
            raise LaneUnavailableError(
                f"the machine or container is nearly out of memory, and an indexer died: {reason}"
            )
        await _reindex(target, unit)
        await self._keep(shard, {"entry": entry.id, "reason": reason, **_record(unit)})
        await self._note(shard, SetAsideNote(entry.id, _name(unit), reason))
        self._set_aside_of(shard, entry).add(_hash(unit))
        self._num_in_a_row += 1
        self._counters.add("writes_set_aside")
        _log.error(
            "write_set_aside",
            shard=shard,
            entry=entry.id,
            what=_name(unit),
            reason=reason,
            file=str(self._files.path(shard)),
        )

    async def _keep(self, shard: int, record: Mapping[str, Any]) -> None:
        try:
            await self._files.keep(shard, record)
        except OSError as error:  # nothing is skipped without a trace
            raise WorkError(f"a document cannot be set aside: {error}") from error


def _hash(unit: bytes) -> bytes:
    return hashlib.blake2b(unit, digest_size=16).digest()


async def _reindex(target: Target, unit: bytes) -> None:
    """Remove from the text index what the store did not get of a unit.

    The index commits before the store, so an indexer that died in between has left it there.
    """
    op = unpack_op(unit)
    if not isinstance(op, Upsert | Delete | Write):
        return
    ids = _ids_of(op)
    try:
        await target.reindex(op.uid, ids)
    except WorkError as error:
        if not ends_the_indexer(error):
            raise
        # The stored document cannot be indexed either; this must not block those that follow.
        _log.warning("document_not_reindexed", uid=op.uid, ids=ids, error=str(error))


def _ids_of(op: Upsert | Delete | Write) -> list[str]:
    match op:
        case Upsert(documents=documents):
            return [one for one, _ in documents]
        case Delete(ids=ids):
            return ids
        case Write(id=document_id):
            return [document_id]


def _record(unit: bytes) -> dict[str, Any]:
    op = unpack_op(unit)
    if isinstance(op, Upsert):
        ((document_id, body),) = op.documents
        return {"uid": op.uid, "id": document_id, "document": json.loads(body)}
    if isinstance(op, Write) and op.body is not None:
        return {"uid": op.uid, "id": op.id, "document": json.loads(op.body)}
    return {"operation": repr(msgpack.unpackb(unit))}


def _name(unit: bytes) -> str:
    record = _record(unit)
    return str(record.get("id", record.get("operation")))[:200]
