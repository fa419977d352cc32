"""What words weigh in a whole collection, as multiples of what they weigh in one shard."""

from collections.abc import Sequence

from hedgerow.common.query.word_scores import (
    K1,
    MAX_CORRECTION,
    B,
    inverse_document_frequency,
)
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from hedgerow.shard_worker.storage.text_index import TextIndex

_CACHED_WEIGHTS = 10_000  # for each snapshot; about 1 MB


class TermWeights:
    """Weights for one snapshot of an index, by one version of the statistics.

    Neither ever changes, so a weight stays valid.

    Attributes:
        statistics: the collection's.
    """

    def __init__(self, index: TextIndex, statistics: TermStatistics) -> None:
        self.statistics = statistics
        self._index = index
        self._average_lengths: dict[str, float] = {}
        self._weights: dict[tuple[str, tuple[str, ...]], float] = {}

    def of(self, name: str, words: tuple[str, ...]) -> float:
        """The collection's weight of these words, as a multiple of the shard's.

        The weight of a phrase is the sum of its words' weights.
        """
        weight = self._weights.get((name, words))
        if weight is None:
            if len(self._weights) >= _CACHED_WEIGHTS:
                self._weights.clear()
            weight = self._weights[name, words] = self._weight(name, words)
        return weight

    def of_rarest(self, name: str, words: tuple[str, ...]) -> float:
        """The same for words that together weigh as much as the rarest of them."""
        key = name, (*words, "")  # no word is empty
        weight = self._weights.get(key)
        if weight is None:
            rarest = max(self.idf(self.frequency(name, word)) for word in words)
            total = sum(self.idf(self.frequency(name, word)) for word in words)
            weight = self._weights[key] = self.of(name, words) * rarest / total
        return weight

    def idf(self, frequency: int) -> float:
        """The weight of a word that this many of the collection's documents have."""
        return inverse_document_frequency(max(self.statistics.documents, frequency), frequency)

    def local_idf(self, name: str, word: str) -> float | None:
        """The weight of a word in the shard, of average length; None if the shard has none."""
        local = self._index.document_frequency(name, word)
        if not local:
            return None
        return inverse_document_frequency(self._index.max_doc, local) / self._factor(name, (word,))

    def frequency(self, name: str, word: str) -> int:
        """How many of the collection's documents have a word.

        The shard's own number if the word is newer than the statistics, or too rare to be listed.
        """
        listed = self.statistics.document_frequency(name, word)
        return self._index.document_frequency(name, word) if listed is None else listed

    def _weight(self, name: str, words: tuple[str, ...]) -> float:
        """As `of`.

        A word that the statistics list gets that frequency: the shard's own count includes deleted
        documents, which differ between replicas.
        """
        if name not in self.statistics.average_lengths:  # the field is newer than the statistics
            return 1.0
        local_documents = self._index.max_doc
        local_weight = weight = 0.0
        for word in words:
            local = self._index.document_frequency(name, word)
            local_weight += inverse_document_frequency(local_documents, local)
            weight += self.idf(self.frequency(name, word))
        return weight / local_weight * self._factor(name, words)

    def _factor(self, name: str, words: Sequence[str]) -> float:
        """Correct for the shard's average length, to first order, while the padding does not.

        BM25 divides tf by tf + k1 (1 - b + b length / average). The factor is exact for a document
        of average length in which the word occurs once; for others a second-order error remains.
        It is bounded, so that the most that a document can score for a word is known everywhere.
        """
        average = self.statistics.average_lengths.get(name)
        local = self._average_lengths.get(name, 0.0)
        if not local:
            local = self._index.average_length(name, words)
            self._average_lengths[name] = local
        if not local or not average:
            return 1.0
        return min(MAX_CORRECTION, (1.0 + K1 * (1.0 - B + B * average / local)) / (1.0 + K1))
