"""Runs the searches of one batch: a few at a time, by one deadline, each as a single search."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from msgspec.structs import astuple, replace
from starlette.types import Scope

from hedgerow.common.errors import (
    BadRequestError,
    InsufficientCoverageError,
    OverloadedError,
    UnavailableError,
)
from hedgerow.common.tasks import run_together
from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.requests.guard import (
    admit_again,
    caller_of,
    party_of,
    peer_in,
    real_name_in,
    traceparent_in,
)
from hedgerow.gateway.http.search.search_app import search_problem
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.search_body import check_asks
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.batch import BatchAnswer, BatchResult
from hedgerow.gateway.shapes.faults import checked
from hedgerow.gateway.shapes.problem import Problem
from hedgerow.gateway.views.json_bytes import encode_shape

# Searches of one batch that are in flight at once, as many as the Python client's `search_many`
# has: the whole batch at once would fill the limit on queries in flight, and the shards' queues.
CONCURRENCY: Final = 8
# These refusals end as searches of the same caller do; the shards' backlog does not.
_OWN_CAUSES: Final = frozenset({"limit", "batch_share", "share"})


class Batch:
    """The searches of one batch, and their results.

    A search for which there is no room waits until another one of the batch has ended, and from
    then on the batch has one fewer in flight. It is refused if it is the only one.
    """

    def __init__(
        self,
        gateway: GatewayPort,
        scope: Scope,
        searches: list[Any],
        deadline_ms: float,
        kind: type[msgspec.Struct],
    ) -> None:
        """Search for the caller of a request.

        Args:
            gateway: answers.
            scope: of the request.
            searches: as they were read; not checked.
            deadline_ms: time from now for all of them, in ms.
            kind: the shape of a search.
        """
        self._gateway = gateway
        self._scope = scope
        self._caller = caller_of(scope)
        self._peer, self._traceparent = peer_in(scope), traceparent_in(scope)
        self._kind = kind
        self._now = asyncio.get_running_loop().time
        self._started = self._now()
        self._deadline_ms = deadline_ms
        self._lease = gateway.answer_lease(party_of(scope))
        self._waiting = deque(enumerate(searches))
        self._results: list[BatchResult] = [BatchResult()] * len(searches)
        self._num_workers = min(CONCURRENCY, len(searches))
        self._num_counted = 1  # searches that count for the key's rate; the request was the first

    async def run(self) -> tuple[bytes, Lease]:
        """Return the encoded answer, and its lease of the gateway's memory until it is sent."""
        try:
            # Not a `TaskGroup`: cancelled, it leaves a cycle that holds the whole request.
            if self._num_workers:
                await run_together(*(self._work() for _ in range(self._num_workers)))
        except BaseException:  # the client has left
            self._lease.release()  # at once, though a traceback may refer to it
            raise
        took_ms = round((self._now() - self._started) * 1000, 3)
        results, self._results = self._results, []
        return encode_shape(BatchAnswer(results, took_ms, self._deadline_ms)), self._lease

    async def _work(self) -> None:
        while self._waiting:
            place, given = self._waiting.popleft()
            try:
                result = BatchResult(answer=cast("SearchAnswer", await self._search(place, given)))
            except Exception as error:  # noqa: BLE001 - unexpected errors become problems too
                if self._may_find_room(error):
                    self._waiting.appendleft((place, given))
                    break
                result = BatchResult(problem=cast("Problem", self._problem(error)))
            self._results[place] = result
            await asyncio.sleep(0)  # a search that is refused does not wait for anything
        self._num_workers -= 1

    def _may_find_room(self, error: Exception) -> bool:
        is_own = isinstance(error, OverloadedError) and error.cause in _OWN_CAUSES
        return is_own and self._num_workers > 1

    async def _search(self, place: int, given: Any) -> msgspec.Raw:
        """Answer one search; the answer is encoded, so that no copy of its hits is kept."""
        try:
            query = self._query(place, given)
        except Exception as error:
            self._gateway.count_unread(self._caller.name, error)
            raise
        result = await self._gateway.search_held(query)
        body = encode_shape(result.answer())
        return self._kept(body, result.lease)

    def _query(self, place: int, given: Any) -> SearchQuery:
        """Check a search that is about to begin."""
        if place >= self._num_counted:  # and not again when it has waited for room
            self._num_counted = place + 1
            admit_again(self._scope)
        left_ms = self._deadline_ms - (self._now() - self._started) * 1000
        if left_ms <= 0:
            raise OverloadedError(
                f"the batch's deadline of {self._deadline_ms:g} ms passed before this search began",
                "deadline",
            )
        if not isinstance(given, Mapping):
            raise BadRequestError("searches", "should be JSON objects")
        search: Any = checked(self._kind, given)
        check_asks(search, lambda: given)
        real_name = real_name_in(self._scope, search.collection)
        self._caller.check(Right.SEARCH, search.collection, real_name)
        own_ms = left_ms if search.deadline_ms is None else min(search.deadline_ms, left_ms)
        search = replace(search, collection=real_name, deadline_ms=round(own_ms, 3) or own_ms)
        members = (*astuple(search), self._caller, self._peer, self._traceparent)
        return SearchQuery(*members)

    def _problem(self, error: Exception) -> msgspec.Raw:
        """Describe why a search has no answer."""
        found = bytes(search_problem(error, is_ready=self._gateway.is_ready).body)
        if not isinstance(error, InsufficientCoverageError):
            return msgspec.Raw(found)
        try:
            return self._kept(found, error.result.lease)  # with the hits that were found
        except UnavailableError as no_room:
            return self._problem(no_room)

    def _kept(self, body: bytes, lease: Lease | None) -> msgspec.Raw:
        """Count an encoded answer, instead of its documents, until the whole batch is sent.

        Unlike those of single searches, answers of any size count: admission control bounds the
        number of searches in flight, but these stay after their searches have ended.

        Raises:
            UnavailableError: there is no room for it.
        """
        if lease is not None:
            lease.release()
        if not self._lease.hold(len(body)):
            raise UnavailableError(
                f"the answer of {len(body)} bytes has no room in gateway.max_held_bytes beside the "
                "others; ask for fewer fields or hits, or send fewer searches in a batch"
            )
        return msgspec.Raw(body)
