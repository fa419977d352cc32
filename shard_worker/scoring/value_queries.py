"""Builds tantivy's queries for values, ranges, and prefixes and edits of keywords.

Each document that matches scores 1: a constant is the same on every shard.
"""

from collections.abc import Sequence
from typing import Any

import tantivy

from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.query.tree import Everything, Node, OneOf, Present, Range
from hedgerow.shard_worker.scoring.keyword_range import (
    Beginning,
    Part,
    Single,
    Span,
    native,
    parts_of,
    prefix_span,
)
from hedgerow.shard_worker.storage.schema import EVERY, PRESENT
from hedgerow.shard_worker.storage.text_index import TextIndex

_MAX_LOOKED_UP = 32  # values; for more, a set is as fast

_TYPES = {
    FieldType.INTEGER: tantivy.FieldType.Integer,
    FieldType.FLOAT: tantivy.FieldType.Float,
    FieldType.DATE: tantivy.FieldType.Date,
}


class ValueQueries:
    """Builds such queries for one snapshot of an index."""

    def __init__(self, index: TextIndex) -> None:
        self._index = index
        self._schema = index.schema

    def query(self, node: Node) -> tantivy.Query:
        """The query for values, a range, a field that is present, or every document."""
        match node:
            case OneOf():
                query = self._one_of(node)
            case Range():
                query = self._range(node)
            case Present():
                query = self._present(node.field)
            case Everything():
                query = tantivy.Query.term_query(self._schema, PRESENT, EVERY)
            case _:
                raise TypeError(f"{node!r} is not part of a query")
        return tantivy.Query.const_score_query(query, 1.0)

    def prefix(self, name: str, text: str) -> tantivy.Query:
        """The query for keywords that begin with a text."""
        # If 300,000 keywords have the prefix, a range takes 2 ms and a prefix query 180 ms; if ten
        # have it, 0.2 ms and 0.01 ms.
        span = prefix_span(text)
        if span is None:
            query = self._beginning(name, text)
        else:
            query = self._index.parse_native(native(name, span))
        return tantivy.Query.const_score_query(query, 1.0)

    def fuzzy(self, name: str, text: str, distance: int) -> tantivy.Query:
        """The query for keywords within some edits of a text."""
        query = tantivy.Query.fuzzy_term_query(self._schema, name, text, distance=distance)
        return tantivy.Query.const_score_query(query, 1.0)

    def _one_of(self, node: OneOf) -> tantivy.Query:
        # A set is an automaton that walks the dictionary, which takes 0.2 ms; a look-up takes 5 µs.
        if len(node.values) > _MAX_LOOKED_UP:
            return tantivy.Query.term_set_query(self._schema, node.field, list(node.values))
        terms = [
            tantivy.Query.term_query(self._schema, node.field, value, "basic")
            for value in node.values
        ]
        if len(terms) == 1:
            return terms[0]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])

    def _present(self, name: str) -> tantivy.Query:
        if self._index.collection.type_of(name) is FieldType.TEXT:
            return tantivy.Query.term_query(self._schema, PRESENT, name)
        return tantivy.Query.exists_query(name)

    def _keywords(self, name: str, parts: Sequence[Part]) -> tantivy.Query:
        queries = [self._keyword_part(name, part) for part in parts]
        if len(queries) == 1:
            return queries[0]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, query) for query in queries])

    def _keyword_part(self, name: str, part: Part) -> tantivy.Query:
        match part:
            case Single(value):
                return tantivy.Query.term_query(self._schema, name, value)
            case Beginning(prefix):
                return self._beginning(name, prefix)
            case Span(None, None):
                return self._present(name)
            case _:
                return self._index.parse_native(native(name, part))

    def _beginning(self, name: str, prefix: str) -> tantivy.Query:
        return tantivy.Query.fuzzy_term_query(self._schema, name, prefix, distance=0, prefix=True)

    def _range(self, node: Range) -> tantivy.Query:
        kind = self._index.collection.type_of(node.field)
        if node.lower is None and node.upper is None:
            return self._present(node.field)
        if kind is FieldType.KEYWORD:
            return self._keywords(node.field, _keyword_parts(node))
        lower: Any = node.lower
        upper: Any = node.upper
        return tantivy.Query.range_query(
            self._schema,
            node.field,
            _TYPES[kind] if kind else tantivy.FieldType.Text,
            lower,
            upper,
            include_lower=node.include_lower,
            include_upper=node.include_upper,
        )


def _keyword_parts(node: Range) -> list[Part]:
    return parts_of(
        None if node.lower is None else str(node.lower),
        None if node.upper is None else str(node.upper),
        include_lower=node.include_lower,
        include_upper=node.include_upper,
    )
