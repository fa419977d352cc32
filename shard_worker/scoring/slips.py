"""Words of a query that are probably misspelt, and what they were probably meant for.

Both are judged by the term statistics of the whole collection, so every shard says the same. They
have stems: which word as people write it is shown, the gateway reads from documents.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.as_typed import MAX_FUZZY_CHARS
from hedgerow.common.query.searched import Searched, targets_of
from hedgerow.common.query.tokens import has_cjk, words_of
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clauses,
    Node,
    Occur,
    Typed,
    Whole,
    Words,
)
from hedgerow.common.wire.search_options import Slip
from hedgerow.shard_worker.storage.dictionary import Like
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from hedgerow.shard_worker.storage.text_index import TextIndex

RARE: Final = 5  # documents: a word that more have is spelt as it is meant
_MORE: Final = 10  # how many times more documents have the word that was meant
_LEAST_CHARS: Final = 4
_TWO_EDITS_CHARS: Final = 7
_LEAST_FREQUENCY: Final = 2  # of a word that is suggested
_UNSTEMMED_EDITS: Final = 2  # between a word as it was typed and a stem
_LEAST_STEM: Final = 4  # characters, of a stem that is looked up
_LONGEST_ENDING: Final = 6
_MOST_SLIPS: Final = 5
_MOST_CANDIDATES: Final = 3


def slips_in(tree: Node, index: TextIndex, statistics: TermStatistics | None) -> tuple[Slip, ...]:
    """The words that are probably misspelt, each once; none before there are statistics.

    Prefixes, words with edits of their own, excluded words, numbers, short words, and those of
    Chinese, Japanese and Korean are taken as they are.
    """
    if statistics is None:
        return ()
    found: dict[tuple[str | None, str], Slip] = {}
    for field, word in _words(tree):
        if len(found) >= _MOST_SLIPS:
            break
        if (field, word) not in found and _may_be_misspelt(word):
            slip = _slip(field, word, index, statistics)
            if slip is not None:
                found[field, word] = slip
    return tuple(found.values())


def most_edits(word: str) -> int:
    """How many edits away the word may be that was meant."""
    return 1 if len(word) < _TWO_EDITS_CHARS else 2


def _may_be_misspelt(word: str) -> bool:
    return _LEAST_CHARS <= len(word) <= MAX_FUZZY_CHARS and word.isalpha() and not has_cjk(word)


def _words(node: Node) -> Iterator[tuple[str | None, str]]:
    match node:
        case Clauses():
            for occur, part in node.clauses:
                if occur is not Occur.MUST_NOT:
                    yield from _words(part)
        case Alternatives() | Boosted() | Whole():  # synonyms are spelt as they are meant
            yield from _words(node.node)
        case Words(is_prefix=False) | Typed(is_prefix=False):
            for word in words_of(node.text):
                yield node.field, word
        case _:
            pass


def _slip(
    field: str | None, word: str, index: TextIndex, statistics: TermStatistics
) -> Slip | None:
    """What a word was probably meant for; None if it is spelt as it is meant."""
    frequency = 0
    ranked: list[tuple[int, int, str, str]] = []
    for target in targets_of(index.collection, field):
        tokens = tokens_of(target.analysis, word)
        if target.analysis.ngrams or len(tokens) != 1:  # a stop word, say
            continue
        ((_, term),) = tokens
        here = statistics.document_frequency(target.name, term) or 0
        frequency = max(frequency, here, index.document_frequency(target.name, term))
        if frequency > RARE:
            return None
        least = _MORE * here if here else _LEAST_FREQUENCY
        for edits, one in _near(target, word, term, statistics):
            count = statistics.document_frequency(target.name, one) or 0
            # What some document has may be meant: only a likely slip is worth a suggestion.
            if count >= least and (edits == 1 or not here):
                ranked.append((edits, -count, one, target.name))
    if not ranked:
        return None
    ranked.sort()
    best = ranked[0][-1]
    candidates = dict.fromkeys((one, -count) for _, count, one, name in ranked if name == best)
    return Slip(word, best, frequency, tuple(candidates)[:_MOST_CANDIDATES])


def _near(
    target: Searched, word: str, term: str, statistics: TermStatistics
) -> Iterator[tuple[int, str]]:
    """Words of the index that may have been meant for a typed one, and how many edits away.

    A slip in an ending changes what stemming does: `univercity` becomes `univerc`, and
    `applicatino` stays, while `university` becomes `universiti` and `application` becomes `applic`.
    So stems are compared with the word as it was typed, too, and those that it begins with are
    looked up.
    """
    near = statistics.dictionary.near
    yield from _flat(near(target.name, term, most_edits(word)))
    tokens = tokens_of(target.analysis._replace(language="none"), word)
    if len(tokens) != 1 or target.analysis.language == "none":
        return
    ((_, plain),) = tokens
    if plain != term:
        yield from _flat(near(target.name, plain, _UNSTEMMED_EDITS))
    for end in range(max(_LEAST_STEM, len(plain) - _LONGEST_ENDING), len(plain)):
        yield _UNSTEMMED_EDITS, plain[:end]


def _flat(near: Mapping[int, Like]) -> Iterator[tuple[int, str]]:
    for edits, like in near.items():
        for one in like.words:
            yield edits, one
