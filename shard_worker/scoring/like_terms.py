"""The words that tell most about a document, by which others like it are found."""

import math
from collections import Counter
from collections.abc import Iterable

from hedgerow.common.collection import Collection
from hedgerow.common.fields.word_analysis import WordAnalysis
from hedgerow.common.query.searched import targets_of
from hedgerow.common.query.word_scores import inverse_document_frequency
from hedgerow.common.wire.search_options import WantedTerms
from hedgerow.shard_worker.scoring.document_texts import texts_in
from hedgerow.shard_worker.scoring.text_tokens import chunks_of, read_chunk
from hedgerow.shard_worker.storage.term_statistics import TermStatistics

_LEAST_FREQUENCY = 2  # documents: a word that only this one has finds no other


def like_terms(
    collection: Collection,
    body: bytes,
    wanted: WantedTerms,
    statistics: TermStatistics | None,
) -> tuple[tuple[str, str], ...]:
    """The document's most telling words, as (field of the index, word), the best first.

    A word tells more if it is in few documents of the collection, and often in this one, where each
    further time counts less: (1 + ln tf) idf. Before there are statistics, only the latter counts.

    Args:
        collection: the definition.
        body: the document, as JSON.
        wanted: how many words, of which fields.
        statistics: the whole collection's.
    """
    targets = [one for name in wanted.fields for one in targets_of(collection, name)]
    left = wanted.max_chars
    scored: list[tuple[float, str, str]] = []
    for target in targets or targets_of(collection, None):
        if target.analysis.ngrams:  # parts of words tell little
            continue
        counts: Counter[str] = Counter()
        for name, texts in texts_in(body, target.fields).items():
            for text in texts:
                for word in _words(text[:left], target.analysis):
                    counts[word] += collection.weight_of(name) or 1
                left = max(0, left - len(text))
        for word, count in counts.items():
            idf = _idf(target.name, word, statistics)
            if idf:
                scored.append((-(1 + math.log(count)) * idf, target.name, word))
    scored.sort()
    return tuple((field, word) for _, field, word in scored[: wanted.max_terms])


def _words(text: str, analysis: WordAnalysis) -> Iterable[str]:
    for match in chunks_of(text):
        for token in read_chunk(analysis, match[0]).tokens:
            yield token.text


def _idf(field: str, word: str, statistics: TermStatistics | None) -> float:
    if statistics is None:
        return 1.0
    frequency = statistics.document_frequency(field, word) or 0
    if frequency < _LEAST_FREQUENCY:
        return 0.0
    return inverse_document_frequency(max(statistics.documents, frequency), frequency)
