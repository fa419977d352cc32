"""The client for asyncio; `Client` describes the methods."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from hedgerow.common.errors import HedgerowError, UnavailableError
from hedgerow.gateway.client import batch_calls, calls
from hedgerow.gateway.client.batch_calls import BatchSearch
from hedgerow.gateway.client.calls import Call, Definition, SearchOptions, VersionedDocument
from hedgerow.gateway.client.link import CONNECT_TIMEOUT_S, DEFAULT_URL, MARGIN_S, Link, Verify
from hedgerow.gateway.client.many import CONCURRENCY, Answers, ask_many_async
from hedgerow.gateway.client.ndjson import Document, chunks_of
from hedgerow.gateway.client.network.asynchronous import AsyncNetwork
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
from hedgerow.gateway.shapes.reindex import ReindexAnswer
from hedgerow.gateway.shapes.split import SplitAnswer
from hedgerow.gateway.shapes.status import StatusAnswer
from hedgerow.gateway.shapes.suggest import SuggestAnswer
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer

if TYPE_CHECKING:
    import httpx

    from hedgerow.gateway.client.httpx_transport import AsyncHttpxTransport

T = TypeVar("T")


class AsyncClient:
    """Talks to one gateway over persistent connections; belongs to one event loop.

    Cancelling the task of a query ends the query in every shard too. Errors are those of `Client`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        margin_s: float = MARGIN_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        verify: Verify = True,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        """Prepare to talk to a gateway, as `Client` does."""
        link = Link(url.rstrip("/"), token, margin_s, connect_timeout_s, verify)
        self._way = AsyncNetwork(link) if transport is None else _way_of(link, transport)

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._way.close()

    async def search(
        self, collection: str, query: str = "", **options: Unpack[SearchOptions]
    ) -> SearchAnswer:
        """As `Client.search`."""
        return await self._ask(calls.search(collection, query, options))

    @overload
    async def search_many(
        self,
        collection: str,
        queries: Iterable[str],
        *,
        concurrency: int = CONCURRENCY,
        return_errors: Literal[False] = False,
        **options: Unpack[SearchOptions],
    ) -> list[SearchAnswer]: ...

    @overload
    async def search_many(
        self,
        collection: str,
        queries: Iterable[str],
        *,
        concurrency: int = CONCURRENCY,
        return_errors: Literal[True],
        **options: Unpack[SearchOptions],
    ) -> list[SearchAnswer | HedgerowError]: ...

    async def search_many(
        self,
        collection: str,
        queries: Iterable[str],
        *,
        concurrency: int = CONCURRENCY,
        return_errors: bool = False,
        **options: Unpack[SearchOptions],
    ) -> Answers:
        """As `Client.search_many`."""
        return await ask_many_async(
            lambda query: self.search(collection, query, **options),
            queries,
            concurrency,
            return_errors=return_errors,
        )

    async def search_batch(
        self, searches: Iterable[BatchSearch], *, deadline_ms: float | None = None
    ) -> list[SearchAnswer | HedgerowError]:
        """As `Client.search_batch`."""
        return await self._ask(batch_calls.search_batch(searches, deadline_ms))

    async def index(
        self,
        collection: str,
        documents: Iterable[Document] | AsyncIterable[Document],
        *,
        wait: Wait = "applied",
        timeout_s: float = calls.WRITE_TIMEOUT_S,
    ) -> LoadAnswer:
        """As `Client.index`; an iterable that blocks would block the loop."""
        call = calls.index(collection, wait, timeout_s)
        async with aclosing(chunks_of(documents)) as content:
            return call.read(await self.exchange(call, content))

    async def get_document(
        self, collection: str, document_id: str, *, deadline_ms: float | None = None
    ) -> dict[str, Any]:
        """As `Client.get_document`."""
        return await self._ask(calls.get_document(collection, document_id, deadline_ms))

    async def get_versioned(
        self, collection: str, document_id: str, *, deadline_ms: float | None = None
    ) -> VersionedDocument:
        """As `Client.get_versioned`."""
        return await self._ask(calls.get_versioned(collection, document_id, deadline_ms))

    async def put_document(
        self,
        collection: str,
        document_id: str,
        document: Document,
        *,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> LoadAnswer:
        """As `Client.put_document`."""
        call = calls.put_document(collection, document_id, document, wait, if_version, request_id)
        return await self._ask(call)

    async def patch_document(
        self,
        collection: str,
        document_id: str,
        changes: Document,
        *,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> LoadAnswer:
        """As `Client.patch_document`."""
        call = calls.patch_document(collection, document_id, changes, wait, if_version, request_id)
        return await self._ask(call)

    async def delete_document(
        self,
        collection: str,
        document_id: str,
        *,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """As `Client.delete_document`."""
        call = calls.delete_document(collection, document_id, wait, if_version, request_id)
        await self._ask(call)

    async def delete_by_query(
        self,
        collection: str,
        query: str,
        *,
        filter: str = "",  # noqa: A002 - as a search calls it
        limit: int | None = None,
        timeout_ms: float | None = None,
        dry_run: bool = False,
    ) -> DeleteByQueryAnswer:
        """As `Client.delete_by_query`."""
        body = DeleteByQueryBody(query, filter, limit, timeout_ms, dry_run)
        return await self._ask(calls.delete_by_query(collection, body))

    async def set_expiry(self, collection: str, field: str) -> ExpiryAnswer:
        """As `Client.set_expiry`."""
        return await self._ask(calls.set_expiry(collection, field))

    async def get_expiry(self, collection: str) -> ExpiryAnswer:
        """As `Client.get_expiry`."""
        return await self._ask(calls.get_expiry(collection))

    async def put_synonyms(
        self,
        collection: str,
        groups: Sequence[Sequence[str]] = (),
        one_way: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> SynonymsAnswer:
        """As `Client.put_synonyms`."""
        return await self._ask(calls.put_synonyms(collection, groups, one_way))

    async def get_synonyms(self, collection: str) -> SynonymsAnswer:
        """As `Client.get_synonyms`."""
        return await self._ask(calls.get_synonyms(collection))

    async def delete_synonyms(self, collection: str) -> None:
        """As `Client.delete_synonyms`."""
        await self._ask(calls.delete_synonyms(collection))

    async def delete_expiry(self, collection: str) -> None:
        """As `Client.delete_expiry`."""
        await self._ask(calls.delete_expiry(collection))

    async def put_collection(self, name: str, **definition: Unpack[Definition]) -> CollectionAnswer:
        """As `Client.put_collection`."""
        return await self._ask(calls.put_collection(name, definition))

    async def add_fields(
        self, name: str, fields: Mapping[str, str | Mapping[str, Any]]
    ) -> CollectionAnswer:
        """As `Client.add_fields`."""
        return await self._ask(calls.add_fields(name, fields))

    async def get_collection(self, name: str) -> CollectionAnswer:
        """As `Client.get_collection`."""
        return await self._ask(calls.get_collection(name))

    async def list_collections(self) -> list[CollectionAnswer]:
        """As `Client.list_collections`."""
        return await self._ask(calls.list_collections())

    async def delete_collection(self, name: str) -> None:
        """As `Client.delete_collection`."""
        await self._ask(calls.delete_collection(name))

    async def list_aliases(self) -> list[AliasAnswer]:
        """As `Client.list_aliases`."""
        return await self._ask(calls.list_aliases())

    async def change_aliases(self, changes: Mapping[str, str | None]) -> list[AliasAnswer]:
        """As `Client.change_aliases`."""
        return await self._ask(calls.change_aliases(changes))

    async def get_alias(self, alias: str) -> AliasAnswer:
        """As `Client.get_alias`."""
        return await self._ask(calls.get_alias(alias))

    async def put_alias(self, alias: str, collection: str) -> AliasAnswer:
        """As `Client.put_alias`."""
        return await self._ask(calls.put_alias(alias, collection))

    async def delete_alias(self, alias: str) -> None:
        """As `Client.delete_alias`."""
        await self._ask(calls.delete_alias(alias))

    async def coverage_curve(
        self, collection: str, *, deadline_ms: float | None = None
    ) -> CurveAnswer:
        """As `Client.coverage_curve`."""
        return await self._ask(calls.coverage_curve(collection, deadline_ms))

    async def suggest(
        self,
        collection: str,
        prefix: str,
        *,
        field: str,
        size: int = 10,
        deadline_ms: float | None = None,
    ) -> SuggestAnswer:
        """As `Client.suggest`."""
        return await self._ask(calls.suggest(collection, prefix, field, size, deadline_ms))

    async def status(self) -> StatusAnswer:
        """As `Client.status`."""
        return await self._ask(calls.status())

    async def is_alive(self) -> bool:
        """As `Client.is_alive`."""
        with suppress(UnavailableError):
            return await self._ask(calls.is_alive())
        return False

    async def is_ready(self) -> bool:
        """As `Client.is_ready`."""
        with suppress(UnavailableError):
            return await self._ask(calls.is_ready())
        return False

    async def set_breaker(self, shard: int, state: ByHand) -> None:
        """As `Client.set_breaker`."""
        await self._ask(calls.set_breaker(shard, state))

    async def optimise(self, collection: str) -> OptimiseAnswer:
        """As `Client.optimise`."""
        return await self._ask(calls.optimise(collection))

    async def create_snapshots(self) -> SnapshotAnswer:
        """As `Client.create_snapshots`."""
        return await self._ask(calls.create_snapshots())

    async def reload(self) -> ReloadAnswer:
        """As `Client.reload`."""
        return await self._ask(calls.reload())

    async def list_quarantine(self) -> list[QuarantinedQuery]:
        """As `Client.list_quarantine`."""
        return await self._ask(calls.list_quarantine())

    async def lift_quarantine(self, fingerprint: str) -> None:
        """As `Client.lift_quarantine`."""
        await self._ask(calls.lift_quarantine(fingerprint))

    async def get_placement(self) -> PlacementAnswer:
        """As `Client.get_placement`."""
        return await self._ask(calls.get_placement())

    async def drain_worker(self, worker: str) -> None:
        """As `Client.drain_worker`."""
        await self._ask(calls.drain_worker(worker))

    async def cancel_drain(self, worker: str) -> None:
        """As `Client.cancel_drain`."""
        await self._ask(calls.cancel_drain(worker))

    async def rebalance(self) -> RebalanceAnswer:
        """As `Client.rebalance`."""
        return await self._ask(calls.rebalance())

    async def get_split(self) -> SplitAnswer:
        """As `Client.get_split`."""
        return await self._ask(calls.get_split())

    async def begin_split(self) -> SplitAnswer:
        """As `Client.begin_split`."""
        return await self._ask(calls.begin_split())

    async def cancel_split(self) -> SplitAnswer:
        """As `Client.cancel_split`."""
        return await self._ask(calls.cancel_split())

    async def get_reindex(self) -> ReindexAnswer:
        """As `Client.get_reindex`."""
        return await self._ask(calls.get_reindex())

    async def begin_reindex(
        self, old: str, new: str, alias: str, *, skip_faulty: bool = False
    ) -> ReindexAnswer:
        """As `Client.begin_reindex`."""
        return await self._ask(calls.begin_reindex(old, new, alias, skip_faulty=skip_faulty))

    async def end_reindex(self, *, after_switch: bool = False) -> ReindexAnswer:
        """As `Client.end_reindex`."""
        return await self._ask(calls.end_reindex(after_switch=after_switch))

    async def exchange(self, call: Call[Any], content: AsyncIterator[bytes] | None = None) -> Reply:
        """As `Client.exchange`."""
        return await self._way.send(call, content)

    async def _ask(self, call: Call[T]) -> T:
        return call.read(await self._way.send(call))


def _way_of(link: Link, transport: "httpx.AsyncBaseTransport") -> "AsyncHttpxTransport":
    from hedgerow.gateway.client.httpx_transport import (  # noqa: PLC0415 - httpx is slow to load
        AsyncHttpxTransport,
    )

    return AsyncHttpxTransport(link, transport)
