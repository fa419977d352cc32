"""Says what of a query matches in a text: the same words as in the index, with their places."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hedgerow.common.collection import Collection
from hedgerow.common.fields.word_analysis import TEXTS, WordAnalysis
from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.searched import searched
from hedgerow.common.query.tokens import has_cjk, is_single, plain_words
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clauses,
    Fuzzy,
    Node,
    Occur,
    Prefix,
    Typed,
    Whole,
    Words,
)
from hedgerow.shard_worker.scoring.text_tokens import Token, chunks_of, plain_chunk, read_chunk

_MOST_KNOWN: Final = 20_000  # chunks that a matcher remembers
_KNOWN_CHARS: Final = 64  # of each, at most
_MOST_FOUND: Final = 10_000  # matches in a text; the rest of it is not looked at
_LOOK_EACH: Final = 1024  # chunks between two looks at the clock


class Mark(NamedTuple):
    """A part of a text that matches.

    Attributes:
        start: where it begins, in characters.
        end: where it ends.
        word: the number of the query's word or phrase.
    """

    start: int
    end: int
    word: int


@dataclass(frozen=True)
class Phrase:
    """Words that must be in this order.

    Attributes:
        number: the phrase's, among the words of the query.
        words: position and word of each.
        slop: how many places they may be off, together.
        is_prefix: whether the last word may be the beginning of another.
    """

    number: int
    words: Sequence[tuple[int, str]]
    slop: int
    is_prefix: bool


@dataclass
class QueryWords:
    """What of a query can match in one field.

    Attributes:
        exact: word → number of the query's word.
        beginnings: beginnings of words, and the numbers of the query's words.
        near: words, how many edits others may be away, and the numbers of the query's words.
        phrases: the phrases.
        within: words that match within others, and the numbers of the query's words.
    """

    exact: dict[str, int] = field(default_factory=dict)
    beginnings: list[tuple[str, int]] = field(default_factory=list)
    near: list[tuple[str, int, int]] = field(default_factory=list)
    phrases: list[Phrase] = field(default_factory=list)
    within: list[tuple[str, int]] = field(default_factory=list)
    num: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing can match."""
        return not self.num


def words_for(
    node: Node, collection: Collection, name: str, terms: Iterable[tuple[str, str]] = ()
) -> QueryWords:
    """What of a query can match in the texts of one field.

    Args:
        node: the query's tree.
        collection: the definition.
        name: the field.
        terms: words that are searched for as well, as `LikeTerms` has them.
    """
    is_searched = bool(collection.weight_of(name))
    reader = _Reader(collection.analysis_of(name), name, is_searched=is_searched)
    reader.read(node)
    # The fields of the index that have the words of the field.
    here = {name, *(one.name for one in searched(collection) if name in one.fields)}
    for of, word in terms:
        if of in here:
            reader.add_term(word)
    return reader.found


class _Reader:
    def __init__(self, analysis: WordAnalysis, name: str, *, is_searched: bool) -> None:
        self.found = QueryWords()
        self._analysis = analysis
        self._name = name
        self._is_searched = is_searched  # by words without a field name

    def read(self, node: Node) -> None:
        match node:
            case Clauses():
                for occur, part in node.clauses:
                    if occur is not Occur.MUST_NOT:
                        self.read(part)
            case Alternatives():
                self.read(node.node)
                for other in node.others:
                    self.read(other)
            case Boosted() | Whole():
                self.read(node.node)
            case Words() | Prefix() | Typed() | Fuzzy() if self._is_here(node.field):
                self._words(node)
            case _:
                pass

    def add_term(self, word: str) -> None:
        self.found.exact.setdefault(word, self._next())

    def _is_here(self, field: str | None) -> bool:
        return self._is_searched if field is None else field == self._name

    def _words(self, node: Words | Prefix | Typed | Fuzzy) -> None:
        if self._analysis.ngrams:  # which find a word wherever it is within another
            for word in plain_words(node.text, is_folded=self._analysis.is_folded_first):
                self.found.within.append((word, self._next()))
            return
        words = tokens_of(self._analysis, node.text)
        distance, is_prefix = 0, False
        match node:
            case Words():
                is_prefix = node.is_prefix
                if node.is_phrase and len(words) > 1:
                    phrase = Phrase(self._next(), words, node.slop, is_prefix)
                    self.found.phrases.append(phrase)
                    return
            case Typed():
                distance, is_prefix = node.distance, node.is_prefix
            case Fuzzy():
                distance = node.distance
            case _:
                is_prefix = True
        if not words and is_prefix:  # a stop word may be the beginning of another word
            words = tokens_of(self._analysis._replace(language="none"), node.text)
        for place, (_, word) in enumerate(words, 1):
            self._word(word, distance, is_prefix=is_prefix and place == len(words))

    def _word(self, word: str, distance: int, *, is_prefix: bool) -> None:
        number, found = self._next(), self.found
        found.exact.setdefault(word, number)
        if is_prefix or (self._analysis.texts >= TEXTS and is_single(word)):
            found.beginnings.append((word, number))
        if distance:
            found.near.append((word, distance, number))

    def _next(self) -> int:
        self.found.num += 1
        return self.found.num


class Matcher:
    """Finds what matches in the texts of one field."""

    def __init__(self, words: QueryWords, analysis: WordAnalysis) -> None:
        self._words = words
        self._analysis = analysis
        self._matches: dict[str, int] = {}  # word → number of the query's word, 0 for none
        self._chunks: dict[str, tuple[int, tuple[Mark, ...], tuple[Token, ...]]] = {}
        self._in_phrases = {word for phrase in words.phrases for _, word in phrase.words}
        self._phrase_beginnings = tuple(
            phrase.words[-1][1] for phrase in words.phrases if phrase.is_prefix
        )

        every = {*words.exact, *self._in_phrases}
        every.update(start for start, _ in words.beginnings)
        self._of_cjk = {word for word in every if not word or has_cjk(word)}
        if any(has_cjk(word) for word, _, _ in words.near):
            self._of_cjk.add("")  # which is in all

    def find(self, text: str, is_late: Callable[[], bool] = lambda: False) -> list[Mark]:
        """What matches in a text, in its order; as far as it was read in time.

        A character may be part of several marks.
        """
        marks: list[Mark] = []
        tokens: list[Token] = []  # words of phrases
        known, position = self._chunks, 0
        for number, match in enumerate(chunks_of(text), 1):
            read = known.get(match[0])
            if read is None:
                read = self._look(match[0])
            num_positions, found, of_phrases = read
            if found or of_phrases:
                start = match.start()
                marks += [Mark(start + mark.start, start + mark.end, mark.word) for mark in found]
                tokens += [
                    Token(start + one.start, start + one.end, position + one.position, one.text, 0)
                    for one in of_phrases
                ]
            position += num_positions
            if len(marks) + len(tokens) > _MOST_FOUND or (not number % _LOOK_EACH and is_late()):
                break
        if tokens:
            for phrase in self._words.phrases:
                marks += _find_phrase(phrase, tokens)
            marks.sort()
        return marks

    def _look(self, chunk: str) -> tuple[int, tuple[Mark, ...], tuple[Token, ...]]:
        known = self._within(chunk) if self._analysis.ngrams else self._read(chunk)
        if len(chunk) <= _KNOWN_CHARS:
            if len(self._chunks) >= _MOST_KNOWN:
                self._chunks.clear()
            self._chunks[chunk] = known
        return known

    def _within(self, chunk: str) -> tuple[int, tuple[Mark, ...], tuple[Token, ...]]:
        """The marks of words wherever they are in a chunk."""
        plain = plain_chunk(chunk, is_folded=self._analysis.is_folded_first)
        marks = []
        for word, number in self._words.within:
            at = plain.text.find(word)
            while at >= 0:
                last = at + len(word) - 1
                marks.append(Mark(plain.starts[at], plain.ends[last], number))
                at = plain.text.find(word, last + 1)
        return 0, tuple(sorted(marks)), ()

    def _read(self, chunk: str) -> tuple[int, tuple[Mark, ...], tuple[Token, ...]]:
        read = read_chunk(self._analysis, chunk, self._may_match)
        found: list[Mark] = []
        of_phrases: list[Token] = []
        for token in read.tokens:
            if word := self._matching(token.text):
                # A single character of Chinese, say, matches the pairs that begin with it.
                is_whole = token.text in self._words.exact or not self._is_single(word)
                found.append(Mark(token.start, token.end if is_whole else token.first_end, word))
            if token.text in self._in_phrases or token.text.startswith(self._phrase_beginnings):
                of_phrases.append(token)
        return read.num_positions, tuple(found), tuple(of_phrases)

    def _may_match(self, run: str) -> bool:
        return any(word in run for word in self._of_cjk)

    def _is_single(self, word: int) -> bool:
        return any(number == word and is_single(one) for one, number in self._words.beginnings)

    def _matching(self, text: str) -> int:
        word = self._matches.get(text)
        if word is None:
            if len(self._matches) >= _MOST_KNOWN:
                self._matches.clear()
            word = self._matches[text] = self._match(text)
        return word

    def _match(self, text: str) -> int:
        if word := self._words.exact.get(text):
            return word
        for start, number in self._words.beginnings:
            if text.startswith(start):
                return number
        if self._words.near:
            # Only a worker that is asked for fuzzy words needs it.
            from rapidfuzz.distance import OSA  # noqa: PLC0415 - as above

            for one, distance, number in self._words.near:
                if OSA.distance(one, text, score_cutoff=distance) <= distance:
                    return number
        return 0


def _find_phrase(phrase: Phrase, tokens: Iterable[Token]) -> list[Mark]:
    places: list[dict[int, Token]] = [{} for _ in phrase.words]  # of each word, by position
    last = len(phrase.words) - 1
    for token in tokens:
        for number, (_, word) in enumerate(phrase.words):
            is_it = token.text == word
            if not is_it and number == last and phrase.is_prefix:
                is_it = token.text.startswith(word)
            if is_it:
                places[number][token.position] = token
    if not all(places):
        return []
    positions = [sorted(one) for one in places]
    offsets = [offset for offset, _ in phrase.words]
    marks: dict[tuple[int, int], None] = {}
    for first in positions[0]:
        path = _follow(positions, offsets, first, phrase.slop)
        for place, at in zip(places, path, strict=False):
            marks[place[at].start, place[at].end] = None
    return [Mark(start, end, phrase.number) for start, end in marks]


def _follow(
    positions: Sequence[Sequence[int]], offsets: Sequence[int], first: int, slop: int
) -> list[int]:
    """The positions of a phrase's words if its first one is at `first`; empty if it is not there.

    Each word is taken where it is nearest to its place after the word before.
    """
    path, base = [first], first - offsets[0]
    for of_word, offset in zip(positions[1:], offsets[1:], strict=True):
        wanted = base + offset
        at = bisect_left(of_word, wanted)
        near = min(of_word[max(at - 1, 0) : at + 1], key=lambda one: abs(one - wanted))
        slop -= abs(near - wanted)
        if slop < 0:
            return []
        path.append(near)
        base = near - offset
    return path
