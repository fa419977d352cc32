"""Builds tantivy's query from a query's tree, weighted by the whole collection's statistics."""

import math
from collections.abc import Sequence
from typing import Any

import tantivy

from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.query.tree import (
    Boosted,
    Clauses,
    Everything,
    Fuzzy,
    Node,
    Occur,
    OneOf,
    Prefix,
    Present,
    Range,
    Words,
)
from hedgerow.shard_worker.scoring.keyword_range import (
    Beginning,
    Part,
    Single,
    Span,
    native,
    parts_of,
    prefix_span,
)
from hedgerow.shard_worker.scoring.query_analysis import tokens_of
from hedgerow.shard_worker.storage.schema import (
    ALL_TEXT,
    EVERY,
    PRESENT,
    analyser_of,
    searched_field,
)
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from hedgerow.shard_worker.storage.text_index import TextIndex

K1, B = 1.2, 0.75  # tantivy's constants, the same as Lucene's; they cannot be set
_MAX_LOOKED_UP = 32  # values; for more, a set is as fast
_CACHED_WEIGHTS = 10_000  # for each snapshot; about 1 MB

_OCCURS = {
    Occur.SHOULD: tantivy.Occur.Should,
    Occur.MUST: tantivy.Occur.Must,
    Occur.MUST_NOT: tantivy.Occur.MustNot,
}
_TYPES = {
    FieldType.INTEGER: tantivy.FieldType.Integer,
    FieldType.FLOAT: tantivy.FieldType.Float,
    FieldType.DATE: tantivy.FieldType.Date,
}


def inverse_document_frequency(documents: int, frequency: int) -> float:
    """BM25's weight of a term, in the form that tantivy and Lucene use (never negative)."""
    return math.log(1.0 + (documents - frequency + 0.5) / (frequency + 0.5))


class QueryBuilder:
    """Builds queries for one snapshot of an index.

    Words and phrases score by BM25. Everything else (values, ranges, prefixes, fuzzy words) adds 1,
    times its boost, since a constant is the same on every shard.
    """

    def __init__(self, index: TextIndex, statistics: TermStatistics | None) -> None:
        self._index = index
        self._schema = index.schema
        self._statistics = statistics
        self._language = index.collection.language
        self._searched = searched_field(index.collection)
        self._average_lengths: dict[str, float] = {}
        # Neither the snapshot nor the statistics ever change, so a weight stays valid.
        self._weights: dict[tuple[str, tuple[str, ...]], float] = {}

    def build(self, node: Node, filter_node: Node | None = None) -> tantivy.Query:
        """The query that matches what both `node` and `filter_node` match; `node` alone scores."""
        query = self._build(node) or tantivy.Query.empty_query()
        if filter_node is None:
            return query
        keep = self._build(filter_node) or tantivy.Query.empty_query()
        return tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Must, query),
                (tantivy.Occur.Must, tantivy.Query.const_score_query(keep, 0.0)),
            ]
        )

    def _build(self, node: Node, occur: Occur = Occur.SHOULD) -> tantivy.Query | None:
        """Build a node; None if analysis removes all its words, as if they had not been written."""
        match node:
            case Words():
                return self._words(node, occur)
            case Clauses():
                return self._clauses(node)
            case Boosted():
                inner = self._build(node.node, occur)
                return None if inner is None else tantivy.Query.boost_query(inner, node.boost)
            case Fuzzy():
                return self._expanded(node, node.distance, is_prefix=False)
            case Prefix():
                return self._prefix(node)
            case _:
                return self._constant(node)

    def _clauses(self, node: Clauses) -> tantivy.Query | None:
        parts = []
        for occur, part in node.clauses:
            query = self._build(part, occur)
            if query is not None:
                parts.append((_OCCURS[occur], query))
        if not parts:
            return None
        if all(occur is tantivy.Occur.MustNot for occur, _ in parts):
            parts.append((tantivy.Occur.Must, self._constant(Everything())))
        return tantivy.Query.boolean_query(parts)

    def _words(self, node: Words, occur: Occur) -> tantivy.Query | None:
        name = node.field or self._searched
        if name is None:
            return tantivy.Query.empty_query()
        words = self._tokens(node)
        if not words:
            return None
        if node.is_prefix and len(words) == 1:
            return self._prefix(Prefix(node.field, words[0][1]))
        if node.is_phrase and len(words) > 1:
            return self._phrase(name, words, node)
        terms = [self._term(name, word) for _, word in words]
        if len(terms) == 1:
            return terms[0]
        # One written word with several tokens, such as "high-speed": any of them matches, as in a
        # list of words, unless the word is required or excluded.
        each = tantivy.Occur.Should if occur is Occur.SHOULD else tantivy.Occur.Must
        return tantivy.Query.boolean_query([(each, term) for term in terms])

    def _tokens(self, node: Words) -> tuple[tuple[int, str], ...]:
        return tokens_of(self._language, node.text)

    def _term(self, name: str, word: str) -> tantivy.Query:
        term = tantivy.Query.term_query(self._schema, name, word)
        return self._weighted(term, name, (word,))

    def _phrase(self, name: str, words: Sequence[tuple[int, str]], node: Words) -> tantivy.Query:
        query = self._bare_phrase(name, words, node)
        if node.is_prefix:
            query = tantivy.Query.const_score_query(query, 1.0)
        else:
            query = self._weighted(query, name, tuple(word for _, word in words))
        if name != ALL_TEXT or not (node.slop or _has_hole(words)):
            return query
        # In the joined field, a gap of one position separates two texts, which keeps a phrase
        # within one text. A stop word in the phrase, or slop, could bridge that gap.
        fields = self._index.collection.searched_fields
        within = [(tantivy.Occur.Should, self._bare_phrase(one, words, node)) for one in fields]
        keep = tantivy.Query.const_score_query(tantivy.Query.boolean_query(within), 0.0)
        return tantivy.Query.boolean_query(
            [(tantivy.Occur.Must, query), (tantivy.Occur.Must, keep)]
        )

    def _bare_phrase(
        self, name: str, words: Sequence[tuple[int, str]], node: Words
    ) -> tantivy.Query:
        listed: list[str | tuple[int, str]] = list(words)
        if node.is_prefix:
            return tantivy.Query.phrase_prefix_query(self._schema, name, listed)
        return tantivy.Query.phrase_query(self._schema, name, listed, node.slop)

    def _weighted(self, query: tantivy.Query, name: str, words: tuple[str, ...]) -> tantivy.Query:
        """Replace the shard's weight of these words by the collection's."""
        if self._statistics is None:
            return query
        weight = self._weights.get((name, words))
        if weight is None:
            if len(self._weights) >= _CACHED_WEIGHTS:
                self._weights.clear()
            weight = self._weights[name, words] = self._weight(self._statistics, name, words)
        return tantivy.Query.boost_query(query, weight)

    def _weight(self, statistics: TermStatistics, name: str, words: tuple[str, ...]) -> float:
        """The collection's weight of these words, as a multiple of the shard's.

        The weight of a phrase is the sum of its words' weights. A word that the statistics list
        gets that frequency: the shard's own count includes deleted documents, which differ between
        replicas.
        """
        average = statistics.average_lengths.get(name)
        if average is None:  # the field is newer than the statistics
            return 1.0
        local_documents = self._index.max_doc
        local_weight = weight = 0.0
        for word in words:
            local = self._index.document_frequency(name, word)
            listed = statistics.document_frequency(name, word)
            # The word is newer than the statistics, or too rare to be listed.
            frequency = local if listed is None else listed
            documents = max(statistics.documents, frequency)
            local_weight += inverse_document_frequency(local_documents, local)
            weight += inverse_document_frequency(documents, frequency)
        factor = self._length_factor(average, name, words)
        return weight / local_weight * factor

    def _length_factor(self, average: float, name: str, words: Sequence[str]) -> float:
        """Correct for the shard's average length, to first order, while the padding does not.

        BM25 divides tf by tf + k1 (1 - b + b length / average). The factor is exact for a document
        of average length in which the word occurs once; for others a second-order error remains.
        """
        local = self._average_lengths.get(name, 0.0)
        if not local:
            local = self._index.average_length(name, words)
            self._average_lengths[name] = local
        if not local or not average:
            return 1.0
        return (1.0 + K1 * (1.0 - B + B * average / local)) / (1.0 + K1)

    def _expanded(self, node: Fuzzy | Prefix, distance: int, *, is_prefix: bool) -> tantivy.Query:
        name = node.field or self._searched
        if name is None:
            return tantivy.Query.empty_query()
        words = [node.text]
        if name == self._searched or self._index.collection.type_of(name) is FieldType.TEXT:
            words = analyser_of(self._language).analyze(node.text)
        queries = [
            tantivy.Query.const_score_query(
                tantivy.Query.fuzzy_term_query(
                    self._schema, name, word, distance=distance, prefix=is_prefix
                ),
                1.0,
            )
            for word in words
        ]
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, query) for query in queries])

    def _constant(self, node: Node) -> tantivy.Query:
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

    def _prefix(self, node: Prefix) -> tantivy.Query:
        if node.field is None or self._index.collection.type_of(node.field) is FieldType.TEXT:
            return self._expanded(node, 0, is_prefix=True)
        # If 300,000 keywords have the prefix, a range takes 2 ms and a prefix query 180 ms; if ten
        # have it, 0.2 ms and 0.01 ms.
        span = prefix_span(node.text)
        if span is None:
            query = self._beginning(node.field, node.text)
        else:
            query = self._index.parse_native(native(node.field, span))
        return tantivy.Query.const_score_query(query, 1.0)

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


def _has_hole(words: Sequence[tuple[int, str]]) -> bool:
    """Whether analysis dropped a word between two others."""
    return words[-1][0] - words[0][0] >= len(words)


def _keyword_parts(node: Range) -> list[Part]:
    return parts_of(
        None if node.lower is None else str(node.lower),
        None if node.upper is None else str(node.upper),
        include_lower=node.include_lower,
        include_upper=node.include_upper,
    )
