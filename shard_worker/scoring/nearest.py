"""Finds the documents of one shard whose vectors are nearest to another.

tantivy knows which documents match the filter and are not deleted, the graph which rows are near.
If few documents match, all their rows are compared. If many do, the graph names more rows than are
wanted, so that enough of them match; if they turn out to be too few, many more, and at last all
rows of the matches are compared. So there are always as many hits as there are matches, up to the
wanted number, and no row of a deleted document is among them.

The documents that are found are compared again with the rows themselves, which decides their order
and their scores, then their ids.
"""

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

import tantivy

from hedgerow.common.errors import BadQueryError
from hedgerow.common.wire.search_options import WantedVector
from hedgerow.shard_worker.scoring.retrieval import Found, Located
from hedgerow.shard_worker.storage.schema import PRESENT
from hedgerow.shard_worker.storage.text_index import TextIndex, count_of
from hedgerow.shard_worker.vectors.files import RowFile
from hedgerow.shard_worker.vectors.graph import Graph
from hedgerow.shard_worker.vectors.numbers import np
from hedgerow.shard_worker.vectors.rows import Numbers, Query, Rows

# Matches of which all rows are compared: to read which ones they are takes 0.3 µs for each.
MOST_COMPARED: Final = 4096
# How many more rows than the wanted number and the share of matches suggest.
_MARGIN: Final = 1.3
_SPARE: Final = 16
_GROWTH: Final = 4
_MOST_LOOKED_UP: Final = 400  # rows, one by one; for more, a set is faster
_MOST_NAMED: Final = 16_384  # rows by a graph; beyond, comparing all matches takes no longer

_MUST: Final = tantivy.Occur.Must
_Hits = Sequence[tuple[int, tantivy.DocAddress]]


class Nearest:
    """One search in one index."""

    def __init__(
        self,
        index: TextIndex,
        file: RowFile,
        graph: Graph | None,
        wanted: WantedVector,
        check: Callable[[], None],
    ) -> None:
        """Search for a vector.

        Args:
            index: the index to search.
            file: the rows of the field.
            graph: of the first of them; None if there is none.
            wanted: what is searched for.
            check: called between steps; raises if the result is no longer wanted.

        Raises:
            BadQueryError: the vector does not fit the index.
        """
        if len(wanted.value) != file.field.num_bytes:
            raise BadQueryError(f"{wanted.field} has {file.field.dimensions} dimensions")
        self._index = index
        self._file = file
        self._graph = graph
        self._wanted = wanted
        self._check = check
        self._rows = Rows(file)
        self._query = Query.of(file.field, wanted.value)

    def find(self, restriction: tantivy.Query | None, k: int) -> Found:
        """Find the `k` nearest documents of those that match a restriction, or of all."""
        matching = matches_of(self._index, self._file, restriction)
        if restriction is None:
            total = self._index.num_vectors(self._wanted.field)
        else:
            total = count_of(self._index.searcher.search(matching, 1))
        num = min(max(k, self._wanted.k), total)
        located = Located(self._index, [])
        if not num:
            return Found(0, [], located)
        hits = None
        named = math.ceil(_MARGIN * num * len(self._rows.matrix) / total) + _SPARE
        # Without a graph, all rows are compared at once, which is exact, too, and faster.
        is_cheaper = self._graph is None and named <= _MOST_LOOKED_UP
        if total > MOST_COMPARED or is_cheaper:
            hits = self._near(matching, num, max(named, self._wanted.ef))
        if hits is None:
            hits = self._hits(matching, total)
            self._check()
        places, scores = self._rows.best(self._query, _rows_of(hits), num)
        addresses = [hits[place][1] for place in places]
        ids = self._index.ids(addresses)
        located.named.append((ids, addresses))
        ranked = sorted(zip(scores, ids, strict=True), key=itemgetter(1))
        ranked.sort(key=itemgetter(0), reverse=True)
        return Found(total, ranked[:k], located)

    def _near(self, matching: tantivy.Query, num: int, named: int) -> _Hits | None:
        """At least `num` matches among the `named` nearest rows, or among more.

        None if there are too few near ones.
        """
        num_rows = len(self._rows.matrix)
        most = max(_MOST_NAMED, self._wanted.ef)
        while named <= most:
            rows = self._candidates(named)
            self._check()
            query = tantivy.Query.boolean_query(
                [(_MUST, matching), (_MUST, self._any_of(rows.tolist()))]
            )
            hits = self._hits(query, len(rows))
            self._check()
            if len(hits) >= num:
                return hits
            if named >= num_rows:
                return None
            named *= _GROWTH
        return None

    def _candidates(self, num: int) -> Numbers:
        """About the `num` nearest of all rows."""
        graph = self._graph
        if graph is None:
            return self._rows.nearest(self._query, 0, num)
        found = graph.nearest(self._query, num)
        behind = self._rows.nearest(self._query, graph.num_rows, num)
        if not len(behind):
            return found
        # A row behind the graph must not count that is farther than rows which the graph has not
        # named: nearer matches may be among these.
        return self._rows.nearest_of(self._query, np.concatenate((found, behind)), num)

    def _any_of(self, rows: list[int]) -> tantivy.Query:
        if len(rows) <= _MOST_LOOKED_UP:
            terms = [
                tantivy.Query.term_query(self._index.schema, self._wanted.field, row, "basic")
                for row in rows
            ]
            return tantivy.Query.boolean_query([(tantivy.Occur.Should, one) for one in terms])
        return tantivy.Query.term_set_query(self._index.schema, self._wanted.field, rows)

    def _hits(self, query: tantivy.Query, num: int) -> _Hits:
        """Row and address of at most `num` documents."""
        found = self._index.searcher.search(
            query, num, count=False, order_by_field=self._wanted.field
        )
        hits: _Hits = found.hits
        return hits


def matches_of(index: TextIndex, file: RowFile, restriction: tantivy.Query | None) -> tantivy.Query:
    """The query for documents that have a vector in a file, and match a restriction."""
    query = tantivy.Query.term_query(index.schema, PRESENT, file.mark, "basic")
    if restriction is not None:
        query = tantivy.Query.boolean_query([(_MUST, query), (_MUST, restriction)])
    return tantivy.Query.const_score_query(query, 1.0)


def _rows_of(hits: _Hits) -> Numbers:
    return np.fromiter((row for row, _ in hits), "i8", len(hits))
