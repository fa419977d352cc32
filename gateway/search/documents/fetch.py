"""Reads the winners' documents from the shards that own them, after the merge.

Most documents are attached to the replies to the search (`attaching`); this reads the others.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET
from pydantic_core import to_json

from hedgerow.common.outcome import Outcome
from hedgerow.common.runtime.alarms import Alarms
from hedgerow.common.wire.messages import (
    FetchBody,
    FetchPayload,
    Kind,
    pack_body,
    unpack_fetch_body,
)
from hedgerow.common.wire.search_options import Highlighting, WantedTerms
from hedgerow.gateway.policies.latency import FetchReserve
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory, Lease
from hedgerow.gateway.search.documents.fetch_walk import FetchWalk
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.hedger import Hedger
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.search.scatter import Scatter
from hedgerow.gateway.shapes.answer import Fetch, FetchProblem
from hedgerow.gateway.transport.messenger import Messenger

Document = bytes | int | dict[str, Any] | None  # as in `FetchBody`


class Refused(msgspec.Struct, frozen=True):
    """Takes the place of a reply's body that was not unpacked, and says why."""

    reason: str
    enrich_error: str = ""
    highlight_error: str = ""
    highlights: tuple[bytes | None, ...] = ()
    is_enrich_late: bool = False
    documents: tuple[Document, ...] = ()


class StoredDocument(NamedTuple):
    """One document's JSON; it counts as held until the lease is dropped."""

    body: bytes
    lease: Lease


class Fetcher:
    """The second scatter of a query, which asks only the owners of the top k.

    Attributes:
        hedger: sends second copies of late requests.
        memory: the memory that the documents of all answers hold.
        reserve: how much of a deadline to keep for the fetch, learnt from the recent past.
    """

    def __init__(
        self, messenger: Messenger, hedger: Hedger, memory: AnswerMemory, max_answer_bytes: int
    ) -> None:
        """Fetch over `messenger`, with second copies by `hedger`.

        The documents of an answer have at most `max_answer_bytes`; `memory` counts those of all
        answers.
        """
        self.hedger = hedger
        self.memory = memory
        self.reserve = FetchReserve()
        self._max_answer_bytes = max_answer_bytes
        self._messenger = messenger
        self._loop = asyncio.get_running_loop()
        self._alarms = Alarms()

    def is_within_answer(self, num_bytes: int) -> bool:
        """Whether documents of this size fit into one answer."""
        return num_bytes <= self._max_answer_bytes

    async def fill(
        self,
        hits: Sequence[Hit],
        uid: str,
        fields: list[str] | None,
        profile: str,
        deadline: float,
        lease: Lease,
        trace: bytes | None = None,
        walks: list[FetchWalk] | None = None,
        *,
        vectors: tuple[str, ...] = (),
        highlighting: Highlighting | None = None,
    ) -> Fetch:
        """Give the hits those of their documents that arrive by `deadline`, on the loop's clock.

        Args:
            hits: the winners, best first. Hits that have their documents are not fetched. A hit
                gets none if its fetch fails or is late, or if the document does not fit into the
                answer after those of better hits.
            uid: the collection's unique id.
            fields: the requested fields; None for all.
            profile: the rank profile whose `enrich` runs; "" for none.
            deadline: when the query must be answered.
            lease: the answer's part of the gateway's memory.
            trace: the context that the workers get, packed; None for none.
            walks: gets how the fetch went, if one is needed.
            vectors: the collection's vector fields, as in `Attach`.
            highlighting: what to mark in the documents; None for nothing.
        """
        answer = _Answer(self._max_answer_bytes)
        by_shard: dict[int, list[Hit]] = {}
        for hit in hits:
            if isinstance(hit.stored, msgspec.Raw):
                answer.add(hit.stored)
            else:
                by_shard.setdefault(hit.shard, []).append(hit)
        if not by_shard:
            answer.trim(hits)
            return answer.report(len(hits))
        started = self._loop.time()
        wanted = {shard: [hit.id for hit in group] for shard, group in by_shard.items()}
        results = await self.read(
            uid,
            wanted,
            fields,
            profile,
            deadline,
            lease,
            trace,
            walks,
            vectors=vectors,
            highlighting=highlighting,
        )
        for shard, group in sorted(by_shard.items()):
            answer.add_part(shard, group, results[shard])
        answer.trim(hits)
        is_late = any(
            part.outcome is Outcome.TIMED_OUT
            or (part.outcome is Outcome.OK and part.body.is_enrich_late)
            for part in results.values()
        )
        if is_late or all(part.outcome is Outcome.OK for part in results.values()):
            self.reserve.record(self._loop.time() - started, is_late=is_late)
        return answer.report(len(hits))

    async def read(
        self,
        uid: str,
        wanted: dict[int, list[str]],
        fields: list[str] | None,
        profile: str,
        deadline: float,
        lease: Lease,
        trace: bytes | None = None,
        walks: list[FetchWalk] | None = None,
        *,
        vectors: tuple[str, ...] = (),
        highlighting: Highlighting | None = None,
        terms: WantedTerms | None = None,
    ) -> dict[int, ShardResult]:
        """Ask each shard for its documents.

        Args:
            uid: the collection's unique id.
            wanted: shard → ids of its documents.
            fields: the requested fields; None for all.
            profile: the rank profile whose `enrich` runs; "" for none.
            deadline: until when to wait, on the loop's clock.
            lease: the answer's part of the gateway's memory.
            trace: the context that the workers get, packed; None for none.
            walks: gets how it went.
            vectors: as in `fill`; without any, documents are as they are stored.
            highlighting: what to mark in the documents; None for nothing.
            terms: which of their words to read instead of them; None to read them.

        Returns:
            How each shard's part ended; the bodies are `FetchBody`s, or `Refused`.
        """
        gather = Gather(wanted, partial(_unpack, lease), self._alarms)
        scatter = Scatter(
            Kind.FETCH, self._messenger, gather, self._loop.time(), deadline, trace=trace
        )
        try:
            if gather.num_open:
                sent = []
                for shard, ids in wanted.items():
                    payload = pack_body(
                        FetchPayload(uid, ids, fields, profile, vectors, highlighting, terms)
                    )
                    sent.append(scatter.send(scatter.request(payload), (shard,)))
                self.hedger.watch(sent)
                await gather.wait(deadline)
        finally:
            scatter.close()
            self.hedger.learn(gather, now := self._loop.time())
            if walks is not None:
                walks.append(FetchWalk(gather, now))
        return gather.results


def drop_fields(hits: Sequence[Hit]) -> None:
    """Take the documents from hits for which they were read for the highlights alone."""
    for hit in hits:
        hit.stored = None


class _Answer:
    """Puts documents into one answer's hits, within the answer's limit."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._num_fetched = 0
        self._problems: list[tuple[int, str]] = []
        self._num_refused = 0
        self._left_out: list[int] = []  # for each document that its shard left out, the shard
        self._trimmed: list[int] = []  # for each document beyond this answer's limit, its shard

    def add_part(self, shard: int, hits: Sequence[Hit], part: ShardResult) -> None:
        """Add the documents of these hits from the ended part of their shard."""
        if part.outcome is not Outcome.OK:
            self._problems.append((shard, part.reason))
            return
        body: FetchBody | Refused = part.body
        if isinstance(body, Refused):
            self._problems.append((shard, body.reason))
            self._num_refused += len(hits)
            return
        self._problems += [
            (shard, problem) for problem in (body.enrich_error, body.highlight_error) if problem
        ]
        if len(body.documents) != len(hits):
            reason = "malformed reply: not as many documents as requested"
            self._problems.append((shard, reason))
            return
        for hit, marked in zip(hits, body.highlights, strict=False):
            if marked is not None:
                hit.marked = msgspec.Raw(marked)
                self._num_bytes += len(marked)
        for hit, document in zip(hits, body.documents, strict=True):
            if type(document) is bytes:
                stored = document
            elif type(document) is dict:
                stored = to_json(document)
            else:
                self._miss(hit, is_gone=document is None)
                continue
            hit.stored = msgspec.Raw(stored)
            self.add(hit.stored)

    def add(self, stored: msgspec.Raw) -> None:
        """Count the document of a hit."""
        self._num_bytes += len(memoryview(stored))
        self._num_fetched += 1

    def _miss(self, hit: Hit, *, is_gone: bool) -> None:
        if is_gone:
            self._problems.append((hit.shard, f"document {hit.id!r} is gone"))
        else:
            self._left_out.append(hit.shard)

    def trim(self, hits: Sequence[Hit]) -> None:
        """Remove the documents that exceed the answer's limit; better hits keep theirs first."""
        if self._num_bytes <= self._max_bytes:
            return
        left_bytes = self._max_bytes
        for hit in hits:
            if not isinstance(hit.stored, msgspec.Raw):
                continue
            num_bytes = len(bytes(hit.stored))
            if isinstance(hit.marked, msgspec.Raw):
                num_bytes += len(bytes(hit.marked))
            if num_bytes <= left_bytes:
                left_bytes -= num_bytes
            else:
                hit.stored, hit.marked = None, UNSET
                self._trimmed.append(hit.shard)

    def report(self, num_hits: int) -> Fetch:
        """Return how many hits have their documents, and why the others do not."""
        for shards, limit in ((self._left_out, _SHARD), (self._trimmed, _ANSWER)):
            if shards:
                for shard, count in sorted(Counter(shards).items()):
                    self._problems.append((shard, f"{_documents(count)} left out: {limit}"))
        num_trimmed = len(self._trimmed)
        num_fetched = self._num_fetched - num_trimmed
        num_left_out = len(self._left_out) + num_trimmed + self._num_refused
        num_missing = num_hits - num_fetched
        problems = [FetchProblem(shard, reason) for shard, reason in self._problems]
        return Fetch(num_fetched, num_missing, num_left_out, problems)


_SHARD = "the shard's reply reached its limit, limits.max_fetch_bytes"
_ANSWER = "the answer reached its limit, gateway.max_answer_bytes"
_HELD = (
    "the gateway has no room for this shard's documents: answers that clients have not read yet "
    "hold this caller's share of gateway.max_held_bytes"
)


def _documents(count: int) -> str:
    return "1 document was" if count == 1 else f"{count} documents were"


def _unpack(lease: Lease, data: bytes) -> FetchBody | Refused:
    return unpack_fetch_body(data) if lease.take(len(data)) else Refused(_HELD)
