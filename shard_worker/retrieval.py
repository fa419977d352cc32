"""The best documents of one shard for one query: by score, ties by id, alike on every replica."""

from typing import NamedTuple

import tantivy

from common.collection import ID_FIELD
from shard_worker.text_index import TextIndex, count_of

# Weights are exchanged in single precision, so that scores which are equal in theory come out some
# 1e-7 apart on different shards. Five digits make them equal again, and their order that of the id.
_DIGITS = 5
_SAME = 0.5 * 10.0 ** (1 - _DIGITS)
_MAX_TIED = 4096  # beyond so many with the last score, which of them are found is arbitrary
# How many are read beyond k at first, to see where the last one's ties end. A search that has to be
# made again costs as much as the first, one more to read 0.2 µs. Reading but one beyond the 10 best
# of a million documents, 14 % of real queries had to search again; so, 1 %. Further down scores lie
# closer, and ties are longer: for the 1000 best it was 19 %, and is 2 %.
_SPARE = 8
_SPARE_SHARE = 16  # and one more for each so many of the k


class Found(NamedTuple):
    """What a query found.

    Attributes:
        total: how many documents match, exactly.
        hits: score and id, best first, ties by id.
    """

    total: int
    hits: list[tuple[float, str]]


def retrieve(index: TextIndex, query: tantivy.Query, k: int, *, all_tie: bool = False) -> Found:
    """Find the `k` best.

    tantivy breaks ties by where a document lies, which differs between replicas; so whatever ties
    with the last of the `k` is read too, up to some thousands, and ordered by id.

    Args:
        index: where.
        query: what.
        k: how many; at least 1.
        all_tie: whether all matches are known to get the same score.
    """
    if all_tie:
        return _first_by_id(index, query, k)
    limit = k + _SPARE + k // _SPARE_SHARE
    result = index.searcher.search(query, limit)
    total, hits = count_of(result), result.hits  # which is made anew whenever it is asked for
    most = max(limit, _MAX_TIED)
    while len(hits) < min(total, most) and _is_tied(hits, k):
        limit = min(limit * 8, most)
        hits = index.searcher.search(query, limit, count=False).hits
    if len(hits) > k:
        last = hits[k - 1][0]
        hits = hits[:k] + [hit for hit in hits[k:] if _is_same(hit[0], last)]
    ids = index.ids([address for _, address in hits])
    ranked = [(_rounded(score), one) for (score, _), one in zip(hits, ids, strict=True)]
    ranked.sort(key=lambda hit: (-hit[0], hit[1]))
    return Found(total, ranked[:k])


def _first_by_id(index: TextIndex, query: tantivy.Query, k: int) -> Found:
    best = index.searcher.search(query, 1).hits
    score = _rounded(best[0][0]) if best else 0.0
    result = index.searcher.search(query, k, order_by_field=ID_FIELD, order=tantivy.Order.Asc)
    return Found(count_of(result), [(score, one) for one, _ in result.hits])


def _is_tied(hits: list[tuple[float, tantivy.DocAddress]], k: int) -> bool:
    """Whether the last that was read still ties with the last that is wanted."""
    return _is_same(hits[-1][0], hits[k - 1][0])


def _is_same(score: float, other: float) -> bool:
    return abs(score - other) <= _SAME * abs(other)


def _rounded(score: float) -> float:
    return float(f"{score:.{_DIGITS}g}")
