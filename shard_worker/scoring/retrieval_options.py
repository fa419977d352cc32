"""Retrieves with the options of a search: facets, an order by fields, pages, groups."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from zlib import crc32

import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadQueryError
from hedgerow.common.query.searched import text_fields
from hedgerow.common.wire.search_options import SCORE, FacetPart, SearchExtras, SearchOptions
from hedgerow.shard_worker.scoring.facets import count_facets
from hedgerow.shard_worker.scoring.grouping import best_of_groups
from hedgerow.shard_worker.scoring.retrieval import Found, Located, retrieve
from hedgerow.shard_worker.scoring.sorting import Ordering, count
from hedgerow.shard_worker.scoring.ties import Within
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.vectors.files import RowFile

if TYPE_CHECKING:
    from hedgerow.shard_worker.vectors.graph import Graph


def retrieve_with_options(
    index: TextIndex,
    statistics: TermStatistics | None,
    query: tantivy.Query,
    within: Within | None,
    k: int,
    options: SearchOptions,
    check: Callable[[], None],
    widened: Mapping[str, tantivy.Query],
) -> tuple[Found, SearchExtras]:
    """Find the first `k` documents as the options want them, and what else they ask for.

    Args:
        index: the index to search.
        statistics: with which the query was built.
        query: what to search for.
        within: as of `retrieve`.
        k: at least 1.
        options: what is asked for.
        check: called between steps; raises if the result is no longer wanted.
        widened: as of `count_facets`.

    Raises:
        BadQueryError: the index cannot be searched with these options.
        ValueError: the index is damaged.
    """
    facets = count_facets(index, query, options.facets, widened) if options.facets else ()
    check()
    if not options.sort and options.search_after is None and not options.group_by:
        return retrieve(index, query, k, within), SearchExtras(
            facets, ranking=_ranking(index, statistics, options)
        )
    ordering = Ordering(index, options.sort)
    groups = None
    if options.group_by:
        grouped = best_of_groups(index, query, k, options.group_by, ordering.first, check)
        rows, groups = [row for row, _ in grouped], tuple(group for _, group in grouped)
    else:
        rows = ordering.first(query, k, options.search_after)
    total = ordering.total
    if total is None:
        total = count(index, query)
    found = Found(total, [(row.score, row.id) for row in rows], ordering.located)
    extras = SearchExtras(
        facets,
        tuple(row.values for row in rows) if options.sort else (),
        groups or (),
        _ranking(index, statistics, options) if ordering.by_score else "",
    )
    return found, extras


def retrieve_nearest(
    index: TextIndex,
    restriction: tantivy.Query | None,
    k: int,
    options: SearchOptions,
    graph_of: Callable[[RowFile], "Graph | None"],
    check: Callable[[], None],
    widened: Mapping[str, tantivy.Query | None],
) -> tuple[Found, SearchExtras]:
    """Find the documents with the `k` nearest vectors, and what else the options ask for.

    Args:
        index: the index to search.
        restriction: what documents must match; None for all.
        k: at least 1.
        options: what is asked for, with a vector.
        graph_of: finds the graph of a field's rows.
        check: called between steps; raises if the result is no longer wanted.
        widened: field → the restriction for facets of this field instead.

    Raises:
        BadQueryError: the index cannot be searched with these options.
        ValueError: the index is damaged.
    """
    wanted = options.vector
    file = None if wanted is None else index.vectors.get(wanted.field)
    if wanted is None or file is None:  # no document has a vector in this field
        return Found(0, [], Located(index, [])), without_index(options)
    from hedgerow.shard_worker.scoring.nearest import (  # noqa: PLC0415 - loads faiss and numpy
        Nearest,
        matches_of,
    )

    facets: tuple[FacetPart, ...] = ()
    if options.facets:
        matches = matches_of(index, file, restriction)
        others = {name: matches_of(index, file, one) for name, one in widened.items()}
        facets = count_facets(index, matches, options.facets, others)
        check()
    found = Nearest(index, file, graph_of(file), wanted, check).find(restriction, k)
    return found, SearchExtras(facets)


def without_index(options: SearchOptions) -> SearchExtras:
    """What a shard without any document of a collection returns for the options."""
    return SearchExtras(tuple(FacetPart() for _ in options.facets))


def check_option_fields(indexed: Collection, options: SearchOptions) -> None:
    """Refuse options that name a field which this shard's index lacks.

    The gateway knows all of them. A worker that is behind with its log may not have heard of one
    that was added just now: to tantivy, all documents would lack it.

    Args:
        indexed: the collection as the index has it.
        options: of the search.

    Raises:
        BadQueryError: they name one.
    """
    names = [facet.field for facet in options.facets]
    names += [key.field for key in options.sort if key.field != SCORE]
    names += [options.group_by] if options.group_by else []
    names += [choice.field for choice in options.refine]
    names += [options.vector.field] if options.vector is not None else []
    absent = [name for name in names if indexed.type_of(name) is None]
    if options.like is not None:
        there = text_fields(indexed)
        absent += [name for name, _ in options.like.terms if name not in there]
    if absent:
        raise BadQueryError(f"the field {absent[0]} was added, and is being filled")


def _ranking(index: TextIndex, statistics: TermStatistics | None, options: SearchOptions) -> str:
    """Names what scores depend on beyond a document: if it is the same, so are the scores."""
    of_collection = "" if statistics is None else statistics.fingerprint
    if options.synonyms:
        of_collection += repr(options.synonyms)
    return f"{crc32(f'{of_collection} {index.max_doc} {index.num_counted}'.encode()):08x}"
