"""A second phase that finds names that are spelled in another way, where BM25 alone finds nothing.

To BM25 "Jon Smyth" and "John Smith" have no word in common. This scores how alike two names look,
whatever the order of their parts: by rapidfuzz (https://rapidfuzz.github.io/RapidFuzz/), which does
about a million comparisons a second.

What BM25 does not retrieve cannot be scored again, so the candidates must come from elsewhere:
`first_phase = "noop"` takes the first `candidates` documents of each shard, which is all of them
when there are no more. Reading them costs about 10 µs each, so this is for some thousands of names
a shard; with more, ask for words within an edit or two (`jon~1 smyth~1`) under bm25.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from rapidfuzz import fuzz, utils
from rapidfuzz.distance import JaroWinkler

BATCH = 200  # documents between two looks at the budget: under 1 ms


class Budget(Protocol):
    """What is left of the query's time."""

    def expired(self) -> bool:
        """Whether nobody waits for the scores any more."""


def score(query: str, documents: Sequence[dict[str, Any]], budget: Budget) -> list[float]:
    """Score the candidates; the function that `second_phase` names.

    Args:
        query: a name; `~1` after a word, as in a query for bm25, does not count.
        documents: `name`, and if there is one `aliases`, a list.
        budget: when it has expired, the rest is not scored.

    Returns:
        For each document from 0 to 100, how alike its most similar name is.
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
        scores.append(max(likeness(wanted, normalise(name)) for name in names))
    return scores


def likeness(name: str, other: str) -> float:
    """How alike two normalised names are, from 0 to 100."""
    # Jaro-Winkler forgives errors late in a word, the ratio of edits those at its start.
    return 50.0 * JaroWinkler.normalized_similarity(name, other) + 0.5 * fuzz.ratio(name, other)
