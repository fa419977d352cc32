"""Documents and collections of the gateway that answers from a script."""

import json
from collections.abc import AsyncIterator
from typing import Any

from hedgerow.common.collection import Collection, define
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory
from hedgerow.gateway.search.documents.fetch import StoredDocument
from hedgerow.gateway.shapes.alias import AliasChange
from hedgerow.gateway.shapes.answer import TotalHits
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryAnswer
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody
from hedgerow.gateway.views.json_bytes import encode
from hedgerow.gateway.writes.collection_list import ListedCollection
from hedgerow.gateway.writes.conditional_writes import Origin
from hedgerow.gateway.writes.load import LoadReport


class FakeCollections:
    """Collections in a dict."""

    def __init__(self, aliases: "FakeAliases") -> None:
        self.aliases = aliases
        self.defined: dict[str, dict[str, Any]] = {}
        self.error: Exception | None = None

    async def put(self, name: str, body: dict[str, Any]) -> object:
        """Define one, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.defined[name] = body
        return body

    async def add_fields(self, name: str, body: dict[str, Any]) -> object:
        """Add fields to one, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.defined[name].setdefault("fields", {}).update(body.get("fields", {}))
        return body

    async def drop(self, name: str) -> None:
        """Forget one, or raise `error`."""
        if self.error is not None:
            raise self.error
        del self.defined[name]

    def get(self, name: str) -> Collection:
        """Return the definition; a collection that was never defined has no fields yet."""
        return define(name, self.defined.get(name, {}), uid="u")

    async def describe(self, name: str) -> dict[str, Any]:
        """Describe one, or raise `error`."""
        if self.error is not None:
            raise self.error
        return {
            "name": name,
            "fields": self.defined[name].get("fields"),
            "rank_profile": "bm25",
            "rank_profiles": ["bm25", "noop"],
            "language": "english",
            "inferred": [],
            "folding": True,
            "documents": 3,
            "shards": [{"shard": 0, "documents": 1}, {"shard": 1, "documents": 2}],
            "filling": None,
        }

    def real_name(self, name: str) -> str:
        """Return what an alias stands for."""
        return self.aliases.there.get(name, name)

    async def list(self) -> list[ListedCollection]:
        """Describe all, with the JSON cut somewhere."""
        found = [(name, encode(await self.describe(name))) for name in self.defined]
        return [ListedCollection(name, body[:9], body[9:]) for name, body in found]


class FakeAliases:
    """Aliases in a dict."""

    def __init__(self) -> None:
        self.there: dict[str, str] = {}
        self.error: Exception | None = None

    async def refresh(self) -> dict[str, str]:
        """Return all, or raise `error`."""
        if self.error is not None:
            raise self.error
        return self.there

    def known(self) -> dict[str, str]:
        """Return all."""
        return self.there

    async def stored(self, name: str) -> str | None:
        """Return what an alias stands for."""
        return self.there.get(name)

    async def change(self, changes: list[AliasChange]) -> None:
        """Make changes, or raise `error`."""
        if self.error is not None:
            raise self.error
        for change in changes:
            if change.collection is None:
                del self.there[change.alias]
            else:
                self.there[change.alias] = change.collection


class FakeDocuments:
    """Takes loads in, and keeps what it was given."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, str, list[bytes]]] = []
        self.puts: list[tuple[str, str, Any, Any]] = []
        self.deleted: list[tuple[str, str, str]] = []
        self.error: Exception | None = None
        self.report = LoadReport(accepted=2, is_applied=True)

    async def load(
        self,
        collection: str,
        lines: AsyncIterator[bytes],
        wait: Any,
        *,
        party: str,
        traceparent: str,
    ) -> LoadReport:
        """Keep the load, or raise `error`."""
        chunks = [chunk async for chunk in lines if chunk]
        if self.error is not None:
            raise self.error
        self.loads.append((collection, wait, chunks))
        return self.report

    async def put(
        self,
        collection: str,
        document_id: str,
        body: AsyncIterator[bytes],
        wait: Any,
        *,
        party: str,
        traceparent: str,
    ) -> LoadReport:
        """Keep the document, or raise `error`."""
        document = b"".join([chunk async for chunk in body])
        if self.error is not None:
            raise self.error
        self.puts.append((collection, document_id, wait, json.loads(document)))
        return LoadReport(1, is_applied=wait == "applied")

    async def delete(
        self, collection: str, document_id: str, wait: Any, *, traceparent: str
    ) -> None:
        """Keep what was deleted, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.deleted.append((collection, document_id, wait))


class FakeConditionalWrites:
    """Keeps what it was given, as the documents' writes with a condition."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, str, str, Any, str, str | None, str | None]] = []
        self.error: Exception | None = None

    async def put(
        self,
        collection: str,
        document_id: str,
        body: AsyncIterator[bytes],
        if_version: str,
        wait: Any,
        *,
        request_id: str | None,
        origin: Origin,
    ) -> LoadReport:
        """Keep the document, or raise `error`."""
        document = json.loads(b"".join([chunk async for chunk in body]))
        return self._keep("put", collection, document_id, document, wait, if_version, request_id)

    async def patch(
        self,
        collection: str,
        document_id: str,
        body: bytes,
        wait: Any,
        *,
        if_version: str | None,
        request_id: str | None,
        origin: Origin,
    ) -> LoadReport:
        """Keep the changes, or raise `error`."""
        changes = json.loads(body)
        return self._keep("patch", collection, document_id, changes, wait, if_version, request_id)

    async def delete(
        self,
        collection: str,
        document_id: str,
        if_version: str,
        wait: Any,
        *,
        request_id: str | None,
        origin: Origin,
    ) -> None:
        """Keep what was deleted, or raise `error`."""
        self._keep("delete", collection, document_id, None, wait, if_version, request_id)

    def _keep(self, *write: Any) -> LoadReport:
        if self.error is not None:
            raise self.error
        self.writes.append(write)
        return LoadReport(1, is_applied=True, version="v" * 16)


class FakeDeleteByQuery:
    """Answers by a script; the last answer stays."""

    def __init__(self) -> None:
        self.answers = [
            DeleteByQueryAnswer(
                found=TotalHits(3, "eq"),
                deleted=3,
                complete=True,
                reason=None,
                missing_shards=[],
                dry_run=False,
                warnings=[],
            )
        ]
        self.asked: list[tuple[str, DeleteByQueryBody]] = []

    async def run(
        self,
        collection: str,
        body: DeleteByQueryBody,
        *,
        caller: Caller,
        peer: str,
        traceparent: str,
    ) -> DeleteByQueryAnswer:
        """Keep what was asked."""
        self.asked.append((collection, body))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class FakeExpiry:
    """Fields in a dict."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    async def set_field(self, collection: str, field: str) -> ExpiryAnswer:
        """Keep the field."""
        self.fields[collection] = field
        return ExpiryAnswer(field)

    async def get(self, collection: str) -> ExpiryAnswer:
        """Return the field."""
        return ExpiryAnswer(self.fields.get(collection))

    async def remove(self, collection: str) -> None:
        """Forget the field."""
        self.fields.pop(collection, None)


class FakeSynonyms:
    """Synonyms in a dict."""

    def __init__(self) -> None:
        self.bodies: dict[str, SynonymsBody] = {}

    async def get(self, name: str) -> SynonymsAnswer:
        """Return what was put last."""
        body = self.bodies.get(name, SynonymsBody())
        return SynonymsAnswer(len(self.bodies), body.groups, body.one_way)

    async def put(self, name: str, body: SynonymsBody) -> SynonymsAnswer:
        """Keep them."""
        self.bodies[name] = body
        return await self.get(name)

    async def remove(self, name: str) -> None:
        """Forget them."""
        self.bodies.pop(name, None)


class FakeReader:
    """Has one document, which may be an error to raise."""

    def __init__(self) -> None:
        self.document: dict[str, Any] | Exception = {"id": "a/b", "title": "t"}

    async def stored(
        self, collection: str, document_id: str, deadline_ms: float, *, party: str
    ) -> StoredDocument:
        """Return the document with what was asked."""
        if isinstance(self.document, Exception):
            raise self.document
        asked = {**self.document, "asked": [collection, document_id, deadline_ms]}
        return StoredDocument(json.dumps(asked).encode(), AnswerMemory(0).lease(party))

    def shown(self, _collection: str, body: bytes) -> bytes:
        """Show a document as it is stored."""
        return body
