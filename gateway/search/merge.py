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
    # Each shard's ids are mostly in order already, which makes sorting them a single pass.
    ordered = [(shard, sorted(body.ids)) for shard, body in parts]
    # The kth of some ids comes no earlier than the kth of all: what comes after it has not won. A
    # few from each shard do, and to sort all would take as long as the rest of the merge.
    num_first = k // len(parts) + 2
    first: list[str] = []
    for _, ids in ordered:
        first += ids[:num_first]
    first.sort()
    last = first[k - 1] if len(first) >= k else max([ids[-1] for _, ids in ordered if ids])
    rows: list[tuple[str, int]] = []
    for shard, ids in ordered:
        for document_id in ids:
            if document_id > last:
                break
            rows.append((document_id, shard))
    rows.sort()
    return [Hit(document_id, score, shard) for document_id, shard in rows[:k]]
