"""Why shards are missing from an answer, in words: for problems and for the command line."""

from collections.abc import Iterable
from typing import Final

from hedgerow.common.outcome import SEARCHED
from hedgerow.gateway.shapes.answer import ShardDetail

_MOST: Final = 3  # reasons in one line


def reasons_line(details: Iterable[ShardDetail]) -> str:
    """Say how the shards that were not searched have ended, the most frequent reason first.

    Returns:
        As in "2 shards failed: rank:score raised ValueError: no (rank.py:3, in score)"; "" if all
        shards were searched.
    """
    counts: dict[tuple[str, str], int] = {}
    for detail in details:
        if detail.outcome not in SEARCHED:
            key = (detail.outcome.value, detail.reason)
            counts[key] = counts.get(key, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    parts = [_part(outcome, reason, count) for (outcome, reason), count in ordered[:_MOST]]
    if num_more := sum(count for _, count in ordered[_MOST:]):
        parts.append(f"{num_more} more for other reasons")
    return "; ".join(parts)


def _part(outcome: str, reason: str, count: int) -> str:
    shards = f"{count} shard{'' if count == 1 else 's'} {outcome.replace('_', ' ')}"
    return f"{shards}: {reason}" if reason and reason != outcome else shards
