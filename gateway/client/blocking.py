"""The client for blocking code: its connections, and searches; other modules have the rest."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, Self, Unpack, overload

from hedgerow.common.errors import HedgerowError
from hedgerow.gateway.client import batch_calls, calls
from hedgerow.gateway.client.batch_calls import BatchSearch
from hedgerow.gateway.client.blocking_collections import Collections
from hedgerow.gateway.client.blocking_documents import Documents
from hedgerow.gateway.client.blocking_operations import Operations
from hedgerow.gateway.client.calls import SearchOptions
from hedgerow.gateway.client.link import CONNECT_TIMEOUT_S, DEFAULT_URL, MARGIN_S, Link, Verify
from hedgerow.gateway.client.many import CONCURRENCY, Answers, ask_many
from hedgerow.gateway.client.network.blocking import BlockingNetwork
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.collection import CurveAnswer
from hedgerow.gateway.shapes.suggest import SuggestAnswer

if TYPE_CHECKING:
    import httpx

    from hedgerow.gateway.client.httpx_transport import HttpxTransport


class Client(Documents, Collections, Operations):
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
            BadRequestError: the token cannot be sent, or a wait is no time.
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

    def search(
        self, collection: str, query: str = "", **options: Unpack[SearchOptions]
    ) -> SearchAnswer:
        """Search a collection; a partial answer is an answer, and its `coverage` says so.

        Args:
            collection: the collection's name.
            query: the query, in tantivy's query language; none in a search by `vector`.
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

    def search_batch(
        self, searches: Iterable[BatchSearch], *, deadline_ms: float | None = None
    ) -> list[SearchAnswer | HedgerowError]:
        """Send several searches, of any collections, in one request with one deadline.

        Args:
            searches: each with its collection, its query, and the options of `search`.
            deadline_ms: time within which the whole answer leaves the gateway, in ms; the
                gateway's default if None. A search has what is left of it when it begins.

        Returns:
            For each search, in order, its answer, or the error that `search` would have raised.
        """
        return self._ask(batch_calls.search_batch(searches, deadline_ms))

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


def _way_of(link: Link, transport: "httpx.BaseTransport") -> "HttpxTransport":
    from hedgerow.gateway.client.httpx_transport import (  # noqa: PLC0415 - httpx is slow to load
        HttpxTransport,
    )

    return HttpxTransport(link, transport)
