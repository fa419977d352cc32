"""Reads one document from a shard that owns it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from hedgerow.common.document_ids import check_address_id
from hedgerow.common.errors import NotFoundError, UnavailableError
from hedgerow.common.fields.vectors import shown_form
from hedgerow.common.outcome import Outcome
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.documents.fetch import Fetcher, Refused, StoredDocument
from hedgerow.gateway.search.validation import check_deadline
from hedgerow.gateway.views.json_bytes import encode
from hedgerow.gateway.writes.collections import Collections


class LiveShards(Protocol):
    """Which shards are served."""

    @property
    def live(self) -> Sequence[bool]:
        """For each shard, whether a live worker serves it."""


class DocumentReader:
    """Reads documents one by one, each by a deadline of its own."""

    def __init__(
        self, fetcher: Fetcher, collections: Collections, shards: LiveShards, settings: Settings
    ) -> None:
        """Read documents of `collections` through `fetcher`."""
        self._fetcher = fetcher
        self._collections = collections
        self._shards = shards
        self._settings = settings
        self._loop = asyncio.get_running_loop()

    async def get(
        self, collection: str, document_id: str, deadline_ms: float | None = None
    ) -> dict[str, Any]:
        """Read one document.

        Args:
            collection: the collection's name.
            document_id: the document's id.
            deadline_ms: time from now within which the answer must be there, in ms; None for the
                default.

        Raises:
            BadRequestError: no document can have that id, or the deadline is out of its range.
            NotFoundError: there is no such collection or document.
            UnavailableError: its shard did not answer by the deadline.
        """
        stored = await self.stored(collection, document_id, deadline_ms)
        document: dict[str, Any] = from_json(self.shown(collection, stored.body))
        return document

    def shown(self, collection: str, body: bytes) -> bytes:
        """A document of a collection as it is stored, with its vectors as lists of numbers."""
        vectors = self._collections.get(collection).vectors
        if not vectors:
            return body
        document: dict[str, Any] = from_json(body)
        for name in vectors:
            if name in document:
                document[name] = shown_form(document[name])
        return encode(document)

    async def stored(
        self,
        collection: str,
        document_id: str,
        deadline_ms: float | None = None,
        *,
        party: str = "",
    ) -> StoredDocument:
        """Read one document, as JSON, on behalf of a party (`Caller.party`).

        The other arguments and the errors are those of `get`.
        """
        check_address_id(document_id, self._settings.limits.max_id_bytes)
        uid = self._collections.get(collection).uid
        live = self._shards.live
        shard = shard_of(document_id, len(live))
        if deadline_ms is None:
            deadline_ms = self._settings.gateway.default_deadline_ms
        check_deadline(deadline_ms, self._settings.gateway)
        deadline = self._loop.time() + deadline_ms / 1000
        if not live[shard]:
            raise UnavailableError(f"shard {shard} has no live worker")
        lease = self._fetcher.memory.lease(party)
        wanted = {shard: [document_id]}
        results = await self._fetcher.read(uid, wanted, None, "", deadline, lease)
        stored = _document_of(shard, results[shard], lease)
        if stored is None:
            raise NotFoundError(f"there is no document {document_id!r} in {collection!r}")
        return stored


def _document_of(shard: int, part: ShardResult, lease: Lease) -> StoredDocument | None:
    """Return the document that a shard was asked for; None if the shard does not have it.

    Raises:
        UnavailableError: the shard did not send it.
    """
    if part.outcome is not Outcome.OK:
        raise UnavailableError(f"shard {shard}: {part.reason}")
    if isinstance(part.body, Refused):
        raise UnavailableError(part.body.reason)
    match part.body.documents:
        case [bytes() as body]:
            return StoredDocument(body, lease)
        case [dict() as decoded]:  # from a worker of an earlier version
            return StoredDocument(to_json(decoded), lease)
        case [int(size)]:
            raise UnavailableError(
                f"the document has {size} bytes, more than its worker's limits.max_fetch_bytes"
            )
    return None
