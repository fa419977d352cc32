"""Logs where the time of a slow search went: one line each, for at most some of them a second."""

from typing import Any, Final

import structlog

from hedgerow.common.outcome import SEARCHED
from hedgerow.common.runtime.token_bucket import TokenBucket
from hedgerow.gateway.search.walk import Walk
from hedgerow.gateway.search.walk_parts import ShardPart, parts_of

MOST_SHARDS: Final = 8  # that a line names
LINES_PER_S: Final = 10.0  # under an overload every search is slow

log = structlog.get_logger()


class SlowQueries:
    """Logs slow searches."""

    def __init__(self) -> None:
        self._lines = TokenBucket(LINES_PER_S)
        self._num_skipped = 0

    def tell(self, walk: Walk) -> None:
        """Log a search that has ended, unless there were many in the last second."""
        if self._lines.take(walk.ended_at) > 0:
            self._num_skipped += 1
            return
        num_skipped, self._num_skipped = self._num_skipped, 0
        log.info("slow_query", **line_of(walk), others=num_skipped)


def line_of(walk: Walk) -> dict[str, Any]:
    """What is logged of a search that has ended; times in ms."""
    query, gather, plan = walk.query, walk.gather, walk.plan
    line: dict[str, Any] = {
        "collection": query.collection,
        "rank_profile": walk.profile,
        "took_ms": _ms(walk.ended_at - walk.started),
        "deadline_ms": query.deadline_ms,
    }
    if walk.trace is not None:
        line["trace_id"] = walk.trace.hex_id
    if gather is None or plan is None:
        return line
    line["admit_ms"] = _ms(walk.sent_at - walk.started)
    line["shards_ms"] = _ms(walk.gathered_at - walk.sent_at)
    line["merge_ms"] = _ms(walk.merged_at - walk.gathered_at)
    if walk.fetch is not None:
        line["fetch_ms"] = _ms(walk.fetch.ended_at - walk.merged_at)
    parts = parts_of(gather, plan)
    line["ok"], line["asked"], line["shards"] = gather.num_ok, len(gather.asked), len(parts)
    line["hedged"] = len(gather.hedged)
    line["slowest"] = [_shard(part) for part in sorted(parts, key=_rank)[:MOST_SHARDS]]
    if walk.fetch is not None:
        fetched = sorted(parts_of(walk.fetch.gather), key=_rank)
        line["slowest_fetches"] = [_shard(part) for part in fetched[:MOST_SHARDS]]
    return line


def _rank(part: ShardPart) -> tuple[bool, int]:
    """Those that were not searched first, then the slowest."""
    return part.outcome in SEARCHED, -part.took_us


def _shard(part: ShardPart) -> dict[str, Any]:
    shard: dict[str, Any] = {
        "shard": part.shard,
        "outcome": part.outcome.value,
        "took_ms": _ms(part.took_us / 1e6),
    }
    if part.worker:
        shard |= {
            "worker": part.worker,
            "queue_ms": _ms(part.queue_us / 1e6),
            "lane_ms": _ms(part.lane_us / 1e6),
            "work_ms": _ms(part.work_us / 1e6),
        }
    if part.users_us is not None:
        shard["function_ms"] = _ms(part.users_us[1] / 1e6)
    if part.hedged_us:
        shard["hedged_ms"] = _ms(part.hedged_us / 1e6)
    return shard


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
