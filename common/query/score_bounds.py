"""The most that a document can score for a query in a shard of which only a summary is known.

It follows how scorers build a query (`shard_worker.scoring.query_builder`), part by part: a word
that the shard may have adds its greatest score (`word_scores.MOST` times its idf), one that the
shard lacks adds nothing, and without a word that is required nothing matches. How frequent words
are is known from the same statistics as scorers have; a word that is not listed there may be as
rare as can be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hedgerow.common.collection import Collection
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.word_analysis import TEXTS
from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.query.needs import ANYTHING, HasWord, Need, has_whole, need_of_value
from hedgerow.common.query.query_reading import read_query
from hedgerow.common.query.searched import Searched, targets_of, text_fields
from hedgerow.common.query.shard_summary import SummaryMasks, word_key
from hedgerow.common.query.tokens import is_single, words_of
from hedgerow.common.query.tree import (
    Alternatives,
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
    Typed,
    Whole,
    Words,
    searched_words,
)
from hedgerow.common.query.word_frequencies import WordFrequencies
from hedgerow.common.query.word_scores import (
    MOST,
    MOST_OF_NEXT,
    OF_SYNONYM,
    UNKNOWN,
    inverse_document_frequency,
)
from hedgerow.common.wire.search_options import Synonym

# Scores are computed in single precision, and shown with five digits.
_SLACK: Final = 1e-4


class ScoreBound(Protocol):
    """The most that a document of a shard can score for a part of a query."""

    def most(self, masks: SummaryMasks, shard: int) -> float | None:
        """The most in a shard, which is a bit; None if none of its documents matches the part."""


def score_bound(
    query: str,
    collection: Collection,
    frequencies: WordFrequencies,
    *,
    strict: bool,
    typing: Typing = AS_WRITTEN,
    synonyms: tuple[Synonym, ...] = (),
) -> ScoreBound | None:
    """The most that documents can score for a query that was checked; None if there is no bound.

    Args:
        query: the query.
        collection: whose fields it names.
        frequencies: of its words, by which scorers rank.
        strict: whether the query's syntax is strict.
        typing: how the query's words may differ from what is meant.
        synonyms: what they are looked for as, too.
    """
    if frequencies.fields != frozenset(text_fields(collection)):  # fields were added
        return None
    tree = read_query(query, collection, strict=strict, typing=typing, synonyms=synonyms)
    part = _Reader(collection, frequencies).read(tree, Occur.SHOULD)
    return _NOTHING if part is None else part


def shown_bound(score: float) -> float:
    """More than the score of any document in answers, if none scores above `score` in theory."""
    return math.ceil(score * (1 + _SLACK) * 1e6 + 1) / 1e6


@dataclass(frozen=True, slots=True)
class _Constant:
    """A score for all that have what is needed, and another for the rest of the matches."""

    need: Need
    score: float
    otherwise: float | None = None

    def most(self, masks: SummaryMasks, shard: int) -> float | None:
        return self.score if self.need.shards(masks) & shard else self.otherwise


@dataclass(frozen=True, slots=True)
class _Times:
    part: ScoreBound
    boost: float

    def most(self, masks: SummaryMasks, shard: int) -> float | None:
        score = self.part.most(masks, shard)
        return None if score is None else score * self.boost


@dataclass(frozen=True, slots=True)
class _Best:
    """Any of some parts; the best one counts."""

    parts: Sequence[ScoreBound]

    def most(self, masks: SummaryMasks, shard: int) -> float | None:
        scores = [part.most(masks, shard) for part in self.parts]
        return max((score for score in scores if score is not None), default=None)


@dataclass(frozen=True, slots=True)
class _Sum:
    """All of some parts, and any of others, one of which has to match if none is required."""

    required: Sequence[ScoreBound]
    optional: Sequence[ScoreBound] = ()

    def most(self, masks: SummaryMasks, shard: int) -> float | None:
        total, is_matched = 0.0, bool(self.required)
        for part in self.required:
            score = part.most(masks, shard)
            if score is None:
                return None
            total += score
        for part in self.optional:
            score = part.most(masks, shard)
            if score is not None:
                total, is_matched = total + score, True
        return total if is_matched else None


_NOTHING: Final[ScoreBound] = _Best(())


class _Reader:
    """Reads the bounds of a query's parts; None of a part that analysis removes."""

    def __init__(self, collection: Collection, frequencies: WordFrequencies) -> None:
        self._collection = collection
        self._frequencies = frequencies
        self._everywhere = targets_of(collection, None)

    def read(self, node: Node, occur: Occur) -> ScoreBound | None:
        part: ScoreBound | None
        match node:
            case Words():
                part = self._words(node, occur)
            case Clauses():
                part = self._clauses(node)
            case Boosted():
                inner = self.read(node.node, occur)
                part = None if inner is None else _Times(inner, node.boost)
            case Alternatives():
                part = self._alternatives(node, occur)
            case Whole():
                part = self._whole(node)
            case Typed():
                part = self._typed_words(
                    node.field, node.text, node.distance, is_prefix=node.is_prefix
                )
            case Fuzzy() if self._is_text(node.field):
                part = self._typed_words(node.field, node.text, node.distance, is_prefix=False)
            case Prefix() if self._is_text(node.field):
                part = self._typed_words(node.field, node.text, 0, is_prefix=True)
            case Fuzzy() | Prefix() | OneOf() | Range() | Present() | Everything():
                part = _Constant(need_of_value(node, self._collection), 1.0)
        return part

    def _is_text(self, field: str | None) -> bool:
        return field is None or self._collection.type_of(field) is FieldType.TEXT

    def _targets(self, field: str | None) -> Sequence[Searched]:
        return self._everywhere if field is None else targets_of(self._collection, field)

    def _clauses(self, node: Clauses) -> ScoreBound | None:
        required, optional, is_any = [], [], False
        for occur, one in node.clauses:
            part = self.read(one, occur)
            if part is None:
                continue
            is_any = True
            if occur is Occur.MUST and not self._is_dropped_somewhere(one):
                required.append(part)
            elif occur is not Occur.MUST_NOT:
                optional.append(part)
        if not is_any:
            return None
        if not required and not optional:  # everything but what is excluded
            return _Constant(ANYTHING, 1.0)
        return _Sum(required, optional)

    def _is_dropped_somewhere(self, node: Node) -> bool:
        """Whether a word is a stop word for one of the analyses, so that it is not required."""
        if isinstance(node, Alternatives):
            node = node.node
        if len(self._everywhere) == 1 or not isinstance(node, Words) or node.field is not None:
            return False
        return not all(tokens_of(one.analysis, node.text) for one in self._everywhere)

    def _alternatives(self, node: Alternatives, occur: Occur) -> ScoreBound | None:
        typed = self.read(node.node, occur)
        others = [self.read(one, Occur.MUST) for one in node.others]
        parts = [_Times(one, OF_SYNONYM) for one in others if one is not None]
        if typed is None:
            return _Best(parts) if parts else None
        return _Best([typed, *parts])

    def _whole(self, node: Whole) -> ScoreBound:
        words = sum(self._most_of_words(field, text) for field, text in searched_words(node.node))
        whole = _Constant(has_whole(node.text), max(words, 1.0))
        inner = self.read(node.node, Occur.SHOULD)
        return whole if inner is None else _Sum((), (inner, whole))

    def _most_of_words(self, field: str | None, text: str) -> float:
        """What scorers lift such a document by for some words, or more."""
        return max(
            (
                sum(MOST * self._idf(one, word) for _, word in tokens_of(one.analysis, text))
                for one in self._targets(field)
            ),
            default=0.0,
        )

    def _words(self, node: Words, occur: Occur) -> ScoreBound | None:
        found = [self._words_in(one, node, occur) for one in self._targets(node.field)]
        return self._best_of(node.field, found)

    def _best_of(self, field: str | None, found: Sequence[ScoreBound | None]) -> ScoreBound | None:
        """The best of the parts for the fields of the index."""
        parts = [part for part in found if part is not None]
        if not parts:
            return None if self._targets(field) else _NOTHING
        return parts[0] if len(parts) == 1 else _Best(parts)

    def _words_in(self, target: Searched, node: Words, occur: Occur) -> ScoreBound | None:
        if target.analysis.ngrams:
            return self._ngrams(target, node.text, occur, is_phrase=node.is_phrase)
        words = [word for _, word in tokens_of(target.analysis, node.text)]
        if not words:
            return None
        if node.is_prefix and len(words) == 1:
            return self._typed(target, words[0])
        if node.is_phrase and len(words) > 1:
            if node.is_prefix:
                words = words[:-1]
            if len(words) > 1:
                return _Sum([self._exact(target, word) for word in words])
        parts = [self._term(target, word) for word in words]
        if len(parts) == 1:
            return parts[0]
        return _Sum((), parts) if occur is Occur.SHOULD else _Sum(parts)

    def _term(self, target: Searched, word: str) -> ScoreBound:
        if target.analysis.texts >= TEXTS and is_single(word):
            return self._typed(target, word)
        return self._exact(target, word)

    def _exact(self, target: Searched, word: str) -> ScoreBound:
        return _Constant(_has(target, word), self._most(target, word))

    def _typed_words(
        self, field: str | None, text: str, distance: int, *, is_prefix: bool
    ) -> ScoreBound | None:
        found = [
            self._typed_in(one, text, distance, is_prefix=is_prefix) for one in self._targets(field)
        ]
        return self._best_of(field, found)

    def _typed_in(
        self, target: Searched, text: str, distance: int, *, is_prefix: bool
    ) -> ScoreBound | None:
        analysis = target.analysis
        if analysis.ngrams:
            return self._ngrams(target, text, Occur.MUST, is_phrase=False)
        words = [word for _, word in tokens_of(analysis, text)]
        if not words and is_prefix:
            words = [word for _, word in tokens_of(analysis._replace(language="none"), text)]
        last = len(words) - 1
        parts = [
            self._typed(target, word)
            if distance or (is_prefix and at == last)
            # Only itself, which counts as if it were one of several.
            else _Constant(_has(target, word), max(self._most(target, word), UNKNOWN))
            for at, word in enumerate(words)
        ]
        if len(parts) <= 1:
            return parts[0] if parts else None
        return _Sum(parts)

    def _typed(self, target: Searched, word: str) -> ScoreBound:
        """Of a word, and of those that are like it, of which a shard may always have some."""
        frequency = self._frequencies.of(target.name, word)
        most = self._most(target, word)
        if not frequency:  # another word may be of the first rank
            return _Constant(ANYTHING, max(most, UNKNOWN))
        return _Constant(_has(target, word), most, self._idf(target, word) * MOST_OF_NEXT)

    def _ngrams(
        self, target: Searched, text: str, occur: Occur, *, is_phrase: bool
    ) -> ScoreBound | None:
        texts = [text] if is_phrase else words_of(text)
        listed = ([word for _, word in tokens_of(target.analysis, one)] for one in texts)
        parts = [self._parts(target, words) for words in listed if words]
        if len(parts) <= 1:
            return parts[0] if parts else None
        return _Sum((), parts) if occur is Occur.SHOULD else _Sum(parts)

    def _parts(self, target: Searched, words: Sequence[str]) -> ScoreBound:
        """Of the parts of a word, which score as the rarest of them."""
        if len(words) == 1 and len(words[0]) < target.analysis.ngrams:
            return self._typed(target, words[0])
        return _Constant(ANYTHING, max(self._most(target, word) for word in words))

    def _most(self, target: Searched, word: str) -> float:
        """The most that a document can score for a word that it has."""
        frequency = max(1, self._frequencies.of(target.name, word))
        return MOST * self._of_frequency(frequency)

    def _idf(self, target: Searched, word: str) -> float:
        return self._of_frequency(self._frequencies.of(target.name, word))

    def _of_frequency(self, frequency: int) -> float:
        documents = max(self._frequencies.documents, frequency)
        return inverse_document_frequency(documents, frequency)


def _has(target: Searched, word: str) -> HasWord:
    return HasWord(tuple((field, word_key(field, word)) for field in target.fields))
