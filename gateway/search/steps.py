"""Searches that take several steps, each with what is left of the time."""

import asyncio
from collections import Counter
from itertools import islice

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import (
    BadRequestError,
    HedgerowError,
    InsufficientCoverageError,
    raise_if,
)
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.tasks import all_of
from hedgerow.common.wire.search_options import LikeTerms, Slip
from hedgerow.gateway.search.documents.like_terms import Like, LikeTermsReader
from hedgerow.gateway.search.options.did_you_mean import (
    forms_in,
    to_correct,
    with_word,
    written_as,
)
from hedgerow.gateway.search.options.more_like import check_more_like
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.view import View
from hedgerow.gateway.shapes.highlighting import Highlight
from hedgerow.gateway.shapes.more_like import MoreLike

_DOCUMENTS_LOOKED_AT = 50  # for how they write a word
_TERMS_SHARE = 0.5  # of the time, for the words of the document that others are to be like


def takes_steps(query: SearchQuery) -> bool:
    """Whether a search takes more than one step."""
    return query.more_like is not None or query.did_you_mean


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
            BadRequestError: as there, and for members that do not apply together.
            NotFoundError: there is no document that others could be like.
            UnavailableError: its shard has not answered.
        """
        self._check(query)
        started = self._loop.time()
        step = query
        if query.more_like is not None:
            step = await self._with_terms(query, query.more_like, collection, started)
        try:
            result = await self._searcher.search(step, collection)
        except InsufficientCoverageError as error:
            whole = self._whole(query, error.result, started)
            raise InsufficientCoverageError(str(error), whole) from error
        if result.slips:
            corrected = await self._corrected(query, collection, result, started)
            if corrected is not None:
                result = replace(result, did_you_mean=corrected)
        return self._whole(query, result, started)

    async def _corrected(
        self, query: SearchQuery, collection: Collection, result: SearchResult, started: float
    ) -> str | None:
        """The query with misspelt words corrected; None if it does not find more, or in no time."""
        slips = to_correct(result.slips, result.total_hits.value)
        # Not a `TaskGroup`: if the caller leaves, it leaves a cycle that holds the whole request.
        found_forms = iter(
            await all_of(
                self._forms(query, collection, slip, term, started)
                for slip in slips
                for term, _ in slip.candidates
            )
        )
        text = query.query
        for slip in slips:
            counts = list(islice(found_forms, len(slip.candidates)))
            if (word := written_as(slip, counts)) is not None:
                text = with_word(text, slip.word, word)
        if text == query.query:
            return None
        check = replace(
            self._bare(query, collection, started),
            query=text,
            filter=query.filter,
            rank_profile=query.rank_profile,
            syntax=query.syntax,
            typos=query.typos,
            prefix=query.prefix,
            synonyms=query.synonyms,
            refine=query.refine,
        )
        try:
            found = await self._searcher.search(check, collection)
        except HedgerowError:
            return None
        return text if found.total_hits.value > result.total_hits.value else None

    async def _forms(
        self, query: SearchQuery, collection: Collection, slip: Slip, term: str, started: float
    ) -> Counter[str]:
        """How documents write a word that may have been meant for a misspelt one."""
        search = replace(
            self._bare(query, collection, started),
            rank_profile="bm25",
            k=_DOCUMENTS_LOOKED_AT,
            terms=LikeTerms("", ((slip.field, term),)),
            highlight=Highlight(snippet_chars=1),
        )
        try:
            found = await self._searcher.search(search, collection)
        except HedgerowError:  # there is no room or no time
            return Counter()
        return forms_in(found.hits)

    def _bare(self, query: SearchQuery, collection: Collection, started: float) -> SearchQuery:
        """A search for the same caller, with what is left of the time."""
        return SearchQuery(
            collection.name,
            k=1,
            deadline_ms=self._left_ms(query, started),
            fields=False,
            priority=query.priority,
            caller=query.caller,
            peer=query.peer,
            traceparent=query.traceparent,
        )

    def _check(self, query: SearchQuery) -> None:
        for name in ("vector", "hybrid"):
            if getattr(query, name) is not None:
                raise BadRequestError(
                    "more_like" if query.more_like is not None else "did_you_mean",
                    f"does not apply with {name}",
                )

    async def _with_terms(
        self, query: SearchQuery, asked: MoreLike, collection: Collection, started: float
    ) -> SearchQuery:
        """The search for the words of a document."""
        wanted = check_more_like(query, asked, collection, self._limits, self._view.search_options)
        raise_if(self._searcher.refusal_of(query, collection))
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
