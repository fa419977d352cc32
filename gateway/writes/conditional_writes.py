"""Writes of single documents that depend on what the document is: with `if_version`, and merges.

A condition is judged by each replica of the document's shard when the write comes to its turn in
the shard's log. All apply the same entries in the same order, so all judge alike, and it does not
matter which gateways wrote meanwhile. The workers report the judgement (`common.state.judgements`)
before the position of the entry, so a gateway that waits for the position finds it.

A write has a token. If it comes into the log twice, since an answer of Redis was lost, or since the
caller has repeated its request, the first copy decides, and all get its judgement.

A merge reads the document, and writes the merged one on condition that it has not changed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple

from msgspec import json
from pydantic_core import from_json

from hedgerow.common.document_ids import check_address_id
from hedgerow.common.errors import (
    BadRequestError,
    NotFoundError,
    UnavailableError,
    VersionMismatchError,
)
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.document_version import ABSENT, version_of
from hedgerow.common.shard_log.judgement import Judgement
from hedgerow.common.state.judgements import JudgementStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.shapes.collection import Wait
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.condition import Condition, expected_version, new_token, token_of
from hedgerow.gateway.writes.document_body import stream_of
from hedgerow.gateway.writes.document_line import parse_changes
from hedgerow.gateway.writes.document_reader import DocumentReader
from hedgerow.gateway.writes.document_turns import DocumentTurns
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.load import LoadReport
from hedgerow.gateway.writes.merge_patch import merge_patch

LEVEL: Final = 1  # of `Heartbeat.writes`
_READ_MS: Final = 5_000.0  # for the read of a merge, unless the largest deadline is shorter


class Origin(NamedTuple):
    """Where a request comes from.

    Attributes:
        party: the owner of the write, by `Caller.party`.
        traceparent: the caller's trace; "" for none.
    """

    party: str = ""
    traceparent: str = ""


class ConditionalWrites:
    """Writes documents on a condition, and merges changes into them."""

    def __init__(
        self,
        documents: Documents,
        reader: DocumentReader,
        collections: Collections,
        judgements: JudgementStore,
        settings: Settings,
        num_shards: int,
        workers: Callable[[], Mapping[str, Heartbeat]],
    ) -> None:
        """Write through `documents`.

        Args:
            documents: the write path.
            reader: reads the documents that are merged.
            collections: the definitions.
            judgements: where the workers report how writes have ended.
            settings: limits and deadlines.
            num_shards: shards in the cluster.
            workers: the live workers' heartbeats.
        """
        self._documents = documents
        self._reader = reader
        self._collections = collections
        self._judgements = judgements
        self._num_shards = num_shards
        self._workers = workers
        self._limits = settings.limits
        self._timeout_s = settings.gateway.write_timeout_s
        self._read_ms = min(_READ_MS, settings.gateway.max_deadline_ms)
        self._turns = DocumentTurns()

    def take_over(self, former: "ConditionalWrites") -> None:
        """The shards were split into ours: `former` finds in them how its writes have ended."""
        former.move(self._judgements, self._num_shards, self._reader)

    def move(self, judgements: JudgementStore, num_shards: int, reader: DocumentReader) -> None:
        """Find judgements, and read documents, in other shards."""
        self._judgements, self._num_shards, self._reader = judgements, num_shards, reader

    async def put(
        self,
        collection: str,
        document_id: str,
        body: AsyncIterator[bytes],
        if_version: str,
        wait: Wait = "applied",
        *,
        request_id: str | None = None,
        origin: Origin = Origin(),  # noqa: B008 - frozen
    ) -> LoadReport:
        """Add or replace a document, if it has a certain version.

        Args:
            collection: the collection's name.
            document_id: the document's id.
            body: as for `Documents.put`.
            if_version: the version that it must have; "none" if it must not exist.
            wait: return when the write was judged by one replica ("logged"), or when all live
                replicas have applied it ("applied").
            request_id: identifies the request if it is repeated.
            origin: where it comes from.

        Raises:
            VersionMismatchError: it has another version; nothing was written.
            UnavailableError: a live worker does not know conditional writes, or it is not known
                whether the write was done.
            Others: as `Documents.put`.
        """
        expected = expected_version(if_version)
        content = b"".join([chunk async for chunk in _within(body, self._limits)])
        definition = await self._collections.current(collection)
        token = _token(request_id, "put", definition.uid, document_id, if_version, content)
        condition = Condition(expected, token)
        return await self._put(definition.name, document_id, content, condition, wait, origin)

    async def delete(
        self,
        collection: str,
        document_id: str,
        if_version: str,
        wait: Wait = "applied",
        *,
        request_id: str | None = None,
        origin: Origin = Origin(),  # noqa: B008 - frozen
    ) -> None:
        """Remove a document, if it has a certain version; arguments and errors as for `put`.

        Raises:
            BadRequestError: `if_version` is "none".
        """
        expected = expected_version(if_version)
        if expected == ABSENT:
            raise BadRequestError("if_version", "should be the version of a document to remove")
        check_address_id(document_id, self._limits.max_id_bytes)
        self._check_workers()
        definition = await self._collections.current(collection)
        token = _token(request_id, "delete", definition.uid, document_id, if_version)
        condition = Condition(expected, token)
        report = await self._documents.delete(
            definition.name, document_id, wait, origin.traceparent, condition=condition
        )
        await self._judge(definition.name, document_id, condition, report)

    async def patch(
        self,
        collection: str,
        document_id: str,
        body: bytes,
        wait: Wait = "applied",
        *,
        if_version: str | None = None,
        request_id: str | None = None,
        origin: Origin = Origin(),  # noqa: B008 - frozen
    ) -> LoadReport:
        """Merge changes into a document (`merge_patch`).

        Args:
            collection: the collection's name.
            document_id: the document's id.
            body: the changes, as a JSON object.
            wait: as for `put`.
            if_version: the version that it must have; None for any. Then the merge is done again
                with the new content if another write comes in between.
            request_id: as for `put`.
            origin: as for `put`.

        Raises:
            NotFoundError: there is no such document or collection.
            Others: as `put`.
        """
        expected = None if if_version is None else expected_version(if_version)
        if expected == ABSENT:
            raise BadRequestError("if_version", "should be the version of an existing document")
        check_address_id(document_id, self._limits.max_id_bytes)
        self._check_workers()
        definition = await self._collections.current(collection)
        patch = parse_changes(body, self._limits, definition.float_fields)
        shard = shard_of(document_id, self._num_shards)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._timeout_s
        request = "patch", definition.uid, document_id, if_version, body
        attempt = 0
        async with self._turns.turn((definition.uid, document_id)):
            while True:
                token = _token(request_id, *request, str(attempt))
                if request_id is not None:
                    known = await self._judgements.read(shard, token)
                    if known is not None and known.is_done:
                        return await self._done_before(known, wait, shard)
                try:
                    return await self._merge(
                        definition.name, document_id, patch, wait, expected, token, origin
                    )
                except VersionMismatchError:
                    if expected is not None:
                        raise
                    if loop.time() >= give_up_at:
                        raise UnavailableError(
                            f"other writers keep changing the document {document_id!r}; "
                            "nothing was written"
                        ) from None
                attempt += 1
                await self._documents.catch_up(shard)

    async def _done_before(self, known: Judgement, wait: Wait, shard: int) -> LoadReport:
        """The report of a request that is repeated, and was done the first time."""
        if wait == "applied":
            await self._documents.catch_up(shard)
        return LoadReport(1, is_applied=wait == "applied", version=known.version)

    async def _merge(
        self,
        collection: str,
        document_id: str,
        patch: Mapping[str, Any],
        wait: Wait,
        expected: str | None,
        token: str,
        origin: Origin,
    ) -> LoadReport:
        """Read the document, and write it with the changes, if it is still the same then."""
        stored = await self._read(collection, document_id, expected, origin)
        present = version_of(stored)
        if expected not in (None, present):
            raise mismatch(document_id, expected or "", present)
        content = json.encode(merge_patch(from_json(stored), patch))
        condition = Condition(present, token)
        return await self._put(collection, document_id, content, condition, wait, origin)

    async def _read(
        self, collection: str, document_id: str, expected: str | None, origin: Origin
    ) -> bytes:
        """Read a document; if it is not the expected one, again, since a replica may be behind."""

        async def read() -> bytes:
            found = await self._reader.stored(
                collection, document_id, self._read_ms, party=origin.party
            )
            found.lease.release()
            return found.body

        try:
            body = await read()
            if expected in (None, version_of(body)):
                return body
        except NotFoundError:
            pass
        await self._documents.catch_up(shard_of(document_id, self._num_shards))
        try:
            return await read()
        except NotFoundError:
            if expected is None:
                raise
            raise mismatch(document_id, expected, ABSENT) from None

    async def _put(
        self,
        collection: str,
        document_id: str,
        content: bytes,
        condition: Condition,
        wait: Wait,
        origin: Origin,
    ) -> LoadReport:
        self._check_workers()
        report = await self._documents.put(
            collection,
            document_id,
            stream_of(content),
            wait,
            party=origin.party,
            traceparent=origin.traceparent,
            condition=condition,
        )
        if report.set_aside:  # no replica could judge it
            return report
        judgement = await self._judge(collection, document_id, condition, report)
        report.version = judgement.version
        return report

    async def _judge(
        self, collection: str, document_id: str, condition: Condition, report: LoadReport
    ) -> Judgement:
        """Return how a logged write has ended, if it was done.

        Raises:
            VersionMismatchError: the document had another version.
            NotFoundError: the collection was removed meanwhile.
            UnavailableError: no replica has reported it in time.
        """

        async def find() -> Judgement | None:  # in other shards, if they are split meanwhile
            shard = shard_of(document_id, self._num_shards)
            return await self._judgements.read(shard, condition.token)

        shard = shard_of(document_id, self._num_shards)
        judgement = await self._documents.until_found(find, shard)
        self._documents.check_failover(report)
        if judgement is None:
            raise UnavailableError(
                f"the write is logged, but no replica of shard {shard} has said in time whether "
                "its condition held: read the document, or repeat the request with the same "
                "request_id"
            )
        if judgement.is_done:
            return judgement
        if judgement.version == condition.expected:
            raise NotFoundError(f"the collection {collection!r} was removed meanwhile")
        raise mismatch(document_id, condition.expected, judgement.version)

    def _check_workers(self) -> None:
        """Refuse what a live worker would stop at in the log.

        Raises:
            UnavailableError: names such a worker, or there is no live worker.
        """
        workers = self._workers()
        if not workers:
            raise UnavailableError("no worker is live that could judge the condition of a write")
        for worker, beat in workers.items():
            if beat.writes < LEVEL:
                raise UnavailableError(
                    f"worker {worker} has version {beat.version}, which does not know writes with "
                    "a condition; they are possible once every worker is upgraded"
                )


def mismatch(document_id: str, expected: str, present: str) -> VersionMismatchError:
    """The error for a document that has another version than expected."""
    if present == ABSENT:
        return VersionMismatchError(f"there is no document {document_id!r}", None)
    if expected == ABSENT:
        return VersionMismatchError(f"there is a document {document_id!r} already", present)
    return VersionMismatchError(
        f"the document {document_id!r} has version {present}, not {expected}", present
    )


def _token(request_id: str | None, *what: str | bytes | None) -> str:
    return new_token() if request_id is None else token_of(request_id, *what)


async def _within(body: AsyncIterator[bytes], limits: LimitSettings) -> AsyncIterator[bytes]:
    """Yield a body, but little beyond the limit of documents; the write path refuses that."""
    num_bytes = 0
    async for chunk in body:
        yield chunk
        num_bytes += len(chunk)
        if num_bytes > limits.max_document_bytes:
            return
