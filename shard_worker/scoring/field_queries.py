"""Queries on the values of one field, for sorting, grouping and the pages after the first.

A keyword field may hold lists. Such a document counts by the first of its values in ascending
order, which is also the one that tantivy compares, since lists are indexed in that order.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import tantivy

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import BadQueryError
from hedgerow.common.fields.field_types import FieldType, parse_date
from hedgerow.common.wire.search_options import Value
from hedgerow.shard_worker.scoring.keyword_range import Beginning, Part, Single, native, parts_of
from hedgerow.shard_worker.storage.text_index import TextIndex

_MAX_LOOKED_UP: Final = 32  # values; for more, a set is as fast
_TYPES: Final = {
    FieldType.INTEGER: tantivy.FieldType.Integer,
    FieldType.FLOAT: tantivy.FieldType.Float,
    FieldType.DATE: tantivy.FieldType.Date,
}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS: Final = 1_000_000_000

_MUST, _SHOULD, _NOT = tantivy.Occur.Must, tantivy.Occur.Should, tantivy.Occur.MustNot


def any_of(index: TextIndex, name: str, values: Sequence[Any]) -> tantivy.Query:
    """Documents whose field has one of the values, which are not dates."""
    if len(values) > _MAX_LOOKED_UP:
        return tantivy.Query.term_set_query(index.schema, name, list(values))
    terms = [tantivy.Query.term_query(index.schema, name, value, "basic") for value in values]
    return terms[0] if len(terms) == 1 else either(*terms)


def both(query: tantivy.Query, *to: tantivy.Query) -> tantivy.Query:
    """The same query and scores, restricted to documents that match all the others."""
    restrictions = [(_MUST, tantivy.Query.const_score_query(one, 0.0)) for one in to]
    return tantivy.Query.boolean_query([(_MUST, query), *restrictions])


def without(query: tantivy.Query, *excluded: tantivy.Query) -> tantivy.Query:
    """The same query and scores, without documents that match any of the others."""
    return tantivy.Query.boolean_query([(_MUST, query), *((_NOT, one) for one in excluded)])


def either(*queries: tantivy.Query) -> tantivy.Query:
    """Documents that match any of the queries."""
    return tantivy.Query.boolean_query([(_SHOULD, one) for one in queries])


def after_id(index: TextIndex, document_id: str) -> tantivy.Query:
    """Documents whose id is above another."""
    return _keywords(index, ID_FIELD, document_id, None, include_lower=False)


def shown_date(nanoseconds: int) -> str:
    """A date as it is in answers: RFC 3339, to the second, which is what indexes keep."""
    return _shown(nanoseconds // _NS)


@lru_cache(maxsize=4096)
def _shown(seconds: int) -> str:
    # `fromtimestamp` does not know years before 1970 on every system.
    return (EPOCH + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def seconds_of(date: datetime) -> int:
    """The seconds from 1970 to a date, rounded up."""
    return -((EPOCH - date) // timedelta(seconds=1))


class FieldQueries:
    """Queries on the values of one field of one index.

    Attributes:
        name: the field.
        kind: its type.
        has_lists: whether some document has several values.
    """

    def __init__(self, index: TextIndex, name: str) -> None:
        """Query a field that the index has.

        Raises:
            BadQueryError: it has lists that an earlier version has indexed in their own order.
        """
        self.name = name
        self.kind = index.collection.type_of(name) or FieldType.KEYWORD
        self._index = index
        self.has_lists = self.kind is FieldType.KEYWORD and has_lists(index, name)

    def shown(self, value: Any) -> Value:
        """A value as tantivy sorts by it, as it is in answers."""
        if value is None:
            return None
        if self.kind is FieldType.DATE:
            return shown_date(value)
        if self.kind is FieldType.FLOAT:
            return float(value) + 0.0  # 0.0 for -0.0, which is equal
        return value  # type: ignore[no-any-return]

    @property
    def present(self) -> tantivy.Query:
        """Documents with a value."""
        return tantivy.Query.exists_query(self.name)

    def missing_of(self, query: tantivy.Query) -> tantivy.Query:
        """Documents of a query without a value."""
        return without(query, self.present)

    def equal_of(self, query: tantivy.Query, value: Value) -> tantivy.Query:
        """Documents of a query with this value; None for those without any."""
        if value is None:
            return self.missing_of(query)
        if self.kind is FieldType.FLOAT:  # a range, since -0.0 equals 0.0
            zero = -0.0 if value == 0 else value
            return both(query, self._range(zero, value, include_lower=True, include_upper=True))
        term = any_of(self._index, self.name, [self._indexed(value)])
        if self.has_lists:
            return without(both(query, term), self._below(value))
        return both(query, term)

    def beyond_of(self, query: tantivy.Query, value: Value, *, is_below: bool) -> tantivy.Query:
        """Documents of a query with a value above another, or below it."""
        if is_below:
            return both(query, self._below(value))
        if self.has_lists:
            upper = _keywords(self._index, self.name, None, str(value), include_upper=True)
            return without(both(query, self.present), upper)
        if self.kind is FieldType.BOOLEAN:
            return both(query, self._boolean(True) if value is False else self._none())
        if self.kind is FieldType.KEYWORD:
            return both(query, _keywords(self._index, self.name, str(value), None))
        return both(query, self._range(value, None))

    def _below(self, value: Value) -> tantivy.Query:
        if self.kind is FieldType.BOOLEAN:
            return self._boolean(False) if value is True else self._none()
        if self.kind is FieldType.KEYWORD:
            return _keywords(self._index, self.name, None, str(value))
        return self._range(None, -0.0 if value == 0 and self.kind is FieldType.FLOAT else value)

    def _boolean(self, value: bool) -> tantivy.Query:
        return tantivy.Query.term_query(self._index.schema, self.name, value)

    def _none(self) -> tantivy.Query:
        return tantivy.Query.empty_query()

    def _indexed(self, value: Value) -> Any:
        return parse_date(str(value)) if self.kind is FieldType.DATE else value

    def _range(
        self,
        lower: Value,
        upper: Value,
        *,
        include_lower: bool = False,
        include_upper: bool = False,
    ) -> tantivy.Query:
        low: Any = None if lower is None else self._indexed(lower)
        high: Any = None if upper is None else self._indexed(upper)
        return tantivy.Query.range_query(
            self._index.schema,
            self.name,
            _TYPES[self.kind],
            low,
            high,
            include_lower=include_lower or lower is None,  # tantivy refuses to exclude no bound
            include_upper=include_upper or upper is None,
        )


def has_lists(index: TextIndex, name: str) -> bool:
    """Whether some document has several values of a keyword field.

    Raises:
        BadQueryError: such documents may have been indexed by an earlier version, which did not
            order the values, and indexed one that is there twice twice.
    """
    is_list = index.has_lists(name)
    if is_list and not index.orders_lists:
        raise BadQueryError(
            f"the field {name} has lists that an earlier version has indexed: `gateway optimise` "
            "indexes them as sorting, grouping and facets need them"
        )
    return is_list


def _keywords(
    index: TextIndex,
    name: str,
    lower: str | None,
    upper: str | None,
    *,
    include_lower: bool = False,
    include_upper: bool = False,
) -> tantivy.Query:
    parts = parts_of(lower, upper, include_lower=include_lower, include_upper=include_upper)
    queries = [_keyword_part(index, name, part) for part in parts]
    if not queries:
        return tantivy.Query.empty_query()
    return queries[0] if len(queries) == 1 else either(*queries)


def _keyword_part(index: TextIndex, name: str, part: Part) -> tantivy.Query:
    match part:
        case Single(value):
            return tantivy.Query.term_query(index.schema, name, value, "basic")
        case Beginning(prefix):
            return tantivy.Query.fuzzy_term_query(
                index.schema, name, prefix, distance=0, prefix=True
            )
        case _:
            return index.parse_native(native(name, part))
