"""The best hits of all shards: k by descending score, ties by ascending id.

Python sorts floats alone, or strings alone, several times as fast as tuples of them. So the hits
that are not among the best are dropped first, and only the rest is sorted as tuples.
"""

from collections.abc import Sequence

from hedgerow.common.wire.messages import SearchBody
from hedgerow.gateway.search.result import Hit


def merge(parts: Sequence[tuple[int, SearchBody]], k: int) -> list[Hit]:
    """Return the k best hits.

    Args:
        parts: shard and its hits, for each shard that answered; both in any order.
        k: how many hits are wanted, at least 1.

    Returns:
        At most k hits by (-score, id, shard), without fields.
    """
    scores: list[float] = []
    for _, body in parts:
        scores += body.scores
    if not scores:
        return []
    scores.sort(reverse=True)
    if scores[0] == scores[-1]:
        return _merge_tied(parts, k, scores[0])
    worst = scores[min(k, len(scores)) - 1]
    rows = [
        (-score, document_id, shard)
        for shard, body in parts
        for score, document_id in zip(body.scores, body.ids, strict=True)
        if score >= worst
    ]
    rows.sort()
    return [Hit(document_id, -negated, shard) for negated, document_id, shard in rows[:k]]


def _merge_tied(parts: Sequence[tuple[int, SearchBody]], k: int, score: float) -> list[Hit]:
    """Return the k best hits if all have the same score, as for a query without text."""
    ids: list[str] = []
    for _, body in parts:
        ids += body.ids
    ids.sort()
    last = ids[min(k, len(ids)) - 1]
    rows: list[tuple[str, int]] = []
    for shard, body in parts:
        # Each shard's ids are mostly in order already, which makes sorting them a single pass.
        for document_id in sorted(body.ids):
            if document_id > last:
                break
            rows.append((document_id, shard))
    rows.sort()
    return [Hit(document_id, score, shard) for document_id, shard in rows[:k]]
