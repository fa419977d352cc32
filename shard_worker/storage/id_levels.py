"""Marks that let tantivy restrict a search to the documents with the lowest ids of an index.

Documents with the same score are ordered by id, and there may be many. tantivy cannot order by
score and then by id, and reading every id would take many times as long as the search.

Some ids of a collection therefore serve as boundaries: half of the ids are below the last but one
of them, a quarter below the last but three, and so on. A document has a mark for each boundary
above its id, two or three on average. A search that also requires a mark takes little time, however
many documents match, and finds all matches below the boundary.

The boundaries are chosen when an index is written as a whole, and stay for documents that are added
later. The index knows how many documents have each mark, and so how far a boundary reaches by now.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

MARK: Final = "<"  # alone: the document has its marks; followed by an id: the mark of that boundary
_FEWEST: Final = 2  # ids below the lowest boundary
_RATIO: Final = 0.5**0.5  # of the number of ids below a boundary to that below the next


class Level(NamedTuple):
    """The documents of an index whose ids are below a boundary.

    Attributes:
        num_documents: their number, deleted ones included.
        mark: the mark that exactly these documents have; None for the level of all documents.
    """

    num_documents: int
    mark: str | None


def boundary_ranks(num_documents: int) -> list[int]:
    """The ranks of the ids that are boundaries, in ascending order; the lowest id has rank 0."""
    ranks, rank = set[int](), num_documents * _RATIO
    while rank >= _FEWEST:
        ranks.add(int(rank))
        rank *= _RATIO
    return sorted(ranks)


def marks_of(document_id: str, boundaries: Sequence[str]) -> list[str]:
    """The marks of a document; `boundaries` are in ascending order."""
    above = boundaries[bisect_right(boundaries, document_id) :]
    return [MARK, *(f"{MARK}{one}" for one in above)]
