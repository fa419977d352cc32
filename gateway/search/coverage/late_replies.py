"""Decides which queries let their shards reply late, and feeds the coverage curves with them.

A sampled query may let its requests expire some time after its deadline, so that workers reply late
instead of not at all. No caller waits for these replies: the answer leaves by the deadline, and for
breakers and hedging the shard has timed out. They only tell the coverage curves how much longer it
would have taken.

The cost is bounded twice: each request runs on for at most a set share of its deadline, and only a
set share of the sampled requests may do so. In an overload, when every shard is late, nearly all
work therefore ends at the deadline. Whether a query's requests may be late is decided before it is
sent, from the cost of earlier ones: if it were decided by how the query ended, slow ones would be
missing from the curve. Requests that are cancelled (enough was covered, or the caller has left) end
at once; all that is known of them is that they would have taken longer.
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

BURST: Final = 100  # parts that may be late at once, after a time without any

_OK: Final = Outcome.OK
_STATUS_OK: Final = Status.OK.value
_STATUS_FAILED: Final = Status.FAILED.value
_MORE_TIME_HELPS: Final = (Outcome.TIMED_OUT, Outcome.CANCELLED)


class CoverageCurves:
    """The coverage curve of each collection, learnt from the queries that a gateway samples."""

    def __init__(self, settings: CoverageSettings, uids: Callable[[], Iterable[str]]) -> None:
        """Start without curves; `uids` returns the uids of the existing collections."""
        self._factor = settings.late_reply_factor
        self._max_load = settings.max_late_load
        self._uids = uids
        self._curves: dict[str, CoverageCurve] = {}
        self._late = LateReplies()
        self._tokens = float(BURST)
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """The number of collections with a curve."""
        return len(self._curves)

    def late_ms(self, deadline_ms: float) -> int:
        """Return how long after its deadline a query that starts now may let its shards run on.

        Args:
            deadline_ms: from the query's start to its deadline, in ms.
        """
        return int(deadline_ms * self._factor) if self._max_load and self._tokens > 0 else 0

    def on_end(self, ended: EndedSearch, counts: Sequence[int | None]) -> None:
        """Learn from a sampled query that has ended.

        Args:
            ended: the query.
            counts: for each shard, the documents that it last reported; None if it never did.
        """
        parts, now = ended.results, ended.ended_at
        self._tokens = min(self._tokens + self._max_load * len(ended.gather.asked), BURST)
        if any(_says_nothing(part) for part in parts.values()):
            return
        documents = _documents(counts, parts)
        missing, num_never, is_cancelled = {}, 0, False
        skipped = set(ended.search.plan.skipped) if len(parts) < len(documents) else ()
        for shard, number in enumerate(documents):
            if shard in skipped:
                continue
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
            [(0.0, documents[at]) for at in skipped]
            + [(part.took_s, documents[at]) for at, part in parts.items() if part.outcome is _OK],
            missing,
            num_never,
            started=ended.sent_at,
            overhead_s=ended.overhead_s,
            until=ended.deadline + ended.late_s if is_late else now,
            now=now,
        )

    def on_late(self, reply: Reply) -> None:
        """Learn from a reply that arrived after its query had ended."""
        now = self._loop.time()
        if reply.status == _STATUS_FAILED:
            self._late.on_failed(reply.query_id, reply.shard, now)
        else:
            is_ok = reply.status == _STATUS_OK
            self._late.on_late(reply.query_id, reply.shard, now, is_ok=is_ok)

    def curve(self, uid: str) -> CoverageCurve:
        """Return a collection's curve as of now; it is empty before the first query."""
        self._late.expire(self._loop.time())
        return self._curves.get(uid) or CoverageCurve()

    def _curve_of(self, uid: str) -> CoverageCurve:
        curve = self._curves.get(uid)
        if curve is None:
            # With each new collection, the curves of deleted ones are dropped.
            known = set(self._uids())
            self._curves = {key: kept for key, kept in self._curves.items() if key in known}
            curve = self._curves[uid] = CoverageCurve()
        return curve


def _says_nothing(part: ShardResult) -> bool:
    """Whether the part would have ended like this with any deadline, or was never started."""
    return part.code == NO_TIME or (
        part.outcome is Outcome.FAILED and part.code in QUERY_FAULT_CODES
    )


def _documents(counts: Sequence[int | None], parts: Mapping[int, ShardResult]) -> list[int]:
    """Each shard's documents: according to its reply, else as last reported, else the average."""
    known = [count for count in counts if count is not None]
    average = round(sum(known) / len(known)) if known else 0
    documents = [average if count is None else count for count in counts]
    for shard, part in parts.items():
        if part.outcome is _OK:
            documents[shard] = part.body.documents
    return documents
