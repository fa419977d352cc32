"""Finds the documents with the lowest ids among many that tie, without reading all their ids.

A search is restricted to the documents below one of the index's boundaries (`id_levels`), chosen so
that slightly more documents tie there than are wanted. If there are too few, a higher boundary is
taken; if there are too many to read, a lower one. The result is exact, since the last search has
found all documents that tie below its boundary.

If no boundary fits, the ids of some documents that tie show which id is high enough, and the search
is restricted to the range below it. This is slower, but just as exact. An index that was written by
a version without boundaries is searched in this way until it is optimised.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import tantivy

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.shard_worker.scoring.keyword_range import Span, native
from hedgerow.shard_worker.scoring.rounding import Tie
from hedgerow.shard_worker.storage.id_levels import Level
from hedgerow.shard_worker.storage.schema import PRESENT
from hedgerow.shard_worker.storage.text_index import TextIndex

# How many more documents than wanted a boundary should leave, in multiples of the square root of
# the wanted number. With a smaller margin too many searches are repeated; with a larger one too
# many ids are read.
_MARGIN: Final = 1.3
# The fewer documents are found below a boundary, the less certain is the estimate, and the farther
# up the next boundary is chosen.
_DOUBT: Final = 3.0
_NEARLY_ALL: Final = 0.25  # share of the documents; above it, searching all saves a third attempt
# If the density seems to be above this share of the greatest possible one, it is taken to be that.
_SURE: Final = 0.7
_STEP_DOWN: Final = 2  # boundaries; half as many documents lie below
_ROOM: Final = 64  # for hits beyond twice the expected number
_MOST_EXPECTED: Final = 512  # reading this many takes as long as another search
# Queries whose matches tie, and are not rare, find the documents with the lowest ids again and
# again. Of this many, ids are kept in memory once they have been read (3 MB if all are).
_MOST_KEPT: Final = 16_384

# Makes the query that has the same scores, and matches only what another one matches as well.
Within: TypeAlias = Callable[[tantivy.Query], tantivy.Query]

Hit: TypeAlias = tuple[float, tantivy.DocAddress]


class _Ties(NamedTuple):
    """Documents that tie, as a search found them.

    Attributes:
        addresses: where they are in the index.
        is_all: whether these are all that tie; False if the search's limit cut some off.
    """

    addresses: list[tantivy.DocAddress]
    is_all: bool


class Tied(NamedTuple):
    """Documents that tie: their ids, and where they are in the index."""

    ids: list[str]
    addresses: list[tantivy.DocAddress]


def first_tied(
    index: TextIndex,
    query: tantivy.Query,
    within: Within,
    tie: Tie,
    seen: Sequence[Hit],
    *,
    num_better: int,
    num: int,
    total: int,
) -> Tied:
    """Find documents that tie; the `num` with the lowest ids are among them.

    Args:
        index: the index to search.
        query: what to search for.
        within: restricts the query.
        tie: the scores that count as equal.
        seen: the first documents that tie, as a search for the query has ordered them.
        num_better: how many documents have a higher score.
        num: how many documents are wanted; at least this many tie.
        total: how many documents match.
    """
    expected = num + _MARGIN * math.sqrt(num)
    levels, lowest, place = index.all_levels, 0, 0
    most = total / index.num_counted  # share of the documents that tie
    density = _density(index, seen)
    if density > _SURE * most:
        density, place = most, _place_of(levels, expected / most)
    else:
        place = _beyond(index, expected, density, len(seen))
    while True:
        level = levels[place]
        left = level.num_documents * density
        room = 2 * (left if expected < left <= _MOST_EXPECTED else expected) + _ROOM
        limit = num_better + math.ceil(room)
        found = _find(index, _below(index, query, within, level), tie, limit)
        if not found.is_all:
            if place == lowest:
                found = _first_by_range(index, within, tie, found, num, limit)
                return _named(index, found, level)
            density = max(density, len(found.addresses) / level.num_documents)
            below = min(place - _STEP_DOWN, _place_of(levels, expected / density))
            place = max(below, lowest)
        elif len(found.addresses) >= num or level.mark is None:
            return _named(index, found, level)
        else:
            num_found = len(found.addresses)
            density = max(num_found, 1) / level.num_documents
            lowest = place + 1
            place = max(_beyond(index, expected, density, num_found), lowest)


def _density(index: TextIndex, seen: Sequence[Hit]) -> float:
    """The share of documents that tie, by how soon the first of them came.

    tantivy orders equal scores by address. Of the score that comes last, all documents up to the
    last address were seen.
    """
    score, last = seen[-1]
    num = len(seen) if seen[0][0] == score else sum(hit[0] == score for hit in seen)
    # The sizes of segments are not known.
    before = last.segment_ord * index.num_counted / index.num_segments
    return num / (before + last.doc + 1)


def _beyond(index: TextIndex, expected: float, density: float, num_found: int) -> int:
    """The level where enough documents tie if the density was estimated by `num_found` of them."""
    levels = index.all_levels
    wanted = expected * (1 + _DOUBT / (1 + num_found))
    place = _place_of(levels, wanted / density)
    if levels[place].num_documents > index.num_counted * _NEARLY_ALL:
        return len(levels) - 1
    return place


def _place_of(levels: Sequence[Level], num_documents: float) -> int:
    """The first level with at least `num_documents`, or the last level."""
    return min(bisect_left(levels, num_documents, key=_num_documents), len(levels) - 1)


def _first_by_range(
    index: TextIndex, within: Within, tie: Tie, found: _Ties, num: int, limit: int
) -> _Ties:
    """The same as `first_tied`, by ranges of ids; each takes some 30 µs a segment.

    Each range ends with the id of a document found in the previous one, so the loop terminates.
    """
    while not found.is_all:
        last = sorted(index.ids(found.addresses))[num - 1]
        span = index.parse_native(native(ID_FIELD, Span(None, f"{last}\0")))
        found = _find(index, within(span), tie, limit)
    return found


def _named(index: TextIndex, found: _Ties, level: Level) -> Tied:
    are_kept = level.num_documents <= _MOST_KEPT
    read = index.kept_ids if are_kept else index.ids
    return Tied(read(found.addresses), found.addresses)


def _find(index: TextIndex, query: tantivy.Query, tie: Tie, limit: int) -> _Ties:
    hits = index.searcher.search(query, limit, count=False).hits
    is_all = len(hits) < limit
    if hits and (hits[0][0] > tie.most or hits[-1][0] < tie.least):
        start = bisect_left(hits, -tie.most, key=_negated_score)
        end = bisect_right(hits, -tie.least, key=_negated_score)
        is_all = is_all or end < len(hits)
        hits = hits[start:end]
    return _Ties([address for _, address in hits], is_all)


def _negated_score(hit: Hit) -> float:
    return -hit[0]


def _num_documents(level: Level) -> int:
    return level.num_documents


def _below(index: TextIndex, query: tantivy.Query, within: Within, level: Level) -> tantivy.Query:
    if level.mark is None:
        return query
    return within(tantivy.Query.term_query(index.schema, PRESENT, level.mark, "basic"))
