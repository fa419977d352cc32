"""Ballast: what gives every shard of a collection the same average document length.

BM25 divides a document's length by the average length, which tantivy takes from the shard's own
index and lets nobody set. Shards' averages differ by a percent or so. That is little, but where
texts are short a great many documents tie, and then the least difference decides which of them are
found: of 117,000 dictionary glosses, it changed 3 % of the top tens.

So each index is given some documents that nothing can find: empty ones lower its average, ones
with words that no query can spell raise it, until it is the collection's to within about 1e-6.
"""

import math
from collections.abc import Mapping

import tantivy

from hedgerow.shard_worker.storage.schema import text_fields
from hedgerow.shard_worker.storage.text_index import TextIndex, TextIndexWriter

_TRIALS = 64  # numbers of documents that are tried for the one that rounds best
_SIZES = range(24)
# Analysis leaves letters and digits alone, so no query has this word, nor is it a few edits away.
_WORD = "********"

Ballast = list[dict[str, int]]


def word_of(size: int) -> str:
    """The word that a ballast document of 2 ** `size` words is made of."""
    return f"{_WORD}{size}"


def is_ballast(word: str) -> bool:
    """Whether a term of the index is ballast."""
    return word.startswith(_WORD)


def ballast_words(index: TextIndex, name: str) -> int:
    """How many words of ballast a field has, those of deleted documents included.

    The sizes are powers of two, a term for each, so that the terms' document frequencies, which
    count deleted documents just as BM25's averages do, tell the sum.
    """
    return sum(index.document_frequency(name, word_of(size)) << size for size in _SIZES)


def plan_ballast(
    words: Mapping[str, int],
    averages: Mapping[str, float],
    documents: int,
    tolerance: float = 1e-3,
) -> Ballast:
    """Which ballast brings an index to the wanted averages.

    Args:
        words: field → words in all documents of the index.
        averages: field → the wanted average; fields that are missing or 0 are left as they are.
        documents: how many documents those are.
        tolerance: by how many words in all an index may be off and still be left as it is.

    Returns:
        A list of documents, each field → how many words; none when the averages are met already,
        or are so far off that it would take as many documents again.
    """
    wanted = {name: averages[name] for name in words if averages.get(name, 0.0) > 0.0}
    if all(abs(average * documents - words[name]) <= tolerance for name, average in wanted.items()):
        return []
    fewest = max(math.ceil(words[name] / average) for name, average in wanted.items()) - documents
    # A document bears about four times the average, so a quarter of those that are added, with
    # what is missing already, and one for each power of two below, bear all the words.
    lacking = max(documents - words[name] / average for name, average in wanted.items())
    fewest = max(fewest, math.ceil((lacking / 4 + len(_SIZES)) * 4 / 3), 0)
    if fewest > documents + 2 * len(_SIZES):
        return []
    best, least = fewest, math.inf
    for count in range(fewest, fewest + _TRIALS):
        exact = [average * (documents + count) for average in wanted.values()]
        error = max(abs(one - round(one)) / one for one in exact)
        if error < least:
            best, least = count, error
    ballast: Ballast = [{} for _ in range(best)]
    for name, average in wanted.items():
        sizes = _split(round(average * (documents + best)) - words[name], average)
        for document, size in zip(ballast, sizes, strict=False):
            document[name] = size
    return ballast


def _split(words: int, average: float) -> list[int]:
    """Powers of two that add up to `words`, the largest about four times the average."""
    largest = 1 << min(max(math.ceil(math.log2(4 * average)), 0), _SIZES[-1])
    whole, rest = divmod(words, largest)
    return [largest] * whole + [1 << bit for bit in range(rest.bit_length()) if rest >> bit & 1]


def balance(writer: TextIndexWriter, averages: Mapping[str, float]) -> None:
    """Bring an index to the collection's average lengths, and commit.

    Args:
        writer: of the index; what was applied is committed.
        averages: text field → average number of words over the collection.
    """
    writer.commit()
    index = TextIndex.open(writer.path)
    if not _plan(index, averages):
        return
    if index.num_ballast:
        writer.remove_ballast()
        writer.commit()
        # What was merged with other documents still counts, so it is measured again.
        index = TextIndex.open(writer.path)
    for document in _plan(index, averages):
        writer.add_ballast({name: _text(size) for name, size in document.items()})
    writer.commit()


def _plan(index: TextIndex, averages: Mapping[str, float]) -> Ballast:
    words = {name: index.total_words(name) for name in text_fields(index.collection)}
    # Words come whole: what has ballast was brought as near as could be, or averages have moved
    # by less than matters. Without any, half a word of a small index is much.
    tolerance = 0.5 if index.num_ballast else 1e-3
    return plan_ballast(words, averages, index.max_doc, tolerance)


def _text(words: int) -> tantivy.PreTokenizedString:
    word = word_of(words.bit_length() - 1)
    return tantivy.PreTokenizedString(
        word, [tantivy.Token(word, place, 0, len(word)) for place in range(words)]
    )
