"""Runs the legs of a hybrid search at the same time, each as an ordinary search."""

import asyncio
from base64 import b64encode
from typing import Final

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import (
    EmbeddingError,
    ExpiredError,
    InsufficientCoverageError,
    UnavailableError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.common.tasks import all_of
from hedgerow.gateway.embedding.query_embedder import QueryEmbedder
from hedgerow.gateway.search.hybrid.leg_end import LegEnd
from hedgerow.gateway.search.hybrid.wanted import TEXT, VECTOR, Legs
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.searcher import Searcher

_LEAST_S: Final = 0.001  # no shard answers within less


class LegRunner:
    """Runs legs; what keeps a leg from answering leaves it out, and the other goes on."""

    def __init__(self, searcher: Searcher, embedder: QueryEmbedder) -> None:
        """Search with `searcher`, for vectors that `embedder` makes."""
        self._searcher = searcher
        self._embedder = embedder
        self._loop = asyncio.get_running_loop()

    async def run(
        self, legs: Legs, text: str, collection: Collection, started: float, deadline: float
    ) -> dict[str, LegEnd]:
        """Run both legs; returns when both have ended.

        Args:
            legs: what they ask for.
            text: what is to be embedded, if no vector was sent.
            collection: what is searched.
            started: when the search began, on the loop's clock.
            deadline: when the legs must have ended, on the same clock.

        Raises:
            BadRequestError: every shard says that the query is at fault.
        """
        by_text, by_vector = await all_of(
            (
                self.search(legs.text, collection, started, deadline),
                self._by_vector(legs, text, collection, started, deadline),
            )
        )
        return {TEXT: by_text, VECTOR: by_vector}

    async def search(
        self,
        query: SearchQuery,
        collection: Collection,
        started: float,
        deadline: float,
        embed_s: float | None = None,
    ) -> LegEnd:
        """Run one leg.

        Args:
            query: what it asks for; its deadline is not read.
            collection: what is searched.
            started: when the hybrid search began, on the loop's clock.
            deadline: when the leg must have ended.
            embed_s: how long its vector has taken.

        Raises:
            BadRequestError: every shard says that the query is at fault.
        """
        left_s = deadline - self._loop.time()
        if left_s < _LEAST_S:
            return self._left_out("no time was left for it", Outcome.TIMED_OUT, started, embed_s)
        query = replace(query, deadline_ms=left_s * 1000)
        try:
            result = await self._searcher.search(query, collection)
        except InsufficientCoverageError as error:
            # Of a leg, no minimum is demanded: no shard has answered.
            return LegEnd(error.result, self._loop.time() - started, embed_s, str(error))
        except UnavailableError as error:
            ended = self._left_out(str(error), Outcome.UNAVAILABLE, started, embed_s)
            return ended._replace(error=error)
        return LegEnd(result, self._loop.time() - started, embed_s)

    async def _by_vector(
        self, legs: Legs, text: str, collection: Collection, started: float, deadline: float
    ) -> LegEnd:
        query = legs.vector
        if not legs.embed:
            return await self.search(query, collection, started, deadline)
        try:
            query = await self.with_vector(query, legs.embed, text, collection, deadline)
        except ExpiredError as error:
            return self._left_out(str(error), Outcome.TIMED_OUT, started)
        except EmbeddingError as error:
            reason = f"the query's text could not be embedded: {error}"
            return self._left_out(reason, Outcome.FAILED, started)
        embed_s = self._loop.time() - started
        return await self.search(query, collection, started, deadline, embed_s)

    async def with_vector(
        self, query: SearchQuery, function: str, text: str, collection: Collection, deadline: float
    ) -> SearchQuery:
        """The search with the vector that a function makes of a text.

        Raises:
            ExpiredError: it was not ready by `deadline`.
            EmbeddingError: the function failed, or its vector is none of the field.
        """
        wanted = query.vector
        if wanted is None:
            return query
        party = query.caller.party(query.peer)
        made = await self._embedder.vector(function, text, party, deadline)
        try:
            collection.vectors[wanted.field].checked(made)
        except ValueError as error:
            raise EmbeddingError(f"{function} returned a vector that {error}") from None
        return replace(query, vector=replace(wanted, value=b64encode(made).decode()))

    def _left_out(
        self, reason: str, outcome: Outcome, started: float, embed_s: float | None = None
    ) -> LegEnd:
        return LegEnd(None, self._loop.time() - started, embed_s, reason, outcome)
