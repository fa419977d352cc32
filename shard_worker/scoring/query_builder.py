"""Builds tantivy's query from a query's tree, weighted by the whole collection's statistics."""

from collections.abc import Sequence
from typing import Final

import tantivy

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.word_analysis import TEXTS
from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.searched import Searched, targets_of
from hedgerow.common.query.tokens import is_single, words_of
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clauses,
    Everything,
    Fuzzy,
    Node,
    Occur,
    Prefix,
    Typed,
    Whole,
    Words,
    searched_words,
)
from hedgerow.common.query.whole_texts import whole_mark
from hedgerow.common.query.word_scores import OF_SYNONYM
from hedgerow.common.wire.search_options import LikeTerms
from hedgerow.shard_worker.scoring.field_queries import both
from hedgerow.shard_worker.scoring.ngrams import Ngrams
from hedgerow.shard_worker.scoring.term_weights import TermWeights
from hedgerow.shard_worker.scoring.typed_words import TypedWords
from hedgerow.shard_worker.scoring.value_queries import ValueQueries
from hedgerow.shard_worker.storage.schema import PRESENT
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from hedgerow.shard_worker.storage.text_index import TextIndex

_MUST_NOT: Final = tantivy.Occur.MustNot
_OCCURS = {
    Occur.SHOULD: tantivy.Occur.Should,
    Occur.MUST: tantivy.Occur.Must,
    Occur.MUST_NOT: _MUST_NOT,
}


class QueryBuilder:
    """Builds queries for one snapshot of an index.

    Words and phrases score by BM25, prefixes and fuzzy words in texts as `typed_words` says.
    Everything else (`value_queries`) adds 1, times its boost, since a constant is the same on every
    shard.

    Words without a field name are looked for in one field of the index for each analysis, each time
    as that analysis has them. The best of these counts, as of a word and its synonyms.
    """

    def __init__(self, index: TextIndex, statistics: TermStatistics | None) -> None:
        self._index = index
        self._schema = index.schema
        self._everywhere = targets_of(index.collection, None)
        self._named: dict[str, Sequence[Searched]] = {}
        self._weights = None if statistics is None else TermWeights(index, statistics)
        self._typed = TypedWords(index, self._weights)
        self._ngrams = Ngrams(index, self._weights, self._typed)
        self._values = ValueQueries(index)

    def build(
        self, node: Node, filter_node: Node | None = None, within: tantivy.Query | None = None
    ) -> tantivy.Query:
        """The query that matches what both `node` and `filter_node` match; `node` alone scores.

        Args:
            node: what is searched for.
            filter_node: what documents must match besides.
            within: what else they must match; few documents do.
        """
        built = self._build(node) if within is None else self._build_within(node, within)
        query = built or tantivy.Query.empty_query()
        if filter_node is None:
            return query
        return both(query, self.restriction(filter_node))

    def restriction(self, filter_node: Node) -> tantivy.Query:
        """The query that matches what `filter_node` matches."""
        return self._build(filter_node) or tantivy.Query.empty_query()

    def build_like(self, like: LikeTerms, filter_node: Node | None = None) -> tantivy.Query:
        """The query for documents with any of some words, but one document; words score."""
        parts = [(tantivy.Occur.Should, self._exact(name, word)) for name, word in like.terms]
        if not parts:
            return tantivy.Query.empty_query()
        if like.id:
            same = tantivy.Query.term_query(self._schema, ID_FIELD, like.id, "basic")
            parts.append((tantivy.Occur.MustNot, same))
        query = tantivy.Query.boolean_query(parts)
        if filter_node is None:
            return query
        return both(query, self.restriction(filter_node))

    def _exact(self, name: str, word: str) -> tantivy.Query:
        term = tantivy.Query.term_query(self._schema, name, word)
        return self._weighted(term, name, (word,))

    def _build(self, node: Node, occur: Occur = Occur.SHOULD) -> tantivy.Query | None:
        """Build a node; None if analysis removes all its words, as if they had not been written."""
        match node:
            case Words():
                query = self._words(node, occur)
            case Clauses():
                query = self._clauses(node)
            case Boosted():
                inner = self._build(node.node, occur)
                query = None if inner is None else tantivy.Query.boost_query(inner, node.boost)
            case Alternatives():
                query = self._alternatives(node, occur)
            case Whole():
                query = self._whole(node)
            case Typed(field, text, distance, is_prefix):
                query = self._typed_words(field, text, distance, is_prefix=is_prefix)
            case Fuzzy():
                query = self._fuzzy(node)
            case Prefix():
                query = self._prefix(node)
            case _:
                query = self._values.query(node)
        return query

    def _build_within(self, node: Node, within: tantivy.Query) -> tantivy.Query | None:
        """Build a node, restricted to few documents.

        tantivy scores all documents near each that it looks up in a union. Words of which any may
        match are therefore restricted one by one.
        """
        if isinstance(node, Whole) and not self._is_whole_text(node):
            return self._build_within(node.node, within)
        if isinstance(node, Clauses):
            parts = self._parts(node)
            occurs = [occur for occur, _ in parts]
            if tantivy.Occur.Should in occurs and tantivy.Occur.Must not in occurs:
                return tantivy.Query.boolean_query(
                    [
                        (occur, query if occur is _MUST_NOT else both(query, within))
                        for occur, query in parts
                    ]
                )
        query = self._build(node)
        return None if query is None else both(query, within)

    def _whole(self, node: Whole) -> tantivy.Query | None:
        query = self._build(node.node)
        if not self._is_whole_text(node):
            return query
        # Above all that the words of the query can score.
        most = self._most_of(node.node)
        whole = tantivy.Query.const_score_query(
            tantivy.Query.term_query(self._schema, PRESENT, whole_mark(node.text), "basic"),
            max(most, 1.0),
        )
        if query is None:
            return whole
        return tantivy.Query.boolean_query(
            [(tantivy.Occur.Should, query), (tantivy.Occur.Should, whole)]
        )

    def _is_whole_text(self, node: Whole) -> bool:
        """Whether some document has a text that is the query; takes 2 µs, and hardly any has."""
        return self._index.document_frequency(PRESENT, whole_mark(node.text)) > 0

    def _alternatives(self, node: Alternatives, occur: Occur) -> tantivy.Query | None:
        """The best of what was typed and what means the same.

        A synonym that is rarer than what was typed weighs no more than that: so a document with a
        synonym does not come before one that has what was typed as often, in as long a text.
        """
        typed = self._build(node.node, occur)
        queries = [] if typed is None else [typed]
        most = self._most_of(node.node)
        for other in node.others:
            query = self._build(other, Occur.MUST)
            if query is not None:
                own = self._most_of(other)
                weight = min(1.0, most / own) if typed is not None and own else 1.0
                queries.append(tantivy.Query.boost_query(query, weight * OF_SYNONYM))
        return _best(queries, is_known=True)

    def _most_of(self, node: Node) -> float:
        """More than any document can score for the words of a part of the query."""
        return sum(self._most(field, text) for field, text in searched_words(node))

    def _most(self, field: str | None, text: str) -> float:
        scores = [0.0]
        for one in self._targets(field):
            words = [word for _, word in tokens_of(one.analysis, text)]
            most = [self._typed.most(one.name, word) for word in words]
            # The parts of a word score as the rarest of them.
            num_words = len(words_of(text)) if one.analysis.ngrams else len(words)
            scores.append(sum(sorted(most)[-num_words:]) if most else 0.0)
        return max(scores)

    def _clauses(self, node: Clauses) -> tantivy.Query | None:
        parts = self._parts(node)
        return tantivy.Query.boolean_query(parts) if parts else None

    def _parts(self, node: Clauses) -> list[tuple[tantivy.Occur, tantivy.Query]]:
        parts = []
        for occur, part in node.clauses:
            query = self._build(part, occur)
            if query is not None:
                is_optional = occur is Occur.MUST and self._is_dropped_somewhere(part)
                parts.append((_OCCURS[Occur.SHOULD if is_optional else occur], query))
        if parts and all(occur is _MUST_NOT for occur, _ in parts):
            parts.append((tantivy.Occur.Must, self._values.query(Everything())))
        return parts

    def _is_dropped_somewhere(self, node: Node) -> bool:
        """Whether a word is a stop word for one of the analyses, so that it cannot be required."""
        if isinstance(node, Alternatives):
            node = node.node
        if len(self._everywhere) == 1 or not isinstance(node, Words) or node.field is not None:
            return False
        return not all(tokens_of(one.analysis, node.text) for one in self._everywhere)

    def _targets(self, field: str | None) -> Sequence[Searched]:
        """Where the words of a part of the query are looked for."""
        if field is None:
            return self._everywhere
        known = self._named.get(field)
        if known is None:
            known = self._named[field] = targets_of(self._index.collection, field)
        return known

    def _words(self, node: Words, occur: Occur) -> tantivy.Query | None:
        targets = self._targets(node.field)
        if len(targets) == 1:
            return self._words_in(targets[0], node, occur)
        found = [self._words_in(one, node, occur) for one in targets]
        return _best([query for query in found if query is not None], is_known=bool(targets))

    def _words_in(self, target: Searched, node: Words, occur: Occur) -> tantivy.Query | None:
        if target.analysis.ngrams:
            return self._ngrams.query(target, node.text, occur, is_phrase=node.is_phrase)
        name, words = target.name, tokens_of(target.analysis, node.text)
        if not words:
            return None
        if node.is_prefix and len(words) == 1:
            return self._typed.query(name, words[0][1], 0, is_prefix=True)
        if node.is_phrase and len(words) > 1:
            return self._phrase(target, words, node)
        terms = [self._term(target, word) for _, word in words]
        if len(terms) == 1:
            return terms[0]
        # One written word with several tokens, such as "high-speed": any of them matches, as in a
        # list of words, unless the word is required or excluded.
        each = tantivy.Occur.Should if occur is Occur.SHOULD else tantivy.Occur.Must
        return tantivy.Query.boolean_query([(each, term) for term in terms])

    def _term(self, target: Searched, word: str) -> tantivy.Query:
        name = target.name
        if target.analysis.texts >= TEXTS and is_single(word):
            return self._typed.query(name, word, 0, is_prefix=True)
        return self._exact(name, word)

    def _phrase(
        self, target: Searched, words: Sequence[tuple[int, str]], node: Words
    ) -> tantivy.Query:
        name = target.name
        query = self._bare_phrase(name, words, node)
        if node.is_prefix:
            query = both(self._weighted_phrase(target, words[:-1]), query)
        else:
            query = self._weighted(query, name, tuple(word for _, word in words))
        if not target.is_joined or not (node.slop or _has_hole(words)):
            return query
        # In the joined field, a gap of one position separates two texts, which keeps a phrase
        # within one text. A stop word in the phrase, or slop, could bridge that gap.
        within = [
            (tantivy.Occur.Should, self._bare_phrase(one, words, node)) for one in target.fields
        ]
        return both(query, tantivy.Query.boolean_query(within))

    def _weighted_phrase(self, target: Searched, words: Sequence[tuple[int, str]]) -> tantivy.Query:
        if len(words) == 1:
            return self._term(target, words[0][1])
        name = target.name
        phrase = tantivy.Query.phrase_query(self._schema, name, list(words))
        return self._weighted(phrase, name, tuple(word for _, word in words))

    def _bare_phrase(
        self, name: str, words: Sequence[tuple[int, str]], node: Words
    ) -> tantivy.Query:
        listed: list[str | tuple[int, str]] = list(words)
        if node.is_prefix:
            return tantivy.Query.phrase_prefix_query(self._schema, name, listed)
        return tantivy.Query.phrase_query(self._schema, name, listed, node.slop)

    def _weighted(self, query: tantivy.Query, name: str, words: tuple[str, ...]) -> tantivy.Query:
        """Replace the shard's weight of these words by the collection's."""
        if self._weights is None:
            return query
        return tantivy.Query.boost_query(query, self._weights.of(name, words))

    def _typed_words(
        self, field: str | None, text: str, distance: int, *, is_prefix: bool
    ) -> tantivy.Query | None:
        targets = self._targets(field)
        found = [self._typed_in(one, text, distance, is_prefix=is_prefix) for one in targets]
        return _best([query for query in found if query is not None], is_known=bool(targets))

    def _typed_in(
        self, target: Searched, text: str, distance: int, *, is_prefix: bool
    ) -> tantivy.Query | None:
        """The words that analysis makes of a text, each with those it may be meant for."""
        analysis = target.analysis
        if analysis.ngrams:  # which find longer words anyway, and are not compared by edits
            return self._ngrams.query(target, text, Occur.MUST, is_phrase=False)
        words = [word for _, word in tokens_of(analysis, text)]
        if not words and is_prefix:  # a stop word may be the beginning of another word
            words = [word for _, word in tokens_of(analysis._replace(language="none"), text)]
        parts = [
            self._typed.query(
                target.name, word, distance, is_prefix=is_prefix and position == len(words)
            )
            for position, word in enumerate(words, 1)
        ]
        if len(parts) <= 1:
            return parts[0] if parts else None
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, part) for part in parts])

    def _fuzzy(self, node: Fuzzy) -> tantivy.Query | None:
        if self._is_text(node.field):
            return self._typed_words(node.field, node.text, node.distance, is_prefix=False)
        return self._values.fuzzy(node.field or "", node.text, node.distance)

    def _is_text(self, field: str | None) -> bool:
        return field is None or self._index.collection.type_of(field) is FieldType.TEXT

    def _prefix(self, node: Prefix) -> tantivy.Query | None:
        if node.field is None or self._is_text(node.field):
            return self._typed_words(node.field, node.text, 0, is_prefix=True)
        return self._values.prefix(node.field, node.text)


def _best(queries: Sequence[tantivy.Query], *, is_known: bool) -> tantivy.Query | None:
    """The best of the fields' queries; if there is none, None, or nothing without any field."""
    if not queries:
        return None if is_known else tantivy.Query.empty_query()
    return queries[0] if len(queries) == 1 else tantivy.Query.disjunction_max_query(queries)


def _has_hole(words: Sequence[tuple[int, str]]) -> bool:
    """Whether analysis dropped a word between two others."""
    return words[-1][0] - words[0][0] >= len(words)
