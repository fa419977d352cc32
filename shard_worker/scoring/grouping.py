"""Finds the best document of each group: of each value of a keyword field.

The first documents are read until there are enough groups. If most of them are of the same few
groups, the search is repeated without the groups that were found: its first document is then of a
new one. So each repetition finds a group at least, and usually many.
"""

from collections.abc import Callable
from typing import Final

import tantivy

from hedgerow.common.wire.search_options import Value
from hedgerow.shard_worker.scoring.field_queries import FieldQueries, any_of, without
from hedgerow.shard_worker.scoring.sorting import Find, Row, values_of
from hedgerow.shard_worker.storage.text_index import TextIndex

_MOST_READ: Final = 1024  # documents of one search, unless more groups are wanted


def best_of_groups(
    index: TextIndex,
    query: tantivy.Query,
    k: int,
    name: str,
    find: Find,
    check: Callable[[], None],
) -> list[tuple[Row, Value]]:
    """The best document of each of the `k` groups that come first.

    Args:
        index: the index to search.
        query: what to search for.
        k: at least 1.
        name: the field; documents without a value are one group.
        find: returns the first documents of a query in the order that is wanted.
        check: called before each repetition; raises if the result is no longer wanted.

    Raises:
        BadQueryError: the index cannot be grouped by the field.
    """
    field = FieldQueries(index, name)
    best: dict[Value, Row] = {}
    size, rest = 2 * k, query
    while True:
        rows = find(rest, size)
        groups = values_of(index, field, [row.id for row in rows])
        for row in rows:
            best.setdefault(groups.get(row.id), row)
        if len(best) >= k or len(rows) < size:
            return [(row, group) for group, row in best.items()][:k]
        check()
        rest = _without_groups(index, query, field, best)
        size = min(2 * size, max(2 * k, _MOST_READ))


def _without_groups(
    index: TextIndex, query: tantivy.Query, field: FieldQueries, groups: dict[Value, Row]
) -> tantivy.Query:
    values = [group for group in groups if group is not None]
    if field.has_lists:  # a list may hold the value of a group that it is not in
        everything = tantivy.Query.all_query()
        excluded = [field.equal_of(everything, value) for value in values]
    else:
        excluded = [any_of(index, field.name, values)] if values else []
    if None in groups:
        excluded.append(field.missing_of(tantivy.Query.all_query()))
    return without(query, *excluded)
