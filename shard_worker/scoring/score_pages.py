"""Finds the best documents of one shard after another one, in the order by score.

tantivy cannot begin at a score, so the documents before are counted off: a window of hits around
the place where the last page ended is read, and moved or widened until it holds what is wanted.
tantivy still has to keep the best documents down to the end of the window in a heap, so the cost
grows with the depth, and the depth has a limit. In the order by a field there is none.

If all documents with the last score come first, as for a query without words, the page is found by
their ids, at any depth.
"""

from typing import Final

import tantivy

from hedgerow.common.errors import BadQueryError
from hedgerow.shard_worker.scoring.field_queries import after_id, both
from hedgerow.shard_worker.scoring.retrieval import Found, Located, retrieve
from hedgerow.shard_worker.scoring.rounding import rounded
from hedgerow.shard_worker.storage.text_index import TextIndex

MAX_DEPTH: Final = 200_000  # documents that are read or passed over for one page
_MARGIN: Final = 32  # hits before the expected place
_MARGIN_SHARE: Final = 8  # one more for every 8 that come before

_Hits = list[tuple[float, tantivy.DocAddress]]


def retrieve_after(
    index: TextIndex, query: tantivy.Query, k: int, score: float, document_id: str, position: int
) -> Found:
    """Find the `k` best documents after the one with this score and id.

    Args:
        index: the index to search.
        query: what to search for.
        k: at least 1.
        score: rounded, as hits have it.
        document_id: the last hit's id.
        position: about how many documents come before.

    Returns:
        The hits; the total is not counted.

    Raises:
        BadQueryError: too many documents come before.
    """
    pages = _Pages(index, query)
    best = index.searcher.search(query, 1, count=False).hits
    if not best:
        return Found(0, [], pages.located)
    highest = rounded(best[0][0])
    if highest < score:
        return retrieve(index, query, k)
    if highest > score:
        return Found(0, pages.after(k, score, document_id, position), pages.located)
    found = retrieve(index, both(query, after_id(index, document_id)), k)
    tied = [hit for hit in found.hits if hit[0] == score]
    if found.located is not None:
        pages.located.named.extend(found.located.named)
    if len(tied) < k:
        tied += pages.below(k - len(tied), score, position)
    return Found(0, tied, pages.located)


class _Pages:
    """Windows of the hits of one query."""

    def __init__(self, index: TextIndex, query: tantivy.Query) -> None:
        self.located = Located(index, [])
        self._index = index
        self._query = query

    def after(
        self, k: int, score: float, document_id: str, position: int
    ) -> list[tuple[float, str]]:
        """The hits that tie with the last one and have a higher id, and those below."""
        margin = _MARGIN + position // _MARGIN_SHARE
        start, size = max(0, position - margin), k + 2 * margin
        while True:
            hits = self._window(start, size)
            if start and (not hits or rounded(hits[0][0]) <= score):
                size += start - start // 2
                start //= 2
                continue
            is_all = len(hits) < size
            tied = [address for one, address in hits if rounded(one) == score]
            below = [hit for hit in hits if rounded(hit[0]) < score]
            if is_all or below:
                rows = self._named([(score, address) for address in tied])
                rows = sorted(row for row in rows if row[1] > document_id)
                wanted = k - len(rows)
                if wanted <= 0:
                    return rows[:k]
                num = _num_wanted(below, wanted)
                if is_all or num < len(below):
                    return (rows + _ranked(self._named(below[:num])))[:k]
            size *= 2

    def below(self, k: int, score: float, position: int) -> list[tuple[float, str]]:
        """The best hits with a lower score."""
        start, size = max(0, position - _MARGIN), k + 2 * _MARGIN
        while True:
            hits = self._window(start, size)
            if start and (not hits or rounded(hits[0][0]) < score):
                size += start - start // 2
                start //= 2
                continue
            is_all = len(hits) < size
            below = [hit for hit in hits if rounded(hit[0]) < score]
            num = _num_wanted(below, k)
            if is_all or num < len(below):
                return _ranked(self._named(below[:num]))[:k]
            if not below:
                start += size
            size *= 2

    def _window(self, start: int, size: int) -> _Hits:
        if start + size > MAX_DEPTH:
            raise BadQueryError(
                "too many documents come before this page in the order by score; sort by a field "
                "to page further"
            )
        return self._index.searcher.search(self._query, size, count=False, offset=start).hits

    def _named(self, hits: _Hits) -> list[tuple[float, str]]:
        addresses = [address for _, address in hits]
        ids = self._index.ids(addresses)
        self.located.named.append((ids, addresses))
        return [(rounded(score), one) for (score, _), one in zip(hits, ids, strict=True)]


def _ranked(rows: list[tuple[float, str]]) -> list[tuple[float, str]]:
    return sorted(rows, key=lambda row: (-row[0], row[1]))


def _num_wanted(hits: _Hits, k: int) -> int:
    """How many hits may be among the `k` best, those that tie with the `k`th included."""
    if len(hits) <= k:
        return len(hits)
    last, num = rounded(hits[k - 1][0]), k
    while num < len(hits) and rounded(hits[num][0]) == last:
        num += 1
    return num
