"""Deletes the documents that a query finds: searches and deletes in turns, until none is left.

Each turn deletes the hits of one search, and waits until all live replicas have applied that, so
that the next search finds others. What is deleted are documents by id: one that is written between
the search and its deletion is deleted as well.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from hedgerow.common.collection import Collection
from hedgerow.common.errors import (
    BadRequestError,
    InsufficientCoverageError,
    OverloadedError,
    UnavailableError,
)
from hedgerow.common.outcome import SEARCHED
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import ANONYMOUS, Caller
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.shapes.answer import ShardDetail, TotalHits
from hedgerow.gateway.shapes.delete_by_query import (
    DeleteByQueryAnswer,
    DeleteByQueryBody,
    MissingShard,
)
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents

_PROFILE: Final = "bm25"  # no ranking code of a user's, which could fail
_SEARCH_MS: Final = 5_000.0  # the deadline of each search, unless less time is left

Search = Callable[[SearchQuery, Collection], Awaitable[SearchResult]]


@dataclass
class _Deletion:
    """One request, and how far it has come.

    Attributes:
        definition: the collection's.
        body: what the caller wants.
        give_up_at: when its time is up, in s of the loop's clock.
        who: caller, and its address.
        traceparent: the caller's trace.
        num_deleted: documents whose deletion is logged.
        first: the first search; None before it.
        last: the last search.
        seen: ids that were found so far.
        is_short: whether the last search had less time than a search may have, since no more was
            left.
    """

    definition: Collection
    body: DeleteByQueryBody
    give_up_at: float
    who: tuple[Caller, str]
    traceparent: str
    num_deleted: int = 0
    first: SearchResult | None = None
    last: SearchResult | None = None
    seen: set[str] = field(default_factory=set)
    is_short: bool = False

    def take(self, result: SearchResult) -> dict[int, list[str]]:
        """Note a search; returns shard → ids of hits that no search before has found."""
        self.first = self.first or result
        self.last = result
        new: dict[int, list[str]] = {}
        for hit in result.hits:
            if hit.id not in self.seen:
                self.seen.add(hit.id)
                new.setdefault(hit.shard, []).append(hit.id)
        return new

    def query(self, max_k: int, max_ms: float, now: float) -> SearchQuery:
        """The next search; at least one document is left to delete."""
        body, (caller, peer) = self.body, self.who
        k = max_k if body.limit is None else min(max_k, body.limit - self.num_deleted)
        usual_ms, left_ms = min(_SEARCH_MS, max_ms), max(1.0, (self.give_up_at - now) * 1000)
        self.is_short = left_ms < usual_ms
        return SearchQuery(
            self.definition.name,
            body.query,
            k=1 if body.dry_run else k,
            deadline_ms=min(usual_ms, left_ms),
            rank_profile=_PROFILE,
            filter=body.filter,
            fields=False,
            syntax="strict",
            priority="batch",
            synonyms=False,
            caller=caller,
            peer=peer,
        )

    def answer(self, reason: str) -> DeleteByQueryAnswer:
        """The answer; `reason` is why it has ended early, "" if it has not."""
        first, last = self.first, self.last
        missing = [] if last is None else [one for one in last.detail if not _is_ok(one)]
        if missing and not reason:
            reason = "shards were not searched"
        return DeleteByQueryAnswer(
            found=TotalHits(0, "gte") if first is None else first.total_hits,
            deleted=self.num_deleted,
            complete=not reason and not self.body.dry_run,
            reason=reason or None,
            missing_shards=[MissingShard(one.shard, one.outcome, one.reason) for one in missing],
            dry_run=self.body.dry_run,
            warnings=[] if first is None else list(first.warnings),
        )


class DeleteByQuery:
    """Deletes by query, through the searches and the write path of one gateway."""

    def __init__(
        self,
        documents: Documents,
        collections: Collections,
        search: Search,
        settings: GatewaySettings,
    ) -> None:
        """Delete from `collections` by `documents` what `search` finds."""
        self._documents = documents
        self._collections = collections
        self._search = search
        self._max_k = settings.max_k
        self._timeout_s = settings.write_timeout_s
        self._max_deadline_ms = settings.max_deadline_ms
        self._max_query_chars = settings.max_query_chars
        self._now = asyncio.get_running_loop().time

    async def run(
        self,
        collection: str,
        body: DeleteByQueryBody,
        *,
        caller: Caller = ANONYMOUS,
        peer: str = "",
        traceparent: str = "",
    ) -> DeleteByQueryAnswer:
        """Delete what a query finds, or only count it.

        Args:
            collection: the collection's name.
            body: the query, and how far to go.
            caller: who asks.
            peer: the caller's address.
            traceparent: the caller's trace; "" for none.

        Returns:
            How many were found and deleted, whether any may be left, and why.

        Raises:
            NotFoundError: there is no such collection.
            BadRequestError: the query is at fault, or may find other documents than it seems to.
            InsufficientCoverageError: no shard has answered the first search, in as much time as a
                search may have.
            UnavailableError: no shard could be asked.
        """
        self._check(body)
        definition = await self._collections.current(collection)
        timeout_s = self._timeout_s if body.timeout_ms is None else body.timeout_ms / 1000
        give_up_at = self._now() + min(timeout_s, self._timeout_s)
        deletion = _Deletion(definition, body, give_up_at, (caller, peer), traceparent)
        reason: str | None = None
        while reason is None:
            try:
                reason = await self._turn(deletion)
            except OverloadedError as error:  # its search was refused; others come first
                wait_s = min(error.retry_after_s, max(0.0, give_up_at - self._now()))
                await asyncio.sleep(wait_s)
                if self._now() >= give_up_at and deletion.first is None:
                    raise
            except InsufficientCoverageError as error:
                if deletion.is_short:
                    reason = "the time is up"
                elif deletion.first is None:
                    raise
                else:
                    reason = str(error)
            except UnavailableError as error:
                if deletion.first is None:
                    raise
                reason = str(error)
            if reason is None and self._now() >= give_up_at:
                reason = "the time is up"
        return deletion.answer(reason)

    async def _turn(self, deletion: _Deletion) -> str | None:
        """Search once, and delete the hits.

        Returns:
            None if there may be more; "" if nothing is left, and else why it has to end.
        """
        query = deletion.query(self._max_k, self._max_deadline_ms, self._now())
        result = await self._search(query, deletion.definition)
        new = deletion.take(result)
        if deletion.body.dry_run:
            return ""
        if result.warnings:
            raise BadRequestError("query", f"deletes nothing, since {'; '.join(result.warnings)}")
        if not new:
            return "documents that were deleted are written again" if result.hits else ""
        ends = await self._documents.delete_many(deletion.definition, new, deletion.traceparent)
        deletion.num_deleted += sum(map(len, new.values()))
        await self._documents.wait_applied(ends)
        is_enough = deletion.num_deleted == deletion.body.limit
        return "the limit is reached" if is_enough else None

    def _check(self, body: DeleteByQueryBody) -> None:
        for name, text in (("query", body.query), ("filter", body.filter)):
            if len(text) > self._max_query_chars:
                raise BadRequestError(
                    name, f"should have at most {self._max_query_chars} characters"
                )


def _is_ok(detail: ShardDetail) -> bool:
    return detail.outcome in SEARCHED
