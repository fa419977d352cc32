"""The blocking client's methods about documents."""

from collections.abc import Iterable
from typing import Any

from hedgerow.gateway.client import calls
from hedgerow.gateway.client.blocking_exchange import Exchange
from hedgerow.gateway.client.calls import VersionedDocument
from hedgerow.gateway.client.ndjson import Document, chunks
from hedgerow.gateway.shapes.collection import LoadAnswer, Wait
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody


class Documents(Exchange):
    """The methods about documents."""

    def index(
        self,
        collection: str,
        documents: Iterable[Document],
        *,
        wait: Wait = "applied",
        timeout_s: float = calls.WRITE_TIMEOUT_S,
    ) -> LoadAnswer:
        """Load any number of documents: they are sent as they are taken from the iterable.

        Args:
            collection: the collection's name; it must exist.
            documents: mappings with an `id`, or lines of JSON as text or bytes. If the shards fall
                behind, the gateway slows the load down.
            wait: "applied" returns when the documents can be found, "logged" when they are safe.
            timeout_s: longest single wait, in s; at least the gateway's `write_timeout_s`.

        Raises:
            LoadInterruptedError: it could not continue; its `report` says what is safe.
            BadRequestError: a document cannot be encoded as JSON. As with an error of the iterable,
                some of those before it may be loaded: load all again.
        """
        call = calls.index(collection, wait, timeout_s)
        return call.read(self.exchange(call, chunks(documents)))

    def get_document(
        self, collection: str, document_id: str, *, deadline_ms: float | None = None
    ) -> dict[str, Any]:
        """Return a document as it was loaded.

        Raises:
            NotFoundError: the document or the collection does not exist.
        """
        return self._ask(calls.get_document(collection, document_id, deadline_ms))

    def get_versioned(
        self, collection: str, document_id: str, *, deadline_ms: float | None = None
    ) -> VersionedDocument:
        """Return a document as it was loaded, and its version.

        Raises:
            NotFoundError: the document or the collection does not exist.
        """
        return self._ask(calls.get_versioned(collection, document_id, deadline_ms))

    def put_document(
        self,
        collection: str,
        document_id: str,
        document: Document,
        *,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> LoadAnswer:
        """Add a document, or replace the one with the same id.

        Args:
            collection: the collection's name; it must exist.
            document_id: the document's id.
            document: as for `index`; it may lack its `id`.
            wait: "applied" returns when the document can be found, "logged" when it is safe.
            if_version: write only if the document has this version; "none": if it does not exist.
            request_id: names the request, so that it can be sent again if its answer is lost.

        Raises:
            BadRequestError: the document cannot be used, or has another `id`.
            VersionMismatchError: it has another version; nothing was written.
            LoadInterruptedError: it could not be logged, or was not applied in time.
        """
        call = calls.put_document(collection, document_id, document, wait, if_version, request_id)
        return self._ask(call)

    def patch_document(
        self,
        collection: str,
        document_id: str,
        changes: Document,
        *,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> LoadAnswer:
        """Change some members of a document, by a JSON merge patch (RFC 7396).

        Args:
            collection: the collection's name.
            document_id: the document's id.
            changes: member → new value; None removes it, and a mapping changes it in the same way.
            wait: as for `put_document`.
            if_version: change only this version; any if left out.
            request_id: as for `put_document`.

        Raises:
            NotFoundError: the document does not exist.
            Others: as `put_document`.
        """
        call = calls.patch_document(collection, document_id, changes, wait, if_version, request_id)
        return self._ask(call)

    def delete_document(
        self,
        collection: str,
        document_id: str,
        *,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Remove a document; it is not an error if it does not exist.

        Args:
            collection: the collection's name.
            document_id: the document's id.
            wait: as for `put_document`.
            if_version: remove only this version.
            request_id: as for `put_document`.

        Raises:
            VersionMismatchError: it has another version than `if_version`, or does not exist.
        """
        self._ask(calls.delete_document(collection, document_id, wait, if_version, request_id))

    def delete_by_query(
        self,
        collection: str,
        query: str,
        *,
        filter: str = "",  # noqa: A002 - as a search calls it
        limit: int | None = None,
        timeout_ms: float | None = None,
        dry_run: bool = False,
    ) -> DeleteByQueryAnswer:
        """Delete the documents that a query finds; the answer says whether any may be left.

        Args:
            collection: the collection's name.
            query: the query; "*" for all documents.
            filter: query that the documents must match too.
            limit: delete at most this many; all if left out.
            timeout_ms: stop after this time, in ms; by default after the gateway's write_timeout_s.
            dry_run: only count what would be deleted.

        Raises:
            BadRequestError: the query is at fault, or may find other documents than it seems to.
            UnavailableError: no shard could be searched.
        """
        body = DeleteByQueryBody(query, filter, limit, timeout_ms, dry_run)
        return self._ask(calls.delete_by_query(collection, body))
