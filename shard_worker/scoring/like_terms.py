"""The words that tell most about a document, by which others like it are found."""

import math
from collections import Counter
from collections.abc import Iterable

from hedgerow.common.collection import Collection
from hedgerow.common.wire.search_options import SEARCHED, WantedTerms
from hedgerow.shard_worker.scoring.document_texts import texts_in
from hedgerow.shard_worker.scoring.term_weights import inverse_document_frequency
from hedgerow.shard_worker.scoring.text_tokens import chunks_of, read_chunk
from hedgerow.shard_worker.storage.schema import searched_field
from hedgerow.shard_worker.storage.term_statistics import TermStatistics

_LEAST_FREQUENCY = 2  # documents: a word that only this one has finds no other


def like_terms(
    collection: Collection,
    body: bytes,
    wanted: WantedTerms,
    statistics: TermStatistics | None,
) -> tuple[tuple[str, str], ...]:
    """The document's most telling words, as (field, word), the best first.

    A word tells more if it is in few documents of the collection, and often in this one, where each
    further time counts less: (1 + ln tf) idf. Before there are statistics, only the latter counts.

    Args:
        collection: the definition.
        body: the document, as JSON.
        wanted: how many words, of which fields.
        statistics: the whole collection's.
    """
    groups: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in wanted.fields]
    if not groups:
        groups = [(SEARCHED, collection.searched_fields)]
    left = wanted.max_chars
    scored: list[tuple[float, str, str]] = []
    for field, names in groups:
        counts: Counter[str] = Counter()
        for name, texts in texts_in(body, names).items():
            for text in texts:
                for word in _words(text[:left], collection):
                    counts[word] += collection.weight_of(name) or 1
                left = max(0, left - len(text))
        index_field = field or searched_field(collection)
        for word, count in counts.items():
            idf = _idf(index_field or "", word, statistics)
            if idf:
                scored.append((-(1 + math.log(count)) * idf, field, word))
    scored.sort()
    return tuple((field, word) for _, field, word in scored[: wanted.max_terms])


def _words(text: str, collection: Collection) -> Iterable[str]:
    for match in chunks_of(text):
        for token in read_chunk(collection.word_analysis, match[0]).tokens:
            yield token.text


def _idf(field: str, word: str, statistics: TermStatistics | None) -> float:
    if statistics is None:
        return 1.0
    frequency = statistics.document_frequency(field, word) or 0
    if frequency < _LEAST_FREQUENCY:
        return 0.0
    return inverse_document_frequency(max(statistics.documents, frequency), frequency)
