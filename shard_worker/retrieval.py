"""The best documents of one shard for one query: by score, ties by id, alike on every replica."""

from bisect import bisect
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import tantivy

from common.document_ids import ID_FIELD
from shard_worker.text_index import TextIndex, count_of

# Weights are exchanged in single precision, so that scores which are equal in theory come out some
# 1e-7 apart on different shards. Five digits make them equal again, and their order that of the id.
_DIGITS = 5
_LEAST = -45  # the least power of ten of single precision
_POWERS = [float(f"1e{exponent}") for exponent in range(_LEAST, 39)]
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
    wanted = _count_wanted(hits, k)
    while wanted == len(hits) < min(total, most):
        limit = min(limit * 8, most)
        hits = index.searcher.search(query, limit, count=False).hits
        wanted = _count_wanted(hits, k)
    ids = index.ids([address for _, address in hits[:wanted]])
    ranked = [(_rounded(score), one) for (score, _), one in zip(hits, ids, strict=False)]
    # Two sorts by a part each, the second of which keeps ties in order: no key is made in Python.
    ranked.sort(key=itemgetter(1))
    ranked.sort(key=itemgetter(0), reverse=True)
    return Found(total, ranked[:k])


def _first_by_id(index: TextIndex, query: tantivy.Query, k: int) -> Found:
    best = index.searcher.search(query, 1).hits
    score = _rounded(best[0][0]) if best else 0.0
    result = index.searcher.search(query, k, order_by_field=ID_FIELD, order=tantivy.Order.Asc)
    return Found(count_of(result), [(score, one) for one, _ in result.hits])


def _count_wanted(hits: Sequence[tuple[float, tantivy.DocAddress]], k: int) -> int:
    """How many of the hits may be among the `k` best: those that tie with the last of them, too."""
    if len(hits) <= k:
        return len(hits)
    last, count = _rounded(hits[k - 1][0]), k
    while count < len(hits) and _rounded(hits[count][0]) == last:
        count += 1
    return count


def _rounded(score: float) -> float:
    """A score to five digits: what formatting it so would give, in two thirds of the time."""
    return round(score, _DIGITS - _LEAST - bisect(_POWERS, score))
