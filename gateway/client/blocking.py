"""The client for blocking code."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from hedgerow.common.errors import HedgerowError, UnavailableError
from hedgerow.gateway.client import calls
from hedgerow.gateway.client.calls import Call, Definition, SearchOptions, VersionedDocument
from hedgerow.gateway.client.link import CONNECT_TIMEOUT_S, DEFAULT_URL, MARGIN_S, Link, Verify
from hedgerow.gateway.client.many import CONCURRENCY, Answers, ask_many
from hedgerow.gateway.client.ndjson import Document, chunks
from hedgerow.gateway.client.network.blocking import BlockingNetwork
from hedgerow.gateway.client.reply import Reply
from hedgerow.gateway.shapes.alias import AliasAnswer
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.collection import (
    CollectionAnswer,
    CurveAnswer,
    LoadAnswer,
    OptimiseAnswer,
    Wait,
)
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryAnswer
from hedgerow.gateway.shapes.operations import (
    ByHand,
    QuarantinedQuery,
    ReloadAnswer,
    SnapshotAnswer,
)
from hedgerow.gateway.shapes.placement import PlacementAnswer, RebalanceAnswer
from hedgerow.gateway.shapes.split import SplitAnswer
from hedgerow.gateway.shapes.status import StatusAnswer
from hedgerow.gateway.shapes.suggest import SuggestAnswer

if TYPE_CHECKING:
    import httpx

    from hedgerow.gateway.client.httpx_transport import HttpxTransport

T = TypeVar("T")


class Client:
    """Talks to one gateway over persistent connections; usable from several threads.

    Every method raises an error of common.errors with the gateway's message:

        BadRequestError: the request is invalid; names the field and the reason.
        UnauthorizedError: the token is missing or wrong.
        NotFoundError: there is no such collection or document.
        OverloadedError: more is asked than can be answered in time; says when to try again.
        UnavailableError: the cluster cannot answer now, or there is no gateway at the URL.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        margin_s: float = MARGIN_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        verify: Verify = True,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        """Prepare to talk to a gateway; sends nothing yet.

        Args:
            url: the gateway's URL.
            token: bearer token, if the gateway requires one.
            margin_s: how much longer than a query's deadline to wait for its answer, in s.
            connect_timeout_s: longest wait for a connection, in s.
            verify: how the certificate of an https URL is checked: against the authorities that
                the system trusts (True), those in a PEM file (its path), not at all (False), or as
                an ssl.SSLContext says.
            transport: an httpx transport to use instead of the network, in tests.

        Raises:
            UnavailableError: `url` is not a URL.
            BadRequestError: the token cannot be sent.
        """
        link = Link(url.rstrip("/"), token, margin_s, connect_timeout_s, verify)
        self._way = BlockingNetwork(link) if transport is None else _way_of(link, transport)

    def __enter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._way.close()

    def search(self, collection: str, query: str, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """Search a collection; a partial answer is an answer, and its `coverage` says so.

        Args:
            collection: the collection's name.
            query: the query, in tantivy's query language.
            options: `k`, `deadline_ms`, `filter` and the others of `SearchOptions`.

        Raises:
            InsufficientCoverageError: fewer documents were searched than `minimum_coverage`
                demands, or no shard answered; its `result` is the partial SearchAnswer.
            OverloadedError: no shard was asked; `retry_after_s` says when to try again.
        """
        return self._ask(calls.search(collection, query, options))

    @overload
    def search_many(
        self,
        collection: str,
        queries: Iterable[str],
        *,
        concurrency: int = CONCURRENCY,
        return_errors: Literal[False] = False,
        **options: Unpack[SearchOptions],
    ) -> list[SearchAnswer]: ...

    @overload
    def search_many(
        self,
        collection: str,
        queries: Iterable[str],
        *,
        concurrency: int = CONCURRENCY,
        return_errors: Literal[True],
        **options: Unpack[SearchOptions],
    ) -> list[SearchAnswer | HedgerowError]: ...

    def search_many(
        self,
        collection: str,
        queries: Iterable[str],
        *,
        concurrency: int = CONCURRENCY,
        return_errors: bool = False,
        **options: Unpack[SearchOptions],
    ) -> Answers:
        """Search a collection for many queries; the answers are in the queries' order.

        Args:
            collection: the collection's name.
            queries: the queries, each with its own deadline from when it is sent.
            concurrency: maximum number in flight at once.
            return_errors: whether to return the error of a failed query in its place, and continue.
                If not, no further query is sent after the first error, those in flight are awaited
                (`AsyncClient` cancels them), and the error is raised.
            options: as for `search`, for all queries.

        Raises:
            HedgerowError: a query has failed, as in `search`, and `return_errors` is False.
        """
        return ask_many(
            lambda query: self.search(collection, query, **options),
            queries,
            concurrency,
            return_errors=return_errors,
        )

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
            BadRequestError: a document cannot be encoded as JSON. Those before it are loaded.
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

    def set_expiry(self, collection: str, field: str) -> ExpiryAnswer:
        """Have a collection's documents expire at the date that each has in a field.

        Raises:
            NotFoundError: there is no such collection.
            BadRequestError: it has no date field of that name.
        """
        return self._ask(calls.set_expiry(collection, field))

    def get_expiry(self, collection: str) -> ExpiryAnswer:
        """Return by which field a collection's documents expire, if they do."""
        return self._ask(calls.get_expiry(collection))

    def delete_expiry(self, collection: str) -> None:
        """Have a collection's documents expire no longer."""
        self._ask(calls.delete_expiry(collection))

    def put_collection(self, name: str, **definition: Unpack[Definition]) -> CollectionAnswer:
        """Create a collection; no effect if it exists with the same definition.

        Args:
            name: the collection's name.
            definition: `fields`, `rank_profile` and `language`, see `Definition`.

        Raises:
            ConflictError: it exists with another definition.
        """
        return self._ask(calls.put_collection(name, definition))

    def add_fields(
        self, name: str, fields: Mapping[str, str | Mapping[str, Any]]
    ) -> CollectionAnswer:
        """Add fields to a collection; the workers fill them from the stored documents.

        Args:
            name: the collection's name.
            fields: the fields to add, as in `Definition`; those that it has must be the same.

        Returns:
            The collection; `filling` is the progress, also of later calls of `get_collection`.

        Raises:
            NotFoundError: there is no collection of that name.
            ConflictError: a field has another type already, or the collection has no fields yet.
        """
        return self._ask(calls.add_fields(name, fields))

    def get_collection(self, name: str) -> CollectionAnswer:
        """Describe a collection.

        Raises:
            NotFoundError: there is no collection of that name.
        """
        return self._ask(calls.get_collection(name))

    def list_collections(self) -> list[CollectionAnswer]:
        """Describe all collections."""
        return self._ask(calls.list_collections())

    def delete_collection(self, name: str) -> None:
        """Remove a collection with its documents.

        Raises:
            NotFoundError: there is no collection of that name.
        """
        self._ask(calls.delete_collection(name))

    def list_aliases(self) -> list[AliasAnswer]:
        """Return the aliases, each with the collection that it stands for."""
        return self._ask(calls.list_aliases())

    def change_aliases(self, changes: Mapping[str, str | None]) -> list[AliasAnswer]:
        """Set and remove several aliases in one step: all, or none.

        Args:
            changes: alias → name of its collection from now on; None to remove the alias.

        Returns:
            All aliases.

        Raises:
            NotFoundError: there is no such collection, or an alias to be removed does not exist.
            ConflictError: a collection has the name of an alias, or there would be too many.
        """
        return self._ask(calls.change_aliases(changes))

    def get_alias(self, alias: str) -> AliasAnswer:
        """Return which collection an alias stands for.

        Raises:
            NotFoundError: there is no such alias.
        """
        return self._ask(calls.get_alias(alias))

    def put_alias(self, alias: str, collection: str) -> AliasAnswer:
        """Make an alias stand for a collection, whatever it stood for before.

        Raises:
            NotFoundError: there is no such collection.
            ConflictError: a collection has the name of the alias, or there are too many aliases.
        """
        return self._ask(calls.put_alias(alias, collection))

    def delete_alias(self, alias: str) -> None:
        """Remove an alias; its collection stays.

        Raises:
            NotFoundError: there is no such alias.
        """
        self._ask(calls.delete_alias(alias))

    def coverage_curve(self, collection: str, *, deadline_ms: float | None = None) -> CurveAnswer:
        """Return the coverage that longer or shorter deadlines would give."""
        return self._ask(calls.coverage_curve(collection, deadline_ms))

    def suggest(
        self,
        collection: str,
        prefix: str,
        *,
        field: str,
        size: int = 10,
        deadline_ms: float | None = None,
    ) -> SuggestAnswer:
        """Suggest texts for the beginning of a query.

        Args:
            collection: the collection's name.
            prefix: what was typed; its last word may be unfinished.
            field: the text field whose texts are suggested.
            size: most suggestions, at most 100.
            deadline_ms: time within which the answer leaves the gateway, in ms.

        Raises:
            InsufficientCoverageError: no shard answered.
            OverloadedError: no shard was asked; `retry_after_s` says when to try again.
        """
        return self._ask(calls.suggest(collection, prefix, field, size, deadline_ms))

    def status(self) -> StatusAnswer:
        """Return the state of the cluster as this gateway sees it."""
        return self._ask(calls.status())

    def is_alive(self) -> bool:
        """Return whether the gateway answers."""
        with suppress(UnavailableError):
            return self._ask(calls.is_alive())
        return False

    def is_ready(self) -> bool:
        """Return whether the gateway and its Redis answer, and a shard has a live worker."""
        with suppress(UnavailableError):
            return self._ask(calls.is_ready())
        return False

    def set_breaker(self, shard: int, state: ByHand) -> None:
        """Set a shard's breaker by hand, in all gateways; "closed" ends that."""
        self._ask(calls.set_breaker(shard, state))

    def optimise(self, collection: str) -> OptimiseAnswer:
        """Ask the workers to optimise a collection's indexes; the status says when it is done."""
        return self._ask(calls.optimise(collection))

    def create_snapshots(self) -> SnapshotAnswer:
        """Ask the workers for a snapshot of every shard; the status says when each is made."""
        return self._ask(calls.create_snapshots())

    def reload(self) -> ReloadAnswer:
        """Have the rank profiles read again, once every worker has checked them.

        Raises:
            ConflictError: a profile cannot be used, and all stays as it was; says where and why.
        """
        return self._ask(calls.reload())

    def list_quarantine(self) -> list[QuarantinedQuery]:
        """List the queries that have killed scorers."""
        return self._ask(calls.list_quarantine())

    def lift_quarantine(self, fingerprint: str) -> None:
        """Take a query out of quarantine, so that it may run again.

        Raises:
            NotFoundError: the query is not in quarantine.
        """
        self._ask(calls.lift_quarantine(fingerprint))

    def get_placement(self) -> PlacementAnswer:
        """Show which worker should serve which shard, and what moves."""
        return self._ask(calls.get_placement())

    def drain_worker(self, worker: str) -> None:
        """Let other workers take over a worker's shards; `get_placement` says when it is drained.

        Raises:
            NotFoundError: there is no such worker.
            ConflictError: its shards are pinned.
        """
        self._ask(calls.drain_worker(worker))

    def cancel_drain(self, worker: str) -> None:
        """Let a worker keep its shards, and get others.

        Raises:
            NotFoundError: the worker is not draining.
        """
        self._ask(calls.cancel_drain(worker))

    def rebalance(self) -> RebalanceAnswer:
        """Balance the shards without waiting for lost workers."""
        return self._ask(calls.rebalance())

    def get_split(self) -> SplitAnswer:
        """Show the number of shards, and how far their split is."""
        return self._ask(calls.get_split())

    def begin_split(self) -> SplitAnswer:
        """Begin to double the number of shards; `get_split` says when that is done.

        Raises:
            ConflictError: a split is in progress, or a process cannot take part in one.
        """
        return self._ask(calls.begin_split())

    def cancel_split(self) -> SplitAnswer:
        """Give up the split in progress.

        Raises:
            NotFoundError: there is none.
            ConflictError: the new shards are about to take over, or have done so.
        """
        return self._ask(calls.cancel_split())

    def exchange(self, call: Call[Any], content: Iterable[bytes] | None = None) -> Reply:
        """Send a call, and return its raw reply, from which `call.read` makes the answer.

        Args:
            call: a call from gateway.client.calls.
            content: the body, if it is produced while it is sent.

        Raises:
            UnavailableError: no gateway answers in time.
        """
        return self._way.send(call, content)

    def _ask(self, call: Call[T]) -> T:
        return call.read(self._way.send(call))


def _way_of(link: Link, transport: "httpx.BaseTransport") -> "HttpxTransport":
    from hedgerow.gateway.client.httpx_transport import (  # noqa: PLC0415 - httpx is slow to load
        HttpxTransport,
    )

    return HttpxTransport(link, transport)
