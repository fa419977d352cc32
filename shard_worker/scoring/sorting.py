"""Finds the first documents of one shard in an order by fields, by tantivy's columns.

tantivy orders by one field, and breaks ties by a document's address, which differs between
replicas. So the first key is ordered by tantivy, with some documents more than are wanted. If the
ties of the last one end among them, they are ordered here, by the other keys and by id. If not,
the documents with its value are searched again, ordered by the next key, and so on. No more than
about twice the wanted documents are ever read, however many match.

A page after another begins with the documents that have the same values as the last hit and a
higher id, followed by those that differ from it in the last key, then in the last but one.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import tantivy

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.wire.search_options import SCORE, After, SortKey, Value
from hedgerow.shard_worker.scoring.field_queries import FieldQueries, after_id, any_of, both
from hedgerow.shard_worker.scoring.retrieval import Located, retrieve
from hedgerow.shard_worker.scoring.rounding import rounded
from hedgerow.shard_worker.scoring.score_pages import retrieve_after
from hedgerow.shard_worker.storage.text_index import TextIndex, count_of

# How many documents are read beyond the wanted ones, to see where the ties of the last end.
_SPARE: Final = 8
_SPARE_SHARE: Final = 16  # one more for every 16
# Fields whose values tantivy's Python interface reads by a document's address.
_READABLE: Final = frozenset({FieldType.INTEGER, FieldType.FLOAT, FieldType.BOOLEAN})

_Hit = tuple[Any, tantivy.DocAddress]


class Row(NamedTuple):
    """One document.

    Attributes:
        values: of the sort keys, from the key at which the search that found it began.
        id: its id.
        score: its score; 0 unless it is a key.
    """

    values: tuple[Value, ...]
    id: str
    score: float


Find = Callable[[tantivy.Query, int], list[Row]]


class Ordering:
    """An order of the documents of one index.

    Attributes:
        located: where the documents are that were read.
        by_score: whether the score is the last key.
        total: how many documents match the first query of `first`; None if they were not counted.
    """

    def __init__(self, index: TextIndex, keys: Sequence[SortKey]) -> None:
        """Order by `keys`, then by id; without keys, by score.

        Raises:
            BadQueryError: the index cannot be sorted by a field.
        """
        self.located = Located(index, [])
        self.total: int | None = None
        self._whole: tantivy.Query | None = None
        self._index = index
        self.by_score = not keys or keys[-1].field == SCORE
        self._keys = [key for key in keys if key.field != SCORE]
        self._fields = [FieldQueries(index, key.field) for key in self._keys]

    def first(self, query: tantivy.Query, k: int, after: After | None = None) -> list[Row]:
        """The first `k` documents of a query, or the first after another.

        Raises:
            BadQueryError: too many documents come before those wanted.
        """
        self._whole = self._whole or query
        return self._first(query, 0, k, after)

    def _first(self, query: tantivy.Query, at: int, k: int, after: After | None) -> list[Row]:
        """The same by the keys from `at` on."""
        if at == len(self._keys):
            return self._last_key(query, k, after)
        key, field = self._keys[at], self._fields[at]
        if after is not None:
            value = after.values[at]
            equal = self._first(field.equal_of(query, value), at + 1, k, after)
            rows = _with_value(value, equal)
            if len(rows) < k:
                rows += self._beyond(query, at, k - len(rows), value)
            return rows
        if not key.is_missing_first:
            return self._in_order(query, at, k)
        rows = self._missing(query, at, k)
        if len(rows) < k:
            rows += self._in_order(both(query, field.present), at, k - len(rows))
        return rows

    def _beyond(self, query: tantivy.Query, at: int, k: int, value: Value) -> list[Row]:
        """The first documents whose value comes after another in the order of a key."""
        key, field = self._keys[at], self._fields[at]
        if value is None:
            if not key.is_missing_first:
                return []
            return self._in_order(both(query, field.present), at, k)
        beyond = field.beyond_of(query, value, is_below=key.is_descending)
        rows = self._in_order(beyond, at, k)
        if len(rows) < k and not key.is_missing_first:
            rows += self._missing(query, at, k - len(rows))
        return rows

    def _missing(self, query: tantivy.Query, at: int, k: int) -> list[Row]:
        rows = self._first(self._fields[at].missing_of(query), at + 1, k, None)
        return _with_value(None, rows)

    def _in_order(self, query: tantivy.Query, at: int, k: int) -> list[Row]:
        """The first documents in the order of a key, those without a value last."""
        key, field = self._keys[at], self._fields[at]
        order = tantivy.Order.Desc if key.is_descending else tantivy.Order.Asc
        limit = k + _SPARE + k // _SPARE_SHARE
        counts = query is self._whole
        result = self._index.searcher.search(
            query, limit, count=counts, order_by_field=key.field, order=order
        )
        if counts:
            self.total = count_of(result)
        hits = result.hits
        num_valued = len(hits)
        while num_valued and hits[num_valued - 1][0] is None:
            num_valued -= 1
        valued = [(field.shown(value), address) for value, address in hits[:num_valued]]
        is_all = len(valued) < limit
        num = _num_wanted(valued, k)
        if is_all or num < len(valued):
            rows = self._ordered(query, at, valued[:num])[:k]
        else:
            last = valued[k - 1][0]
            better = [hit for hit in valued[:k] if hit[0] != last]
            rows = self._ordered(query, at, better)
            tied = self._first(field.equal_of(query, last), at + 1, k - len(rows), None)
            rows += _with_value(last, tied)
        if is_all and len(rows) < k and len(hits) > len(valued):
            rows += self._missing(query, at, k - len(rows))
        return rows

    def _ordered(self, query: tantivy.Query, at: int, hits: Sequence[_Hit]) -> list[Row]:
        """Order documents by all keys from `at` on, of which the first value is known."""
        if not hits:
            return []
        addresses = [address for _, address in hits]
        ids = self._ids(addresses)
        columns = [[value for value, _ in hits]]
        columns += [self._column(field, ids, addresses) for field in self._fields[at + 1 :]]
        scores = [0.0] * len(ids)
        if self.by_score:
            scores = self._scores(query, ids)
            columns.append([*scores])
        rows = [
            Row(values, one, score)
            for values, one, score in zip(zip(*columns, strict=True), ids, scores, strict=True)
        ]
        return sort_rows(rows, self._keys[at:], by_score=self.by_score)

    def _last_key(self, query: tantivy.Query, k: int, after: After | None) -> list[Row]:
        if self.by_score:
            return self._by_scores(query, k, after)
        if after is not None:
            query = both(query, after_id(self._index, after.id))
        hits = self._index.searcher.search(
            query, k, count=False, order_by_field=ID_FIELD, order=tantivy.Order.Asc
        ).hits
        self.located.named.append(([one for one, _ in hits], [address for _, address in hits]))
        return [Row((), one, 0.0) for one, _ in hits]

    def _by_scores(self, query: tantivy.Query, k: int, after: After | None) -> list[Row]:
        if after is None:
            found = retrieve(self._index, query, k)
            if query is self._whole:
                self.total = found.total
        else:
            score = after.values[-1]
            if not isinstance(score, float):
                raise TypeError(f"{score!r} is not a score")
            found = retrieve_after(self._index, query, k, score, after.id, after.position)
        if found.located is not None:
            self.located.named.extend(found.located.named)
        return [Row((score,), one, score) for score, one in found.hits]

    def _ids(self, addresses: Sequence[tantivy.DocAddress]) -> list[str]:
        ids = self._index.ids(addresses)
        self.located.named.append((ids, addresses))
        return ids

    def _column(
        self, field: FieldQueries, ids: Sequence[str], addresses: Sequence[tantivy.DocAddress]
    ) -> list[Value]:
        if field.kind in _READABLE:
            values = self._index.searcher.fast_field_values(field.name, list(addresses))
            return [field.shown(value) for value in values]
        found = values_of(self._index, field, ids)
        return [found.get(one) for one in ids]

    def _scores(self, query: tantivy.Query, ids: Sequence[str]) -> list[float]:
        these = both(query, any_of(self._index, ID_FIELD, ids))
        hits = self._index.searcher.search(these, len(ids), count=False).hits
        found = self._index.ids([address for _, address in hits])
        scores = dict(zip(found, (rounded(score) for score, _ in hits), strict=True))
        return [scores[one] for one in ids]


def values_of(index: TextIndex, field: FieldQueries, ids: Sequence[str]) -> dict[str, Value]:
    """The value of a field, for each of some ids whose document has one."""
    if not ids:
        return {}
    hits = index.searcher.search(
        any_of(index, ID_FIELD, ids), len(ids), count=False, order_by_field=field.name
    ).hits
    named = index.ids([address for _, address in hits])
    return {
        one: field.shown(value)
        for one, (value, _) in zip(named, hits, strict=True)
        if value is not None
    }


def count(index: TextIndex, query: tantivy.Query) -> int:
    """How many documents a query matches."""
    return count_of(index.searcher.search(query, 1))


def sort_rows(rows: list[Row], keys: Sequence[SortKey], *, by_score: bool) -> list[Row]:
    """Sort rows by keys, then by score if that is the last key, then by id."""
    # Stable sorts by one column at a time need no comparison in Python.
    rows.sort(key=itemgetter(1))
    if by_score:
        rows.sort(key=itemgetter(2), reverse=True)
    for at in reversed(range(len(keys))):
        key = keys[at]
        present = [row for row in rows if row.values[at] is not None]
        missing = [row for row in rows if row.values[at] is None]
        present.sort(key=lambda row, at=at: row.values[at], reverse=key.is_descending)  # type: ignore[misc]
        rows = [*missing, *present] if key.is_missing_first else [*present, *missing]
    return rows


def _with_value(value: Value, rows: Sequence[Row]) -> list[Row]:
    return [Row((value, *row.values), row.id, row.score) for row in rows]


def _num_wanted(hits: Sequence[tuple[Value, Any]], k: int) -> int:
    """How many hits may be among the first `k`, those that tie with the `k`th included."""
    if len(hits) <= k:
        return len(hits)
    last, num = hits[k - 1][0], k
    while num < len(hits) and hits[num][0] == last:
        num += 1
    return num
