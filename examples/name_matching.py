"""A second phase that finds differently spelled names, for which BM25 alone finds nothing.

For BM25, "Jon Smyth" and "John Smith" have no word in common. This function scores the similarity
of two names, whatever the order of their parts, by rapidfuzz
(https://rapidfuzz.github.io/RapidFuzz/), which does about a million comparisons a second.

A document that BM25 does not retrieve cannot be scored again, so the candidates must come from
elsewhere. `first_phase = "noop"` takes the first `candidates` documents of each shard, or all if
there are no more. Reading a document takes about 10 µs, so this suits some thousands of names a
shard. For more names, use `first_phase = "bm25"` and query for words within an edit or two
(`jon~1 smyth~1`).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from rapidfuzz import fuzz, utils
from rapidfuzz.distance import JaroWinkler

BATCH = 200  # documents scored between two checks of the budget: under 1 ms


class Budget(Protocol):
    """What is left of the query's time."""

    def expired(self) -> bool:
        """Whether the scores are no longer wanted."""


def score(query: str, documents: Sequence[dict[str, Any]], budget: Budget) -> list[float]:
    """Score the candidates; to be named by the setting `second_phase`.

    Args:
        query: a name; `~1` after a word, as in a query for bm25, is ignored.
        documents: with the fields `name` and, optionally, `aliases`, a list.
        budget: when it has expired, the remaining documents get the score 0.

    Returns:
        For each document, the similarity of its most similar name, from 0 to 100.
    """
    wanted = normalise(query)
    scores: list[float] = []
    for start in range(0, len(documents), BATCH):
        if budget.expired():
            return scores + [0.0] * (len(documents) - start)
        scores += _score(wanted, documents[start : start + BATCH])
    return scores


def normalise(name: str) -> str:
    """A name's parts in lower case, without punctuation, in alphabetical order."""
    words = utils.default_process(name.replace("~1", " ").replace("~2", " ")).split()
    return " ".join(sorted(words))


def _score(wanted: str, documents: Sequence[dict[str, Any]]) -> list[float]:
    scores = []
    for document in documents:
        names = [document.get("name") or "", *(document.get("aliases") or ())]
        scores.append(max(similarity(wanted, normalise(name)) for name in names))
    return scores


def similarity(name: str, other: str) -> float:
    """The similarity of two normalised names, from 0 to 100."""
    # Jaro-Winkler tolerates errors late in a word, the ratio of edits those at its start.
    return 50.0 * JaroWinkler.normalized_similarity(name, other) + 0.5 * fuzz.ratio(name, other)
