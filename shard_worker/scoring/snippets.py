"""Cuts the parts of a text that match best out of it, and marks what matches. Pure."""

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from heapq import nlargest
from html import escape
from itertools import islice
from typing import Final, NamedTuple

from hedgerow.common.wire.search_options import WantedHighlights
from hedgerow.shard_worker.scoring.matching import Mark

_MOST_MARKS: Final = 2000  # in a whole text: what is beyond is not marked
_SEARCHED_CHARS: Final = 20  # for white space at which to cut
_CUT: Final = "…"


class Part(NamedTuple):
    """A part of a text that matches.

    Attributes:
        start: where its first match begins.
        end: where its last match ends.
        words: how many of the query's words it has.
        marks: how many matches.
        text: the number of the text.
    """

    start: int
    end: int
    words: int
    marks: int
    text: int


def snippets_of(
    texts: Sequence[str], marks: Sequence[Sequence[Mark]], wanted: WantedHighlights
) -> list[str]:
    """The best snippets of a field's texts, in their order: HTML, with marks.

    A snippet is better if it has more of the query's words, or else more matches.

    Args:
        texts: of the field.
        marks: what matches in each of them, in its order.
        wanted: how many snippets of which length, and the tags.
    """
    if not wanted.snippets:
        return [
            _whole(text, found, wanted) for text, found in zip(texts, marks, strict=True) if found
        ]
    parts = [
        part
        for number, found in enumerate(marks)
        for part in _parts(found, wanted.snippet_chars, number)
    ]
    best = nlargest(
        wanted.snippets, parts, key=lambda part: (part.words, part.marks, -part.text, -part.start)
    )
    best.sort(key=lambda part: (part.text, part.start))
    snippets = []
    before = 0
    for place, part in enumerate(best):
        text = texts[part.text]
        if not place or best[place - 1].text != part.text:
            before = 0
        after = len(text)
        if place + 1 < len(best) and best[place + 1].text == part.text:
            after = best[place + 1].start
        start, end = _widened(text, part, wanted.snippet_chars, before, after)
        snippets.append(_snippet(text, start, end, marks[part.text], wanted))
        before = end
    return snippets


def _whole(text: str, marks: Sequence[Mark], wanted: WantedHighlights) -> str:
    shown = text[: wanted.max_chars]
    marked = _marked(shown, 0, len(shown), islice(marks, _MOST_MARKS), wanted)
    return marked if len(shown) == len(text) else marked + _CUT


def _parts(marks: Iterable[Mark], most_chars: int, text: int) -> list[Part]:
    """Groups of neighbouring matches, each no longer than a snippet if it has several."""
    parts: list[Part] = []
    start = end = num = 0
    words: set[int] = set()

    def add() -> None:
        if num:
            # Marks that overlap, as in Chinese, may go on for the whole text.
            last = min(end, start + max(most_chars, first_chars))
            parts.append(Part(start, last, len(words), num, text))

    first_chars = 0
    for mark in marks:
        if not num or (mark.end - start > most_chars and mark.start >= end):
            add()
            start, end, num, words = mark.start, mark.end, 0, set()
            first_chars = end - start
        end = max(end, mark.end)
        num += 1
        words.add(mark.word)
    add()
    return parts


def _widened(text: str, part: Part, chars: int, before: int, after: int) -> tuple[int, int]:
    """A part with what is around it, up to `chars` in all, from white space to white space."""
    start, end = part.start, part.end
    spare = max(0, chars - (end - start))
    left = max(before, start - spare // 2)
    right = min(after, end + spare - (start - left))
    left = max(before, start - (spare - (right - end)))
    if left > before:
        left = _first_cut(text, left, start)
    if right < len(text):
        right = _last_cut(text, end, right)
    return left, right


def _first_cut(text: str, left: int, start: int) -> int:
    for at in range(left, min(start, left + _SEARCHED_CHARS)):
        if text[at - 1].isspace():
            return at
    while left < start and unicodedata.combining(text[left]):
        left += 1
    return left


def _last_cut(text: str, end: int, right: int) -> int:
    for at in range(right, max(end, right - _SEARCHED_CHARS), -1):
        if text[at].isspace():
            return at
    while right > end and unicodedata.combining(text[right]):
        right -= 1
    return right


def _snippet(
    text: str, start: int, end: int, marks: Sequence[Mark], wanted: WantedHighlights
) -> str:
    within = marks[bisect_left(marks, (start,)) : bisect_left(marks, (end,))]
    marked = _marked(text, start, end, within, wanted).strip()
    return f"{_CUT if start else ''}{marked}{_CUT if end < len(text) else ''}"


def _marked(
    text: str, start: int, end: int, marks: Iterable[Mark], wanted: WantedHighlights
) -> str:
    """A part of a text as HTML, with tags around what matches."""
    pieces: list[str] = []
    done = start
    for begins, ends in _joined(marks):
        ends = min(ends, end)  # noqa: PLW2901 - of a mark that is cut
        pieces += (
            escape(text[done:begins]),
            wanted.pre,
            escape(text[begins:ends]),
            wanted.post,
        )
        done = ends
    pieces.append(escape(text[done:end]))
    return "".join(pieces)


def _joined(marks: Iterable[Mark]) -> Iterable[tuple[int, int]]:
    """The places of the marks; those that overlap are one."""
    start = end = -1
    for mark in marks:
        if mark.start < end:
            end = max(end, mark.end)
            continue
        if end >= 0:
            yield start, end
        start, end = mark.start, mark.end
    if end >= 0:
        yield start, end
