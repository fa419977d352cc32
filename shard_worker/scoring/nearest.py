"""Finds the documents of one shard whose vectors are nearest to another.

tantivy knows which documents match the filter and are not deleted, the graph which rows are near.
If few documents match, all their rows are compared. If many do, the graph names more rows than are
wanted, and the nearest of these are looked up, as many as should suffice by the share of matches;
if too few of them match, the others are, then many more, and at last all rows of the matches are
compared. So there are always as many hits as there are matches, up to the wanted number, and no row
of a deleted document is among them.

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
from hedgerow.shard_worker.vectors.rows import Near, Numbers, Query, Rows

# Up to this many matches, all of their rows are compared: to read which rows they are takes 0.3 µs
# each. If there are more, they are compared too where a graph, which would have to name many rows,
# would take as long.
MOST_COMPARED: Final = 4096
_COMPARED_PER_NAMED: Final = 20
# How many standard deviations of the number of matches among rows are looked up beyond the mean, as
# if rows were drawn at random: then 2 % of searches look up more. Near rows are often alike.
_DEVIATIONS: Final = 2.0
# How many rows a graph keeps in view for each that is named for a filter. Without one, the wanted
# rows are the nearest; with one, they are among many, of which it finds the last less surely.
_IN_VIEW_PER_NAMED: Final = 6
_GROWTH: Final = 4
_MOST_LOOKED_UP: Final = 1600  # rows, one by one; for more, a set is faster
_MOST_WITHOUT_GRAPH: Final = 400  # rows that are looked up sooner than all matches compared
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
        named = num_named(num, total / len(self._rows.matrix))
        hits = None
        if self._graph is None:
            hits = self._compared(matching, num, named)
        elif total > max(MOST_COMPARED, _COMPARED_PER_NAMED * named):
            hits = self._near(self._graph, matching, num, named)
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

    def _near(self, graph: Graph, matching: tantivy.Query, num: int, named: int) -> _Hits | None:
        """At least `num` matches among the `named` nearest rows, or among more.

        None if there are too few near ones.
        """
        most = max(_MOST_NAMED, self._wanted.ef)
        per_named = 1 if named == num else _IN_VIEW_PER_NAMED
        in_view = max(named * per_named, self._wanted.ef)
        while in_view <= most:
            near = self._candidates(graph, in_view)
            self._check()
            first = near.num_with_ties(named)
            hits: list[tuple[int, tantivy.DocAddress]] = []
            # A graph finds more near rows if it has many in view, of which most need no look-up.
            for some in (near.rows[:first], near.rows[first:]):
                if len(hits) < num and len(some):
                    hits += self._matching(matching, some.tolist())
                    self._check()
            if len(hits) >= num:
                return hits
            if in_view >= len(self._rows.matrix):
                return None
            named = in_view = in_view * _GROWTH
        return None

    def _candidates(self, graph: Graph, num: int) -> Near:
        """About the `num` nearest of all rows."""
        near = graph.nearest(self._query, num)
        if graph.num_rows == len(self._rows.matrix) and graph.is_exact:
            return near
        behind = self._rows.nearest(self._query, num, start=graph.num_rows)
        # A row behind the graph must not count that is farther than rows which the graph has not
        # named: nearer matches may be among these.
        rows = np.concatenate((near.rows, behind.rows))
        return self._rows.ranked(self._query, rows).first(num)

    def _compared(self, matching: tantivy.Query, num: int, named: int) -> _Hits | None:
        """The `num` nearest matches, and perhaps others, if all rows are compared.

        None if they are not among the nearest rows, of which a few are looked up.
        """
        num_rows = len(self._rows.matrix)
        while named <= min(_MOST_WITHOUT_GRAPH, num_rows):
            near = self._rows.nearest(self._query, named)
            self._check()
            hits = self._matching(matching, near.rows.tolist())
            # The others may be as near as rows that were not looked up.
            surely = set(near.rows[:named].tolist())
            if sum(row in surely for row, _ in hits) >= num:
                return hits
            named *= _GROWTH
        return None

    def _matching(self, matching: tantivy.Query, rows: list[int]) -> _Hits:
        """Row and address of the documents that match and have one of some rows."""
        query = tantivy.Query.boolean_query([(_MUST, matching), (_MUST, self._any_of(rows))])
        return self._hits(query, len(rows))

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


def num_named(num: int, share: float) -> int:
    """How many rows to look up for `num` matches.

    Args:
        num: at least 1.
        share: of the rows that match, above 0.
    """
    share = min(share, 1.0)
    return math.ceil((num + _DEVIATIONS * math.sqrt(num * (1 - share))) / share)


def matches_of(index: TextIndex, file: RowFile, restriction: tantivy.Query | None) -> tantivy.Query:
    """The query for documents that have a vector in a file, and match a restriction."""
    query = tantivy.Query.term_query(index.schema, PRESENT, file.mark, "basic")
    if restriction is not None:
        query = tantivy.Query.boolean_query([(_MUST, query), (_MUST, restriction)])
    return tantivy.Query.const_score_query(query, 1.0)


def _rows_of(hits: _Hits) -> Numbers:
    return np.fromiter((row for row, _ in hits), "i8", len(hits))
