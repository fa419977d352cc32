"""Scores words as they were typed: a word itself, longer ones that begin with it, likely slips.

The words that a document may have instead of the typed one are in ranks: the word itself, those
that begin with it, those one edit away, those two edits away. Ranks of which the collection has no
word are passed over. A document scores by the best rank of which it has a word:

- first rank: as by BM25, idf tf', but at least idf / 2. tf' is BM25's part for frequency and
  length, from 0 to 2.2.
- each further rank: less than a half of idf for the second, a quarter for the third, and so on, and
  at least half of that; between the two, tf' decides.

The idf of a rank is that of a word which is in all of its documents and in those of the ranks
before it. So no length and no frequency lift a document above one with a word of a better rank, and
a shard, which may lack the better words, agrees with the others, since ranks and frequencies are
those of the whole collection.

Judged collections decided the form. If the first rank is idf (1 + tf'), nDCG@10 falls by .01 to .02
even for queries without slips; as it is, by .001 to .003.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import tantivy

from hedgerow.common.query.word_scores import (
    FIRST_SHARE,
    MAX_TF,
    MOST,
    UNKNOWN,
    inverse_document_frequency,
)
from hedgerow.shard_worker.scoring.term_weights import TermWeights
from hedgerow.shard_worker.storage.dictionary import Like
from hedgerow.shard_worker.storage.text_index import TextIndex

_TIES = 16  # how much less tf' counts below the least score of the first rank
_CACHED_QUERIES = 64  # for each snapshot; about 30 KB each at worst


class _Rank(NamedTuple):
    words: Sequence[str]
    idf: float


class TypedWords:
    """Builds the queries for one snapshot of an index."""

    def __init__(self, index: TextIndex, weights: TermWeights | None) -> None:
        """Score by `weights`; without any, by constants."""
        self._index = index
        self._schema = index.schema
        self._weights = weights
        self._built: dict[tuple[str, str, int, bool], tantivy.Query] = {}

    def query(self, name: str, word: str, distance: int, *, is_prefix: bool) -> tantivy.Query:
        """The query for an analysed word.

        Args:
            name: a text field of the index.
            word: the word.
            distance: how many edits a document's word may be away.
            is_prefix: whether words that begin with it match too.
        """
        key = name, word, distance, is_prefix
        built = self._built.get(key)
        if built is None:
            if len(self._built) >= _CACHED_QUERIES:
                self._built.clear()
            built = self._built[key] = self._build(name, word, distance, is_prefix)
        return built

    def most(self, name: str | None, word: str) -> float:
        """More than any document can score for an analysed word."""
        if self._weights is None or name is None:
            frequency, documents = 0, self._index.max_doc
            return inverse_document_frequency(documents, frequency) * MOST
        frequency = self._weights.statistics.document_frequency(name, word) or 0
        return self._weights.idf(frequency) * MOST

    def _build(self, name: str, word: str, distance: int, is_prefix: bool) -> tantivy.Query:
        ranks = self._ranks(name, word, distance, is_prefix)
        # Finds the words that are not listed, too.
        every = self._every(name, word, distance, is_prefix)
        if not ranks:
            return tantivy.Query.const_score_query(every, UNKNOWN)
        share = FIRST_SHARE
        scored: list[tantivy.Query] = []
        for position, rank in enumerate(ranks):
            scored += self._rank(name, rank, share, is_first=position == 0)
            share /= 2
        scored.append(tantivy.Query.const_score_query(every, ranks[-1].idf * share))
        return tantivy.Query.disjunction_max_query(scored)

    def _ranks(self, name: str, word: str, distance: int, is_prefix: bool) -> list[_Rank]:
        weights = self._weights
        if weights is None:
            return []
        dictionary = weights.statistics.dictionary
        like: list[Like] = []
        if itself := weights.frequency(name, word):
            like.append(Like((word,), itself))
        if is_prefix:
            like.append(dictionary.beginning_with(name, word))
        if distance:
            near = dictionary.near(name, word, distance)
            like += [near[edits] for edits in sorted(near)]
        ranks, frequency = [], 0
        for words, of_words in like:
            if words:
                frequency += of_words
                ranks.append(_Rank(words, weights.idf(frequency)))
        return ranks

    def _rank(
        self, name: str, rank: _Rank, share: float, *, is_first: bool
    ) -> Iterable[tantivy.Query]:
        """The query for the words of a rank; none if the shard has none of them."""
        # If tf' were 2.2, it would lift a further rank to the least of the rank above. In the first
        # rank, it only orders documents that would otherwise tie.
        least, by_tf = rank.idf * share, rank.idf * share / MAX_TF
        if is_first:
            by_tf /= _TIES
        listed = self._local_idfs(name, rank.words)
        if not listed:
            return
        terms = [tantivy.Query.term_query(self._schema, name, word) for word, _ in listed]
        idfs = [local for _, local in listed]
        floor = tantivy.Query.const_score_query(
            _any_of(
                [tantivy.Query.term_query(self._schema, name, word, "basic") for word, _ in listed]
            ),
            least,
        )
        yield tantivy.Query.boolean_query(
            [(tantivy.Occur.Must, floor), (tantivy.Occur.Should, _best_of(terms, idfs, by_tf))]
        )
        if is_first:
            yield _best_of(terms, idfs, rank.idf)

    def _local_idfs(self, name: str, words: Iterable[str]) -> list[tuple[str, float]]:
        """The words that the shard has, each with its weight there."""
        weights = self._weights
        if weights is None:
            return []
        found = ((word, weights.local_idf(name, word)) for word in words)
        return [(word, local) for word, local in found if local is not None]

    def _every(self, name: str, word: str, distance: int, is_prefix: bool) -> tantivy.Query:
        parts = []
        if distance or not is_prefix:
            parts.append(self._automaton(name, word, distance, is_prefix=False))
        if is_prefix:
            parts.append(self._automaton(name, word, 0, is_prefix=True))
        return _any_of(parts)

    def _automaton(self, name: str, word: str, distance: int, *, is_prefix: bool) -> tantivy.Query:
        return tantivy.Query.fuzzy_term_query(
            self._schema, name, word, distance=distance, prefix=is_prefix
        )


def _best_of(terms: Sequence[tantivy.Query], idfs: Sequence[float], weight: float) -> tantivy.Query:
    """The best of some words, each with `weight` instead of its own."""
    boosted = [
        tantivy.Query.boost_query(term, weight / idf) for term, idf in zip(terms, idfs, strict=True)
    ]
    return boosted[0] if len(boosted) == 1 else tantivy.Query.disjunction_max_query(boosted)


def _any_of(queries: Sequence[tantivy.Query]) -> tantivy.Query:
    if len(queries) == 1:
        return queries[0]
    return tantivy.Query.boolean_query([(tantivy.Occur.Should, one) for one in queries])
