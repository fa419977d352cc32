"""Reads a query's words as people type them: with slips, and the last one perhaps unfinished.

How many edits a word may be away depends on its length, as in Meilisearch (`minWordSizeForTypos`):
none for a word below 5 letters, one below 9, else two. Short words have many neighbours, so
edits would match almost anything. Words with digits are taken as they are: 2024 is not meant for
2023. So are words that are too long to be compared, those of Chinese, Japanese and Korean, phrases,
which ask for their words exactly, and words that are excluded.
"""

from typing import NamedTuple

from hedgerow.common.query.tokens import has_cjk, words_of
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clause,
    Clauses,
    Node,
    Occur,
    Typed,
    Words,
)

ONE_EDIT_CHARS = 5
TWO_EDITS_CHARS = 9
# A longer one takes a scorer up to 50 ms with edits, since an automaton is built from it.
MAX_FUZZY_CHARS = 64


class Typing(NamedTuple):
    """How words may differ from what is meant.

    Attributes:
        edits: of all words of a query together, at most; from the first word on, until they are
            used up. 0 if words are taken as they are.
        is_last_unfinished: whether the last word may be the beginning of another.
    """

    edits: int = 0
    is_last_unfinished: bool = False


AS_WRITTEN = Typing()


def edits_of(word: str) -> int:
    """How many edits a word may be away."""
    if not ONE_EDIT_CHARS <= len(word) <= MAX_FUZZY_CHARS or not word.isalpha() or has_cjk(word):
        return 0
    return 1 if len(word) < TWO_EDITS_CHARS else 2


def as_typed(tree: Node, typing: Typing) -> Node:
    """The query with `Typed` instead of words that may be meant for others."""
    if typing == AS_WRITTEN:
        return tree
    last = _last_words(tree) if typing.is_last_unfinished else None
    return _Typist(typing.edits, last).read(tree, Occur.SHOULD)


def wanted_edits(tree: Node) -> int:
    """How many edits the words of a query may be away together, if there is no limit."""
    typist = _Typist(0, None)
    typist.read(tree, Occur.SHOULD)
    return typist.wanted


def _last_words(tree: Node) -> Words | None:
    """The last words of a query, if it ends with words, which are not a phrase nor excluded."""
    while True:
        match tree:
            case Clauses(clauses) if clauses and clauses[-1].occur is not Occur.MUST_NOT:
                tree = clauses[-1].node
            case Boosted() | Alternatives():
                tree = tree.node
            case Words(is_phrase=False):
                return tree
            case _:
                return None


class _Typist:
    """Reads the words of one query, in their order."""

    def __init__(self, edits: int, last: Words | None) -> None:
        self._edits = edits
        self._last = last  # compared by identity: the same word may come before
        self.wanted = 0

    def read(self, node: Node, occur: Occur) -> Node:
        match node:
            case Words(is_phrase=False):
                return self._words(node, occur)
            case Boosted():
                return Boosted(self.read(node.node, occur), node.boost)
            case Alternatives():
                return Alternatives(self.read(node.node, occur), node.others)
            case Clauses():
                return Clauses(
                    tuple(
                        part
                        if part.occur is Occur.MUST_NOT
                        else Clause(part.occur, self.read(part.node, part.occur))
                        for part in node.clauses
                    )
                )
            case _:
                return node

    def _words(self, node: Words, occur: Occur) -> Node:
        words = words_of(node.text)
        parts = [self._word(node, word, is_last=False) for word in words[:-1]]
        parts += [self._word(node, word, is_last=node is self._last) for word in words[-1:]]
        if all(type(part) is Words for part in parts):
            return node
        if len(parts) == 1:
            return parts[0]
        # As for a written word of which analysis makes several: any matches, unless it is required.
        each = occur if occur is Occur.SHOULD else Occur.MUST
        return Clauses(tuple(Clause(each, part) for part in parts))

    def _word(self, node: Words, word: str, *, is_last: bool) -> Node:
        distance = edits_of(word)
        self.wanted += distance
        if distance > self._edits:
            distance = 0
        self._edits -= distance
        if not distance and not is_last:
            return Words(node.field, word)
        return Typed(node.field, word, distance, is_last)
