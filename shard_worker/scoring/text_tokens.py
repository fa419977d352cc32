"""Finds the words of a stored text and their places in it, as analysis has made them for the index.

Analysis changes a text before it splits it: Unicode's compatible form, accents, pairs of Chinese
characters (`common.query.tokens`). So a text is cut into chunks that nothing of this crosses, and
where a chunk changes, it is known for each character from which ones it has been made. Most chunks
are a plain word, and words repeat: what was found for the last ones is remembered.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from hedgerow.common.fields.word_analysis import TEXTS, WordAnalysis
from hedgerow.common.query.analysers import analyser_of
from hedgerow.common.query.tokens import cjk_runs, folded, words_of

# Between two chunks is punctuation, which is part of no word and joins no other character: that of
# ASCII, and the general, ideographic and full-width one.
chunks_of: Final = re.compile(
    r"[^\x00-/:-@\[-`{-\x7f\u2000-\u2027\u3000-\u3004\u3008-\u3020"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]+"
).finditer
_CACHED_CHUNKS: Final = 16_384
_CACHED_CHARS: Final = 32
# The second and third part of a syllable of Korean, which join the first.
_FIRST_PART, _LAST_PART = "\u1160", "\u11ff"


class Token(NamedTuple):
    """A word of a text.

    Attributes:
        start: where it begins, in characters.
        end: where it ends.
        position: its number among the words, those that analysis drops included.
        text: what analysis has made of it.
        first_end: where its first character ends.
    """

    start: int
    end: int
    position: int
    text: str
    first_end: int


class Chunk(NamedTuple):
    """The words of a chunk; their places and positions are those in the chunk.

    Attributes:
        num_positions: how many words it has, those that analysis drops included.
        tokens: the words.
    """

    num_positions: int
    tokens: tuple[Token, ...]


class PlainChunk(NamedTuple):
    """A chunk as words are compared without an analysis: in lower case, perhaps without accents.

    Attributes:
        text: the text.
        starts: where each of its characters begins in the chunk.
        ends: where each of them ends.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


def plain_chunk(chunk: str, *, is_folded: bool) -> PlainChunk:
    """A chunk in the form of `ngrams_of_document`, but for the parts."""
    if chunk.isascii():
        places = range(len(chunk) + 1)
        return PlainChunk(chunk.lower(), places, places[1:])
    part = _compatible(chunk)
    if is_folded:
        part = part.folded()
    return PlainChunk(*part.made_of([character.lower() for character in part.text]))


def read_chunk(
    analysis: WordAnalysis, chunk: str, is_wanted: Callable[[str], bool] = lambda _run: True
) -> Chunk:
    """The words of one of `chunks_of` a text.

    Args:
        analysis: of the text.
        chunk: the chunk.
        is_wanted: whether words of a run of Chinese, say, are wanted; it may be ignored.
    """
    if len(chunk) > _CACHED_CHARS:
        return _read(analysis, chunk, is_wanted)
    return _cached_read(analysis, chunk)


def _read(
    analysis: WordAnalysis, chunk: str, is_wanted: Callable[[str], bool] = lambda _run: True
) -> Chunk:
    if chunk.isascii():
        words = analyser_of(analysis).analyze(chunk)
        return Chunk(1, tuple(Token(0, len(chunk), 0, word, 1) for word in words))
    if analysis.texts < TEXTS:
        whole = range(len(chunk) + 1)
        return Chunk(len(words_of(chunk)), tuple(_tokens(analysis, chunk, whole, whole[1:], 0)))
    text, starts, ends = _compatible(chunk)
    tokens: list[Token] = []
    position = after = 0
    for run in (*cjk_runs(text), None):
        start, end = (len(text),) * 2 if run is None else run.span()
        if start > after:
            part = _Part(text[after:start], starts[after:start], ends[after:start])
            if analysis.is_folded_first:
                part = part.folded()
            tokens += _tokens(analysis, *part, position)
            position += len(words_of(part.text))
        if end > start:
            characters = text[start:end]
            if not characters.isalnum():  # symbols, which are no part of a word
                part = _paired(_Part(characters, starts[start:end], ends[start:end]))
                tokens += _tokens(analysis, *part, position)
                position += len(words_of(part.text))
            else:
                if is_wanted(characters):
                    tokens += _pairs(text, starts, ends, start, end, position)
                position += end - start
        after = end
    return Chunk(position, tuple(tokens))


_cached_read: Final = lru_cache(maxsize=_CACHED_CHUNKS)(_read)


class _Part(NamedTuple):
    """A part of a text, and where each of its characters begins and ends in a chunk."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def folded(self) -> "_Part":
        """The same without accents."""
        return self.made_of([folded(character) for character in self.text])

    def made_of(self, characters: Sequence[str]) -> "_Part":
        """The same with other characters in the places of its own, or none, or several."""
        if all(len(character) == 1 for character in characters):
            return _Part("".join(characters), self.starts, self.ends)
        return _Part(
            "".join(characters),
            [at for at, one in zip(self.starts, characters, strict=True) for _ in one],
            [at for at, one in zip(self.ends, characters, strict=True) for _ in one],
        )


def _tokens(
    analysis: WordAnalysis, text: str, starts: Sequence[int], ends: Sequence[int], position: int
) -> Iterator[Token]:
    for token in analyser_of(analysis).pre_tokenize(text).tokens:
        first, last = token.char_offset_from, token.char_offset_to - 1
        yield Token(starts[first], ends[last], position + token.position, token.text, ends[first])


def _pairs(
    text: str, starts: Sequence[int], ends: Sequence[int], start: int, end: int, position: int
) -> Iterator[Token]:
    """As `of_document`: each pair of neighbours, and the last character; no filter changes them."""
    for at in range(start, end - 1):
        yield Token(starts[at], ends[at + 1], position, text[at : at + 2], ends[at])
        position += 1
    yield Token(starts[end - 1], ends[end - 1], position, text[end - 1], ends[end - 1])


def _paired(run: _Part) -> _Part:
    """As `_pairs`, before they are split."""
    last = len(run.text) - 1
    order = [place for at in range(last) for place in (at, at + 1, -1)] + [last]
    return _Part(
        "".join(" " if at < 0 else run.text[at] for at in order),
        [run.starts[at] for at in order],
        [run.ends[at] for at in order],
    )


def _compatible(chunk: str) -> _Part:
    """Unicode's compatible form of a chunk."""
    if unicodedata.is_normalized("NFKC", chunk):
        places = range(len(chunk) + 1)
        return _Part(chunk, places, places[1:])
    cuts = [at for at, character in enumerate(chunk) if not at or not _joins(character)]
    parts = [
        (start, end, unicodedata.normalize("NFKC", chunk[start:end]))
        for start, end in pairwise([*cuts, len(chunk)])
    ]
    whole = unicodedata.normalize("NFKC", chunk)
    if "".join(text for _, _, text in parts) != whole:
        parts = [(0, len(chunk), whole)]
    return _Part(
        whole,
        [start for start, _, text in parts for _ in text],
        [end for _, end, text in parts for _ in text],
    )


def _joins(character: str) -> bool:
    """Whether a character becomes one with those before it."""
    first = unicodedata.normalize("NFKC", character)[0]
    return unicodedata.combining(first) != 0 or _FIRST_PART <= first <= _LAST_PART
