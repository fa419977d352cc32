"""Length padding: gives every shard of a collection the same average document length.

BM25 divides a document's length by the average length. tantivy takes that average from the shard's
own index and has no setting for it. The shards' averages differ by a percent or so. That is little,
but short texts often tie, and then the smallest difference decides which of them are found: over
117,000 dictionary glosses it changed 3 % of the top tens.

Each index therefore gets some documents that no query can find: empty ones lower its average, and
ones with words that no query can contain raise it, until it equals the collection's average to
within about 1e-6.
"""

import math
from collections.abc import Mapping

import tantivy

from hedgerow.common.query.searched import text_fields
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

_TRIALS = 64  # how many numbers of documents are tried, to find the one that rounds best
_SIZES = range(24)
# Analysed words consist of letters and digits, so no query has this word, nor one a few edits away.
_WORD = "********"

Padding = list[dict[str, int]]


def word_of(size: int) -> str:
    """The word that a padding document of 2 ** `size` words repeats."""
    return f"{_WORD}{size}"


def is_padding(word: str) -> bool:
    """Whether a term of the index is padding."""
    return word.startswith(_WORD)


def padding_words(index: TextIndex, name: str) -> int:
    """How many words of padding a field has, those of deleted documents included.

    The sizes are powers of two, with a term for each. The sum therefore follows from the terms'
    document frequencies, which count deleted documents just as BM25's averages do.
    """
    return sum(index.document_frequency(name, word_of(size)) << size for size in _SIZES)


def plan_padding(
    words: Mapping[str, int],
    averages: Mapping[str, float],
    documents: int,
    tolerance: float = 1e-3,
) -> Padding:
    """Plan the padding that brings an index to the wanted averages.

    Args:
        words: field → words in all documents of the index.
        averages: field → the wanted average; fields that are missing or 0 get no padding.
        documents: the number of documents in the index.
        tolerance: an index is left as it is if no field is off by more words than this in total.

    Returns:
        The padding documents, each as field → number of words, a power of two. Empty if the
        averages are met, or if this would take about as many documents as the index has.
    """
    wanted = {name: averages[name] for name in words if averages.get(name, 0.0) > 0.0}
    if all(abs(average * documents - words[name]) <= tolerance for name, average in wanted.items()):
        return []
    fewest = max(math.ceil(words[name] / average) for name, average in wanted.items()) - documents
    # A padding document holds up to about four times the average. (added + lacking) / 4 of the
    # added documents, and one for each smaller power of two, must therefore hold all the added
    # words.
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
    padding: Padding = [{} for _ in range(best)]
    for name, average in wanted.items():
        sizes = _split(round(average * (documents + best)) - words[name], average)
        for document, size in zip(padding, sizes, strict=False):
            document[name] = size
    return padding


def _split(words: int, average: float) -> list[int]:
    """Powers of two that add up to `words`, the largest about four times the average."""
    largest = 1 << min(max(math.ceil(math.log2(4 * average)), 0), _SIZES[-1])
    whole, rest = divmod(words, largest)
    return [largest] * whole + [1 << bit for bit in range(rest.bit_length()) if rest >> bit & 1]


def is_balanced(index: TextIndex, averages: Mapping[str, float]) -> bool:
    """Whether `balance` would leave an index as it is; takes no writer."""
    return not _plan(index, averages)


def balance(writer: TextIndexWriter, averages: Mapping[str, float]) -> bool:
    """Bring an index to the collection's average lengths, and commit.

    Args:
        writer: the index's; pending changes are committed.
        averages: text field → average number of words over the collection.

    Returns:
        Whether it was changed. Merges that this starts may change it again.
    """
    writer.commit()
    index = TextIndex.open(writer.path)
    if not _plan(index, averages):
        return False
    if index.num_padding:
        writer.remove_padding()
        writer.commit()
        # Deleted documents count until a merge drops them, so the index is measured again.
        index = TextIndex.open(writer.path)
    for document in _plan(index, averages):
        writer.add_padding({name: _text(size) for name, size in document.items()})
    writer.commit()
    return True


def _plan(index: TextIndex, averages: Mapping[str, float]) -> Padding:
    words = {name: index.total_words(name) for name in text_fields(index.collection)}
    # Padding consists of whole words: an index that has some is as close as it can be, or the
    # averages have moved by too little to matter. In a small index without any, half a word
    # matters.
    tolerance = 0.5 if index.num_padding else 1e-3
    return plan_padding(words, averages, index.max_doc, tolerance)


def _text(words: int) -> tantivy.PreTokenizedString:
    word = word_of(words.bit_length() - 1)
    return tantivy.PreTokenizedString(
        word, [tantivy.Token(word, place, 0, len(word)) for place in range(words)]
    )
