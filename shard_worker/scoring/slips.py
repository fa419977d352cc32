"""Words of a query that are probably misspelt, and what they were probably meant for.

Both are judged by the term statistics of the whole collection, so every shard says the same. They
have stems: which word as people write it is shown, the gateway reads from documents.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from hedgerow.common.query.as_typed import MAX_FUZZY_CHARS
from hedgerow.common.query.tokens import has_cjk, words_of
from hedgerow.common.query.tree import Boosted, Clauses, Node, Occur, Typed, Whole, Words
from hedgerow.common.wire.search_options import SEARCHED, Slip
from hedgerow.shard_worker.scoring.query_analysis import tokens_of
from hedgerow.shard_worker.storage.dictionary import Like
from hedgerow.shard_worker.storage.schema import searched_field
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from hedgerow.shard_worker.storage.text_index import TextIndex

RARE: Final = 5  # documents: a word that more have is spelt as it is meant
_MORE: Final = 10  # how many times more documents have the word that was meant
_LEAST_CHARS: Final = 4
_TWO_EDITS_CHARS: Final = 7
_LEAST_FREQUENCY: Final = 2  # of a word that is suggested
_UNSTEMMED_EDITS: Final = 2  # between a word as it was typed and a stem
_MOST_SLIPS: Final = 5
_MOST_CANDIDATES: Final = 3


def slips_in(tree: Node, index: TextIndex, statistics: TermStatistics | None) -> tuple[Slip, ...]:
    """The words that are probably misspelt, each once; none before there are statistics.

    Prefixes, words with edits of their own, excluded words, numbers, short words, and those of
    Chinese, Japanese and Korean are taken as they are.
    """
    if statistics is None:
        return ()
    found: dict[tuple[str, str], Slip] = {}
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


def _words(node: Node) -> Iterator[tuple[str, str]]:
    match node:
        case Clauses():
            for occur, part in node.clauses:
                if occur is not Occur.MUST_NOT:
                    yield from _words(part)
        case Boosted() | Whole():
            yield from _words(node.node)
        case Words(is_prefix=False) | Typed(is_prefix=False):
            for word in words_of(node.text):
                yield node.field or SEARCHED, word
        case _:
            pass


def _slip(field: str, word: str, index: TextIndex, statistics: TermStatistics) -> Slip | None:
    name = field or searched_field(index.collection)
    tokens = tokens_of(index.collection.word_analysis, word)
    if name is None or len(tokens) != 1:  # a stop word, say
        return None
    ((_, term),) = tokens
    frequency = statistics.document_frequency(name, term) or 0
    if max(frequency, index.document_frequency(name, term)) > RARE:
        return None
    least = _MORE * frequency if frequency else _LEAST_FREQUENCY
    ranked = []
    for edits, one in _near(name, word, term, index, statistics):
        count = statistics.document_frequency(name, one) or 0
        if count >= least:
            ranked.append((edits, -count, one))
    if not ranked:
        return None
    ranked.sort()
    candidates = dict.fromkeys((one, -count) for _, count, one in ranked)
    return Slip(word, field, frequency, tuple(candidates)[:_MOST_CANDIDATES])


def _near(
    name: str, word: str, term: str, index: TextIndex, statistics: TermStatistics
) -> Iterator[tuple[int, str]]:
    """Words of the index that are near to a typed one, stemmed or not, and how many edits away.

    A slip in an ending changes what stemming does: `univercity` becomes `univerc`, while
    `university` becomes `universiti`.
    """
    near = statistics.dictionary.near
    yield from _flat(near(name, term, most_edits(word)))
    tokens = tokens_of(("none", *index.collection.word_analysis[1:]), word)
    if len(tokens) == 1 and tokens[0][1] != term:
        yield from _flat(near(name, tokens[0][1], _UNSTEMMED_EDITS))


def _flat(near: Mapping[int, Like]) -> Iterator[tuple[int, str]]:
    for edits, like in near.items():
        for one in like.words:
            yield edits, one
