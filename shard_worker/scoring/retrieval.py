"""Finds the best documents of one shard: by score, then by id, the same on every replica."""

from collections.abc import Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import tantivy

from hedgerow.shard_worker.scoring.field_queries import both
from hedgerow.shard_worker.scoring.rounding import all_rounded, rounded, tie_of
from hedgerow.shard_worker.scoring.ties import Hit, Within, first_tied
from hedgerow.shard_worker.storage.text_index import TextIndex, count_of

# How many hits are read beyond k, to see where the ties of the last one end. A second search costs
# as much as the first, a further hit 0.2 µs. With one hit beyond the 10 best of a million
# documents, 14 % of real queries needed a second search; with this many, 1 %. Further down scores
# lie closer, and more documents tie: for the 1000 best it was 19 %, and is now 2 %.
_SPARE = 8
_SPARE_SHARE = 16  # one more for every 16 of k


class Located(NamedTuple):
    """Where the hits of a search are.

    Attributes:
        snapshot: the index that was searched.
        named: lists of ids, with the addresses of the same documents in `snapshot`; they contain
            all hits, and perhaps more.
    """

    snapshot: TextIndex
    named: list[tuple[Sequence[str], Sequence[tantivy.DocAddress]]]

    def places(self, ids: Iterable[str]) -> Sequence[int | None]:
        """The places of some hits' documents in `bodies`; None for a document that is not there."""
        addresses: dict[str, tantivy.DocAddress] = {}
        for part in self.named:
            addresses.update(zip(*part, strict=True))
        return self.snapshot.places([addresses[one] for one in ids])


class Found(NamedTuple):
    """What a query found.

    Attributes:
        total: how many documents match, exactly.
        hits: score and id, best first, ties by id.
        located: where they are; None if no index was searched.
    """

    total: int
    hits: list[tuple[float, str]]
    located: Located | None = None


def retrieve(index: TextIndex, query: tantivy.Query, k: int, within: Within | None = None) -> Found:
    """Find the `k` best documents.

    tantivy breaks ties by a document's address, which differs between replicas. All documents that
    tie with the last of the `k` are therefore considered, and ordered by id.

    Args:
        index: the index to search.
        query: what to search for.
        k: at least 1.
        within: makes the same query, restricted to few documents; by default, from `query`.
    """
    limit = k + _SPARE + k // _SPARE_SHARE
    result = index.searcher.search(query, limit)
    total, hits = count_of(result), result.hits  # each access builds the list
    wanted = _count_wanted(hits, k)
    located = Located(index, [])
    if wanted < len(hits) or len(hits) == total:
        ranked = _ranked(located, hits[:wanted])
    else:
        ranked = _with_first_tied(located, query, within, k, total, hits)
    return Found(total, ranked[:k], located)


def _with_first_tied(
    located: Located,
    query: tantivy.Query,
    within: Within | None,
    k: int,
    total: int,
    hits: Sequence[Hit],
) -> list[tuple[float, str]]:
    """The hits better than the `k`th, and the first by id of those that tie with it."""
    tie = tie_of(hits[k - 1][0])
    num_better = 0
    while hits[num_better][0] > tie.most:
        num_better += 1
    better = _ranked(located, hits[:num_better])
    tied = first_tied(
        located.snapshot,
        query,
        within or partial(both, query),
        tie,
        hits[num_better:],
        num_better=num_better,
        num=k - num_better,
        total=total,
    )
    located.named.append(tied)
    return better + [(tie.shown, one) for one in sorted(tied.ids)]


def _ranked(located: Located, hits: Sequence[Hit]) -> list[tuple[float, str]]:
    """The scores and ids of hits, which are in descending order of their scores."""
    if not hits:
        return []
    ids = _ids(located, [address for _, address in hits])
    scores = all_rounded([score for score, _ in hits])
    ranked = list(zip(scores, ids, strict=True))
    if len(set(scores)) < len(scores):
        # Two stable sorts, by id and then by score, need no key function in Python.
        ranked.sort(key=itemgetter(1))
        ranked.sort(key=itemgetter(0), reverse=True)
    return ranked


def _ids(located: Located, addresses: Sequence[tantivy.DocAddress]) -> list[str]:
    ids = located.snapshot.ids(addresses)
    located.named.append((ids, addresses))
    return ids


def _count_wanted(hits: Sequence[Hit], k: int) -> int:
    """How many hits may be among the `k` best, those that tie with the `k`th included."""
    if len(hits) <= k:
        return len(hits)
    if hits[-1][0] == hits[k - 1][0]:
        return len(hits)
    last, count = rounded(hits[k - 1][0]), k
    while count < len(hits) and rounded(hits[count][0]) == last:
        count += 1
    return count
