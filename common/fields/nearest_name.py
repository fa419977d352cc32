"""Finds the name that was probably meant where a name does not exist."""

from difflib import get_close_matches
from functools import lru_cache
from heapq import nlargest
from typing import Final

_CANDIDATES: Final = 4  # that are compared in full, which takes up to 0.5 ms for 100 characters
_LEAST_ALIKE: Final = 0.6
_MAX_CHARS: Final = 100


@lru_cache(maxsize=1024)
def nearest_name(name: str, names: tuple[str, ...]) -> str | None:
    """The name that is most like another; None if none is.

    Bounded in time: 256 names of 100 characters take 2 ms, ten short ones 0.1 ms.
    """
    if len(name) > _MAX_CHARS:
        return None
    lowered = {one.lower(): one for one in names}
    letters = set(name.lower())

    def in_common(other: str) -> float:
        return len(letters.intersection(other)) / (len(letters.union(other)) or 1)

    likely = nlargest(_CANDIDATES, lowered, key=in_common)
    found = get_close_matches(name.lower(), likely, n=1, cutoff=_LEAST_ALIKE)
    return lowered[found[0]] if found else None


def suggestion(name: str, names: tuple[str, ...]) -> str:
    """What to add to a message about an unknown name: ` (nearest: NAME)`, or nothing."""
    found = nearest_name(name, names)
    return "" if found is None else f" (nearest: {found})"
