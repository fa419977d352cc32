"""The best hits of all shards: k by descending score, ties by ascending id.

Python sorts floats alone, or strings alone, several times as fast as tuples of them. So the k-th
best score is found first, and only what reaches it is put in order.
"""

from collections.abc import Iterable
from operator import itemgetter

from gateway.result import Hit

_shard_of_part = itemgetter(0)


def merge(parts: Iterable[tuple[int, list[str], list[float]]], k: int) -> list[Hit]:
    """The k best hits.

    Args:
        parts: shard, ids and their finite scores, of each shard that answered; in any order, as
            are the hits in each.
        k: how many hits are wanted, at least 1.

    Returns:
        At most k hits by (-score, id, shard), without fields.
    """
    by_shard = sorted(parts, key=_shard_of_part)
    scores: list[float] = []
    for _, _, its_scores in by_shard:
        scores += its_scores
    ordered = sorted(scores, reverse=True)
    if len(ordered) > k and ordered[k - 1] != ordered[k]:
        worst = ordered[k - 1]
        rows = [
            (-score, document_id, shard)
            for shard, its_ids, its_scores in by_shard
            for document_id, score in zip(its_ids, its_scores, strict=True)
            if score >= worst
        ]
        rows.sort()
        return [Hit(document_id, -negated, shard) for negated, document_id, shard in rows]
    # Ties at the cut, or fewer hits than wanted: order them all by id, then, stably, by score.
    ids: list[str] = []
    shards: list[int] = []
    for shard, its_ids, _ in by_shard:
        ids += its_ids
        shards += [shard] * len(its_ids)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    order.sort(key=scores.__getitem__, reverse=True)
    return [Hit(ids[at], scores[at], shards[at]) for at in order[:k]]
