"""What the HTTP interface needs of a gateway: `gateway.gateway.Gateway`, or a fake in tests."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from hedgerow.common.collection import Collection
from hedgerow.common.errors import OverloadedError
from hedgerow.common.metrics.exposition import TextFormat
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.live.live import Live
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.documents.fetch import StoredDocument
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.shapes.alias import AliasChange
from hedgerow.gateway.shapes.collection import LoadAnswer, Wait
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryAnswer
from hedgerow.gateway.shapes.reindex import ReindexAnswer, ReindexBody
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody
from hedgerow.gateway.writes.collection_list import ListedCollection
from hedgerow.gateway.writes.conditional_writes import Origin


class Report(Protocol):
    """The report of a bulk load."""

    def answer(self) -> LoadAnswer:
        """The report as an HTTP answer."""


class CollectionsPort(Protocol):
    """Definitions of collections."""

    async def put(self, name: str, body: dict[str, Any]) -> object:
        """Create a collection; does nothing if an identical one exists."""

    async def add_fields(self, name: str, body: dict[str, Any]) -> object:
        """Add fields to a collection."""

    async def drop(self, name: str) -> None:
        """Remove a collection with its documents."""

    def get(self, name: str) -> Collection:
        """The definition of a collection, or of what an alias stands for, as known here."""

    async def describe(self, name: str) -> dict[str, Any]:
        """One collection with its number of documents, as JSON."""

    async def list(self) -> Sequence[ListedCollection]:
        """Every collection, as by `describe`; encoded."""

    def real_name(self, name: str) -> str:
        """Name of the collection that an alias stands for; `name` itself if it is no alias."""


class AliasesPort(Protocol):
    """Aliases of collections."""

    async def refresh(self) -> Mapping[str, str]:
        """Alias → name of its collection, of all aliases, as stored now."""

    def known(self) -> Mapping[str, str]:
        """The same, as this gateway knows them."""

    async def stored(self, name: str) -> str | None:
        """Name of the collection that an alias stands for now; None if it is no alias."""

    async def change(self, changes: list[AliasChange]) -> None:
        """Make several changes in one step: all, or none."""


class SynonymsPort(Protocol):
    """Synonyms of collections."""

    async def get(self, name: str) -> SynonymsAnswer:
        """The synonyms of a collection."""

    async def put(self, name: str, body: SynonymsBody) -> SynonymsAnswer:
        """Replace the synonyms of a collection."""

    async def remove(self, name: str) -> None:
        """Remove the synonyms of a collection."""


class DocumentsPort(Protocol):
    """The write path."""

    async def load(
        self,
        collection: str,
        lines: AsyncIterator[bytes],
        wait: Wait,
        *,
        party: str,
        traceparent: str,
    ) -> Report:
        """Load NDJSON, cut anywhere; an invalid line does not stop the others."""

    async def put(
        self,
        collection: str,
        document_id: str,
        body: AsyncIterator[bytes],
        wait: Wait,
        *,
        party: str,
        traceparent: str,
    ) -> Report:
        """Load one document, whose body is cut anywhere."""

    async def delete(
        self, collection: str, document_id: str, wait: Wait, *, traceparent: str
    ) -> object:
        """Remove one document."""


class ConditionalWritesPort(Protocol):
    """Writes that depend on what the document is."""

    async def put(
        self,
        collection: str,
        document_id: str,
        body: AsyncIterator[bytes],
        if_version: str,
        wait: Wait,
        *,
        request_id: str | None,
        origin: Origin,
    ) -> Report:
        """Add or replace a document, if it has a certain version."""

    async def patch(
        self,
        collection: str,
        document_id: str,
        body: bytes,
        wait: Wait,
        *,
        if_version: str | None,
        request_id: str | None,
        origin: Origin,
    ) -> Report:
        """Merge changes into a document."""

    async def delete(
        self,
        collection: str,
        document_id: str,
        if_version: str,
        wait: Wait,
        *,
        request_id: str | None,
        origin: Origin,
    ) -> None:
        """Remove a document, if it has a certain version."""


class DeleteByQueryPort(Protocol):
    """Deletes by query."""

    async def run(
        self,
        collection: str,
        body: DeleteByQueryBody,
        *,
        caller: Caller,
        peer: str,
        traceparent: str,
    ) -> DeleteByQueryAnswer:
        """Delete what a query finds, or only count it."""


class ExpiryPort(Protocol):
    """When documents expire."""

    async def set_field(self, collection: str, field: str) -> ExpiryAnswer:
        """Have a collection's documents expire at the date in a field."""

    async def get(self, collection: str) -> ExpiryAnswer:
        """By which field they expire."""

    async def remove(self, collection: str) -> None:
        """Have them expire no longer."""


class ReaderPort(Protocol):
    """Reads single documents."""

    async def stored(
        self, collection: str, document_id: str, deadline_ms: float, *, party: str
    ) -> StoredDocument:
        """Return a document as it is stored."""

    def shown(self, collection: str, body: bytes) -> bytes:
        """See `DocumentReader.shown`."""


class SnapshotsPort(Protocol):
    """Snapshots of the shards."""

    async def create(self) -> dict[str, Any]:
        """Ask for a snapshot of every shard."""


class OptimiserPort(Protocol):
    """Optimising of text indexes."""

    async def ask(self, name: str) -> dict[str, Any]:
        """Ask every replica to optimise its index of a collection."""


class QuarantinePort(Protocol):
    """The queries that have killed scorers."""

    async def list(self) -> list[dict[str, Any]]:
        """All of them, as JSON."""

    async def lift(self, fingerprint: str) -> None:
        """Take a query out of quarantine."""


class PlacementPort(Protocol):
    """Which worker should serve which shard."""

    async def describe(self) -> dict[str, Any]:
        """The placement, and what moves, as JSON."""

    async def drain(self, worker: str) -> None:
        """Let a worker lose its shards."""

    async def cancel_drain(self, worker: str) -> None:
        """Let a worker keep its shards."""

    async def rebalance(self) -> dict[str, Any]:
        """Do not wait for lost workers any longer."""


class SplitsPort(Protocol):
    """Splits of the shards."""

    async def describe(self) -> dict[str, Any]:
        """The number of shards, and the split in progress, as JSON."""

    async def begin(self) -> dict[str, Any]:
        """Begin to double the number of shards."""

    async def cancel(self) -> dict[str, Any]:
        """Give up the split in progress."""


class ReindexesPort(Protocol):
    """The reindex of a collection."""

    async def describe(self) -> ReindexAnswer:
        """The last reindex."""

    async def begin(self, body: ReindexBody) -> ReindexAnswer:
        """Begin to copy a collection into another one, which then replaces it."""

    async def end(self, *, after_switch: bool) -> ReindexAnswer:
        """Cancel the reindex; or, after its switch, let the collections be independent."""


class ReloaderPort(Protocol):
    """The reload of rank profiles."""

    async def reload(self) -> dict[str, Any]:
        """Read them again, here and in every worker."""


class GatewayPort(Protocol):
    """The gateway as the routes see it."""

    @property
    def collections(self) -> CollectionsPort:
        """Definitions of collections."""

    @property
    def aliases(self) -> AliasesPort:
        """Aliases of collections."""

    @property
    def synonyms(self) -> SynonymsPort:
        """Synonyms of collections."""

    @property
    def documents(self) -> DocumentsPort:
        """The write path."""

    @property
    def conditional_writes(self) -> ConditionalWritesPort:
        """Writes that depend on what the document is."""

    @property
    def delete_by_query(self) -> DeleteByQueryPort:
        """Deletes by query."""

    @property
    def expiry(self) -> ExpiryPort:
        """When documents expire."""

    @property
    def reader(self) -> ReaderPort:
        """Reads single documents."""

    @property
    def snapshots(self) -> SnapshotsPort:
        """Snapshots of the shards."""

    @property
    def optimiser(self) -> OptimiserPort:
        """Optimising of text indexes."""

    @property
    def quarantine(self) -> QuarantinePort:
        """The queries that have killed scorers."""

    @property
    def placement(self) -> PlacementPort:
        """Which worker should serve which shard."""

    @property
    def splits(self) -> SplitsPort:
        """Splits of the shards."""

    @property
    def reindexes(self) -> ReindexesPort:
        """The reindex of a collection."""

    @property
    def live(self) -> Live:
        """The last minutes, and the viewers of what happens."""

    @property
    def reloader(self) -> ReloaderPort:
        """The reload of rank profiles."""

    @property
    def is_leaving(self) -> bool:
        """Whether the gateway is about to stop, and therefore not ready."""

    @property
    def is_ready(self) -> bool:
        """Whether Redis answers and at least one shard is live."""

    def refusal_of(self, query: SearchQuery) -> OverloadedError | None:
        """Return a refusal if there is no room for a query, or None."""

    def answer_lease(self, party: str) -> Lease:
        """Return a lease of the memory for answers, which holds nothing yet."""

    async def search_held(self, query: SearchQuery) -> SearchResult:
        """Answer by the deadline; the documents are accounted for until the lease is dropped."""

    async def status(self) -> dict[str, Any]:
        """The state of the whole cluster, as JSON."""

    @property
    def requests(self) -> RequestAdmission:
        """Admits requests that are neither searches nor bulk loads."""

    def callers(self) -> Mapping[str, Mapping[str, int]]:
        """Name of each key that was used → `in_flight`, and `refused` over its share."""

    async def metrics_text(self, form: TextFormat, keys: Sequence[Mapping[str, Any]]) -> bytes:
        """Write the metrics, those of `keys` included."""

    def count_unread(self, caller: str, error: BaseException) -> None:
        """Count a search that was refused before it was read; `caller` may be empty."""

    def coverage_curve(self, collection: str, deadline_ms: float) -> dict[str, Any]:
        """Return the coverage reached by each deadline."""

    async def set_breaker_everywhere(self, shard: int, state: str) -> None:
        """Set a shard's breaker by hand, in every gateway."""
