"""Queries with slips, such as people make while they type."""

import random
from collections.abc import Mapping
from string import ascii_lowercase

SHARE = 0.3  # of the words of five letters or more


def with_slips(queries: Mapping[str, str]) -> dict[str, str]:
    """Queries with a random edit in a share of their longer words, the same in every run."""
    rng = random.Random(1)
    return {
        query: " ".join(_slipped(word, rng) for word in text.split())
        for query, text in queries.items()
    }


def _slipped(word: str, rng: random.Random) -> str:
    """A word with a letter dropped, replaced or swapped with the next, not the first or last."""
    if len(word) < 5 or not word.isalpha() or rng.random() >= SHARE:
        return word
    at = rng.randrange(1, len(word) - 1)
    match rng.randrange(3):
        case 0:
            return word[:at] + word[at + 1 :]
        case 1:
            return word[:at] + rng.choice(ascii_lowercase) + word[at + 1 :]
        case _:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
