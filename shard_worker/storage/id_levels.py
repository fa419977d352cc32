"""Marks that let tantivy restrict a search to the documents with the least ids of an index.

Many documents may get the same score, and are then in the order of their ids. tantivy cannot order
by score and then by id, and to read every id would take many times as long as the search.

Some ids of a collection are therefore taken as boundaries, such that half of the ids are below the
last but one of them, a quarter below the last but three, and so on. A document has a mark for each
boundary that is above its id, two or three on the average. A search for documents with a mark as
well takes little time, however many match, and finds all that match below the boundary.

The boundaries are chosen when an index is written as a whole, and hold for what is added to it. How
many documents have each mark, which says how far a boundary reaches by now, is known to the index.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

MARK: Final = "<"  # alone, that a document has its marks; with an id behind it, that of a boundary
_FEWEST: Final = 2  # below the lowest boundary
_RATIO: Final = 0.5**0.5  # of what is below a boundary to what is below the next


class Level(NamedTuple):
    """The documents of an index whose ids are below a boundary.

    Attributes:
        num_documents: how many there are, deleted ones included.
        mark: what they have, and no others; None for all documents.
    """

    num_documents: int
    mark: str | None


def boundary_ranks(num_documents: int) -> list[int]:
    """The ranks of the ids that are boundaries, in ascending order; the least id has rank 0."""
    ranks, rank = set[int](), num_documents * _RATIO
    while rank >= _FEWEST:
        ranks.add(int(rank))
        rank *= _RATIO
    return sorted(ranks)


def marks_of(document_id: str, boundaries: Sequence[str]) -> list[str]:
    """The marks of a document; `boundaries` are in ascending order."""
    above = boundaries[bisect_right(boundaries, document_id) :]
    return [MARK, *(f"{MARK}{one}" for one in above)]
