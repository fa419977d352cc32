"""Builds the queries for fields that are indexed by the parts of words (`ngrams`).

A word of a query matches words that contain it. It is a phrase of its parts
(`common.query.tokens.ngrams_of_document`). One that is shorter than a part is the beginning of
parts; as the last word of a phrase, it matches the end of a word, or the whole.
"""

from collections.abc import Sequence

import tantivy

from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.searched import Searched
from hedgerow.common.query.tokens import words_of
from hedgerow.common.query.tree import Occur
from hedgerow.shard_worker.scoring.term_weights import TermWeights
from hedgerow.shard_worker.scoring.typed_words import TypedWords
from hedgerow.shard_worker.storage.text_index import TextIndex


class Ngrams:
    """Builds the queries for one snapshot of an index."""

    def __init__(self, index: TextIndex, weights: TermWeights | None, typed: TypedWords) -> None:
        """Score by `weights`, and what is shorter than a part as `typed` does."""
        self._schema = index.schema
        self._weights = weights
        self._typed = typed

    def query(
        self, target: Searched, text: str, occur: Occur, *, is_phrase: bool
    ) -> tantivy.Query | None:
        """The query for a text; None if it has no words.

        Args:
            target: where the parts are.
            text: one or more words.
            occur: what is required of the text. If it is optional, any of its words is enough.
            is_phrase: whether it must occur as it is, from within a word to within another.
        """
        texts = [text] if is_phrase else words_of(text)
        listed = (tokens_of(target.analysis, one) for one in texts)
        queries = [self._part(target, parts) for parts in listed if parts]
        if len(queries) <= 1:
            return queries[0] if queries else None
        each = tantivy.Occur.Should if occur is Occur.SHOULD else tantivy.Occur.Must
        return tantivy.Query.boolean_query([(each, query) for query in queries])

    def _part(self, target: Searched, parts: Sequence[tuple[int, str]]) -> tantivy.Query:
        name, words = target.name, tuple(word for _, word in parts)
        if len(words) > 1:
            phrase = tantivy.Query.phrase_query(self._schema, name, list(parts))
            return self._weighted(phrase, name, words)
        if len(words[0]) < target.analysis.ngrams:
            return self._typed.query(name, words[0], 0, is_prefix=True)
        term = tantivy.Query.term_query(self._schema, name, words[0])
        return self._weighted(term, name, words)

    def _weighted(self, query: tantivy.Query, name: str, words: tuple[str, ...]) -> tantivy.Query:
        if self._weights is None:
            return query
        return tantivy.Query.boost_query(query, self._weights.of_rarest(name, words))
