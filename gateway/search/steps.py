"""Searches that take several steps, each with what is left of the time."""

import asyncio

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.gateway.search.documents.like_terms import Like, LikeTermsReader
from hedgerow.gateway.search.options.more_like import check_more_like
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.view import View
from hedgerow.gateway.shapes.more_like import MoreLike

_TERMS_SHARE = 0.5  # of the time, for the words of the document that others are to be like


def takes_steps(query: SearchQuery) -> bool:
    """Whether a search takes more than one step."""
    return query.more_like is not None


class SearchSteps:
    """Answers the searches that take several steps."""

    def __init__(self, searcher: Searcher, view: View, limits: QuerySettings) -> None:
        """Search with `searcher`, within limits."""
        self._searcher = searcher
        self._view = view
        self._limits = limits
        self._terms = LikeTermsReader(searcher.fetcher, view)
        self._loop = asyncio.get_running_loop()

    async def search(self, query: SearchQuery, collection: Collection) -> SearchResult:
        """As `Searcher.search`.

        Raises:
            NotFoundError: there is no document that others could be like.
            UnavailableError: its shard has not answered.
        """
        started = self._loop.time()
        step = query
        if query.more_like is not None:
            step = await self._with_terms(query, query.more_like, collection, started)
        try:
            result = await self._searcher.search(step, collection)
        except InsufficientCoverageError as error:
            whole = self._whole(query, error.result, started)
            raise InsufficientCoverageError(str(error), whole) from error
        return self._whole(query, result, started)

    async def _with_terms(
        self, query: SearchQuery, asked: MoreLike, collection: Collection, started: float
    ) -> SearchQuery:
        """The search for the words of a document."""
        wanted = check_more_like(query, asked, collection, self._limits, self._view.search_options)
        refusal = self._searcher.refusal_of(query, collection)
        if refusal is not None:
            raise refusal
        like = Like(collection, asked.id, query.caller.party(query.peer))
        deadline = started + query.deadline_ms / 1000 * _TERMS_SHARE
        terms = await self._terms.read(like, wanted, deadline)
        return replace(query, terms=terms, deadline_ms=self._left_ms(query, started))

    def _left_ms(self, query: SearchQuery, started: float) -> float:
        return max(0.001, query.deadline_ms - (self._loop.time() - started) * 1000)

    def _whole(self, query: SearchQuery, result: SearchResult, started: float) -> SearchResult:
        """The result, with the time of all steps."""
        took_ms = (self._loop.time() - started) * 1000
        return replace(result, took_ms=took_ms, deadline_ms=query.deadline_ms)
