"""What a word weighs, and the most that a document can score for it.

Scorers compute scores by this; gateways, the most that documents may score which were not searched
(`common.query.score_bounds`).
"""

import math
from typing import Final

K1: Final = 1.2  # tantivy's constants, the same as Lucene's; they cannot be set
B: Final = 0.75
MAX_TF: Final = 1.0 + K1  # of BM25's part for frequency and length
# The most by which a scorer corrects for a shard whose texts are shorter than the collection's.
MAX_CORRECTION: Final = 1.045
MOST: Final = MAX_TF + 0.1  # more than MAX_TF * MAX_CORRECTION: of a word, as a multiple of its idf

# A word as it was typed (`shard_worker.scoring.typed_words`) scores as the best of some ranks.
FIRST_SHARE: Final = 0.5  # of the idf, for any word of the first rank; half of it for the next
MOST_OF_NEXT: Final = FIRST_SHARE / 2 * (1.0 + MAX_CORRECTION)  # in further ranks than the first
UNKNOWN: Final = 1.0  # the score if there are no statistics, or none of such words

OF_SYNONYM: Final = 0.9  # of the score of what was typed


def inverse_document_frequency(documents: int, frequency: int) -> float:
    """BM25's weight of a term, in the form that tantivy and Lucene use (never negative)."""
    return math.log(1.0 + (documents - frequency + 0.5) / (frequency + 0.5))
