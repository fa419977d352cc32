"""Late replies: which queries let their shards run on, and what the curves learn from them.

A query that is learnt from may let its requests expire a while after its deadline, so that workers
answer late instead of not at all. No caller waits for these replies: the answer leaves by the
deadline, and breakers and hedging see a shard that has timed out. They only tell the curves of
coverage how much longer it would have taken.

What that costs is bounded twice: each request runs on for a set share of its deadline at most, and
the requests that do are a set share of all that were sampled, so that under an overload, when
every shard is late, nearly all work ends at the deadline. Whether a query may be late is decided
before it is sent, from what earlier ones have cost: chosen by what became of it, the slow ones
would be missing from the curve. What is cancelled (enough was covered, the caller has left) ends at
once and is known to have taken longer than it ran, no more.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.tail import CoverageSettings
from hedgerow.common.wire.messages import Reply, Status
from hedgerow.gateway.policies.shard_result import NO_TIME, ShardResult
from hedgerow.gateway.search.coverage.curve import CoverageCurve, LateReplies
from hedgerow.gateway.search.ended_search import EndedSearch
from hedgerow.gateway.search.guards.breakers import QUERY_FAULT_CODES

BURST: Final = 100  # late parts that are waited for after a time without any

_OK: Final = Outcome.OK
_STATUS_OK: Final = Status.OK.value
_STATUS_FAILED: Final = Status.FAILED.value
_MORE_TIME_HELPS: Final = (Outcome.TIMED_OUT, Outcome.CANCELLED)


class CoverageCurves:
    """The curve of each collection, learnt from the queries that a gateway has sampled."""

    def __init__(self, settings: CoverageSettings, uids: Callable[[], Iterable[str]]) -> None:
        """Know nothing yet; `uids` are those of the collections that there are."""
        self._factor = settings.late_reply_factor
        self._max_load = settings.max_late_load
        self._uids = uids
        self._curves: dict[str, CoverageCurve] = {}
        self._late = LateReplies()
        self._tokens = float(BURST)
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """How many collections have a curve."""
        return len(self._curves)

    def late_ms(self, deadline_ms: float) -> int:
        """For how long after its deadline a query that starts now may let its shards run on.

        Args:
            deadline_ms: from the query's start to its deadline, in ms.
        """
        return int(deadline_ms * self._factor) if self._max_load and self._tokens > 0 else 0

    def on_end(self, ended: EndedSearch, counts: Sequence[int | None]) -> None:
        """A query has ended that is one to learn from.

        Args:
            ended: the query.
            counts: of each shard, the documents that it last reported; None if it never did.
        """
        parts, now = ended.results, ended.ended_at
        self._tokens = min(self._tokens + self._max_load * len(ended.gather.asked), BURST)
        if any(_says_nothing(part) for part in parts.values()):
            return
        documents = _documents(counts, parts)
        missing, num_never, is_cancelled = {}, 0, False
        for shard, number in enumerate(documents):
            part = parts.get(shard)
            if part is None or part.outcome not in (_OK, *_MORE_TIME_HELPS):
                num_never += number
            elif part.outcome is not _OK:
                missing[shard] = number
                is_cancelled = is_cancelled or part.outcome is Outcome.CANCELLED
        is_late = ended.late_s > 0 and not is_cancelled
        if is_late:
            self._tokens -= len(missing)
        self._late.on_end(
            ended.request.query_id,
            self._curve_of(ended.search.payload.uid),
            [(part.took_s, documents[at]) for at, part in parts.items() if part.outcome is _OK],
            missing,
            num_never,
            started=ended.sent_at,
            overhead_s=ended.overhead_s,
            until=ended.deadline + ended.late_s if is_late else now,
            now=now,
        )

    def on_late(self, reply: Reply) -> None:
        """A reply has come that no caller waits for."""
        now = self._loop.time()
        if reply.status == _STATUS_FAILED:
            self._late.on_failed(reply.query_id, reply.shard, now)
        else:
            is_ok = reply.status == _STATUS_OK
            self._late.on_late(reply.query_id, reply.shard, now, is_ok=is_ok)

    def curve(self, uid: str) -> CoverageCurve:
        """A collection's curve as of now; one that knows nothing before its first query."""
        self._late.expire(self._loop.time())
        return self._curves.get(uid) or CoverageCurve()

    def _curve_of(self, uid: str) -> CoverageCurve:
        curve = self._curves.get(uid)
        if curve is None:
            # With each collection that comes, those that have gone are forgotten.
            known = set(self._uids())
            self._curves = {one: kept for one, kept in self._curves.items() if one in known}
            curve = self._curves[uid] = CoverageCurve()
        return curve


def _says_nothing(part: ShardResult) -> bool:
    """Whether a query would have ended so with any deadline, or has not even begun."""
    return part.code == NO_TIME or (
        part.outcome is Outcome.FAILED and part.code in QUERY_FAULT_CODES
    )


def _documents(counts: Sequence[int | None], parts: Mapping[int, ShardResult]) -> list[int]:
    """Of each shard, its documents: as it says with its reply, as it last said, or the average."""
    known = [count for count in counts if count is not None]
    average = round(sum(known) / len(known)) if known else 0
    documents = [average if count is None else count for count in counts]
    for shard, part in parts.items():
        if part.outcome is _OK:
            documents[shard] = part.body.documents
    return documents
