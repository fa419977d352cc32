"""What a document needs in order to match a query: as much of it as a shard's summary can tell.

    +rare lamp           has the word rare
    rare lamp            has the word rare or the word lamp
    "reading lamp"       has both words
    rare~1, lam*, NOT x  anything: single words do not tell what it may be

What is not understood is `Anything`, so that a shard is asked rather than passed over. A part that
only raises scores is no need.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Final, Protocol

from hedgerow.common.collection import Collection, TextGroup
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.word_analysis import WordAnalysis
from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.query.choices import chosen
from hedgerow.common.query.query_reading import read_query
from hedgerow.common.query.shard_summary import MARKS, ShardSummary, SummaryMasks, word_key
from hedgerow.common.query.syntax import parse_filter
from hedgerow.common.query.tokens import is_single
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clauses,
    Node,
    Occur,
    OneOf,
    Present,
    Range,
    Value,
    Whole,
    Words,
)
from hedgerow.common.query.whole_texts import whole_mark
from hedgerow.common.wire.search_options import Choice, Synonym

_NUMBERS: Final = (FieldType.INTEGER, FieldType.FLOAT, FieldType.DATE)
_DATE_SLACK_S: Final = 1.0  # dates are equal if they are in the same second


class Need(Protocol):
    """What a document needs in order to match."""

    def shards(self, masks: SummaryMasks) -> int:
        """The shards that may have a document with it."""


@dataclass(frozen=True, slots=True)
class _Anything:
    """Every document has it, as far as is known."""

    def shards(self, masks: SummaryMasks) -> int:
        return masks.some


ANYTHING: Final[Need] = _Anything()


@dataclass(frozen=True, slots=True)
class HasWord:
    """A word, in one of several fields.

    Attributes:
        places: fields, each with the `word_key` of the word there.
    """

    places: tuple[tuple[str, int], ...]

    def shards(self, masks: SummaryMasks) -> int:
        """Those that may have the word in one of the fields."""
        return _union(masks.having(field, key) for field, key in self.places)


@dataclass(frozen=True, slots=True)
class Within:
    """A value of a field of numbers or dates, between bounds."""

    field: str
    lower: float | None
    upper: float | None

    def shards(self, masks: SummaryMasks) -> int:
        """Those that may have such a value."""
        return masks.reaching(self.field, self.lower, self.upper)


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of some needs."""

    parts: tuple[Need, ...]

    def shards(self, masks: SummaryMasks) -> int:
        """Those that may have a document with each."""
        found = masks.some
        for part in self.parts:
            found &= part.shards(masks)
        return found


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of some needs."""

    parts: tuple[Need, ...]

    def shards(self, masks: SummaryMasks) -> int:
        """Those that may have a document with one of them."""
        return masks.some & _union(part.shards(masks) for part in self.parts)


def has_whole(text: str) -> HasWord:
    """A text that is this as a whole; `text` is as `Whole` has it."""
    return HasWord(((MARKS, word_key(MARKS, whole_mark(text))),))


def may_match(need: Need, summary: ShardSummary) -> bool:
    """Whether a shard with this summary may have a match."""
    masks = SummaryMasks({0: summary})
    return bool(masks.some & need.shards(masks))


def need_of_value(node: Node, collection: Collection) -> Need:
    """What a document needs in order to match a part of a query that is not about words."""
    return _Reader(collection).read(node, Occur.SHOULD) or _NOTHING


def need_of(
    query: str,
    filter_text: str,
    collection: Collection,
    *,
    strict: bool,
    typing: Typing = AS_WRITTEN,
    synonyms: tuple[Synonym, ...] = (),
    choices: Iterable[Choice] = (),
) -> Need:
    """What a document needs in order to match a query, a filter and choices that were checked.

    Args:
        query: the query.
        filter_text: the filter, "" for none.
        collection: whose fields they name.
        strict: whether the query's syntax is strict.
        typing: how the query's words may differ from what is meant.
        synonyms: what they are looked for as, too.
        choices: the values that are wanted.
    """
    reader = _Reader(collection)
    tree = read_query(query, collection, strict=strict, typing=typing, synonyms=synonyms)
    need = reader.read(tree, Occur.SHOULD) or _NOTHING
    others = [chosen(one, collection) for one in choices]
    if filter_text:
        others.append(parse_filter(filter_text, collection))
    if not others:
        return need
    return _all_of([need, *(reader.read(one, Occur.SHOULD) or _NOTHING for one in others)])


@dataclass(frozen=True, slots=True)
class _Nothing:
    """No document has it: analysis has removed all words."""

    def shards(self, _masks: SummaryMasks) -> int:
        return 0


_NOTHING: Final[Need] = _Nothing()


def _union(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)


class _Reader:
    """Reads the needs of a query's parts; None of a part that analysis removes."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def read(self, node: Node, occur: Occur) -> Need | None:
        need: Need | None = ANYTHING
        match node:
            case Words():
                need = self._words(node, occur)
            case Boosted():
                need = self.read(node.node, occur)
            case Alternatives():
                need = self._alternatives(node, occur)
            case Clauses():
                need = self._clauses(node)
            case Whole():
                # A document with such a text matches even if analysis removes all words.
                need = _any_of([self.read(node.node, occur) or _NOTHING, has_whole(node.text)])
            case OneOf():
                need = _any_of([self._value(node.field, value) for value in node.values])
            case Range():
                need = self._range(node)
            case Present():
                need = self._between(node.field, None, None)
            case _:  # fuzzy words, beginnings of words, and what came later
                pass
        return need

    def _words(self, node: Words, occur: Occur) -> Need | None:
        groups = self._collection.text_groups
        if node.field is not None:
            groups = (TextGroup(self._collection.analysis_of(node.field), (node.field,)),)
        if not groups:
            return ANYTHING
        needs = [self._words_in(*group, node, occur) for group in groups]
        kept = [need for need in needs if need is not None]
        return _any_of(kept) if kept else None

    def _words_in(
        self, analysis: WordAnalysis, fields: Sequence[str], node: Words, occur: Occur
    ) -> Need | None:
        """Of words in fields that have the same analysis."""
        if analysis.ngrams:  # parts of words, the last of which may be the beginning of a part
            return ANYTHING
        tokens = [word for _, word in tokens_of(analysis, node.text)]
        if not tokens:
            return None
        if node.is_prefix:  # the last word is one of many
            tokens = tokens[:-1]
        needs = [self._word(fields, token) for token in tokens]
        if node.is_phrase or node.is_prefix or occur is not Occur.SHOULD:
            return _all_of(needs)
        return _any_of(needs)

    def _word(self, fields: Sequence[str], token: str) -> Need:
        if is_single(token):  # the beginning of a pair
            return ANYTHING
        return HasWord(tuple((field, word_key(field, token)) for field in fields))

    def _alternatives(self, node: Alternatives, occur: Occur) -> Need | None:
        needs = [self.read(node.node, occur), *(self.read(one, Occur.MUST) for one in node.others)]
        kept = [need for need in needs if need is not None]
        return _any_of(kept) if kept else None

    def _clauses(self, node: Clauses) -> Need | None:
        parts = []
        for occur, part in node.clauses:
            need = self.read(part, occur)
            if need is not None:
                is_optional = occur is Occur.MUST and self._is_dropped_somewhere(part)
                parts.append((Occur.SHOULD if is_optional else occur, need))
        if not parts:
            return None
        if required := [need for occur, need in parts if occur is Occur.MUST]:
            return _all_of(required)
        # If all parts are excluded, everything else matches.
        return _any_of([need for occur, need in parts if occur is Occur.SHOULD] or [ANYTHING])

    def _is_dropped_somewhere(self, node: Node) -> bool:
        """Whether a word is a stop word for one of the analyses, so that it is not required."""
        if isinstance(node, Alternatives):
            node = node.node
        groups = self._collection.text_groups
        if len(groups) == 1 or not isinstance(node, Words) or node.field is not None:
            return False
        return not all(tokens_of(analysis, node.text) for analysis, _ in groups)

    def _value(self, field: str, value: Value) -> Need:
        if isinstance(value, str):
            return HasWord(((field, word_key(field, value)),))
        return self._between(field, value, value)

    def _range(self, node: Range) -> Need:
        if isinstance(node.lower, str) or isinstance(node.upper, str):
            return ANYTHING
        return self._between(node.field, node.lower, node.upper)

    def _between(self, field: str, lower: Value | None, upper: Value | None) -> Need:
        if self._collection.type_of(field) not in _NUMBERS:
            return ANYTHING
        return Within(field, _number(lower, -_DATE_SLACK_S), _number(upper, _DATE_SLACK_S))


def _number(value: Value | None, slack_s: float) -> float | None:
    """A value as summaries have it; rounding keeps the order of numbers, or makes them equal."""
    if value is None:
        return None
    return value.timestamp() + slack_s if isinstance(value, datetime) else float(value)


def _all_of(parts: Iterable[Need]) -> Need:
    kept = tuple(part for part in parts if part is not ANYTHING)
    if len(kept) == 1:
        return kept[0]
    return AllOf(kept) if kept else ANYTHING


def _any_of(parts: Iterable[Need]) -> Need:
    kept = tuple(parts)
    if ANYTHING in kept:
        return ANYTHING
    return kept[0] if len(kept) == 1 else AnyOf(kept)
