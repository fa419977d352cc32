"""Whether engines find the same; pure.

The scores of Hedgerow, tantivy and Lucene are the same function of the same statistics: BM25 with
k1 1.2 and b 0.75, a document's length in one byte. So their top tens must agree, but for ties and
for Lucene's scale (it leaves out BM25's factor k1 + 1). SQLite and PostgreSQL score by other
functions, and are held to what they match by their own counts elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.search.inside.serving import Hits

Found = Sequence[tuple[int | None, Hits]]  # of each query: how many match, and the best
_SAME = 1e-4  # of a score; Hedgerow rounds to five digits
K1 = 1.2


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two engines find for the same queries.

    Attributes:
        num_queries: how many.
        num_same_scores: of them, those whose best hits have the same scores, rank by rank.
        num_same_ids: of them, those with the same documents too, but for those that tie with the
            last, of which any may be there.
        num_same_totals: of them, those that match as many documents; None where an engine does not
            tell.
        largest_difference: of two scores of the same rank, as a share of the larger.
    """

    num_queries: int
    num_same_scores: int
    num_same_ids: int
    num_same_totals: int | None
    largest_difference: float


def compare(ones: Found, others: Found, factor: float = 1.0) -> Agreement:
    """Compare what two engines find.

    Args:
        ones: of one engine.
        others: of the other, for the same queries in the same order.
        factor: by which the other's scores are multiplied first.
    """
    same_scores = same_ids = same_totals = 0
    largest = 0.0
    has_totals = True
    for (total, hits), (other_total, other_hits) in zip(ones, others, strict=True):
        scaled = [(one, score * factor) for one, score in other_hits]
        difference = _difference(hits, scaled)
        largest = max(largest, difference)
        same_scores += difference <= _SAME
        same_ids += difference <= _SAME and _above_last(hits) == _above_last(scaled)
        has_totals = has_totals and total is not None and other_total is not None
        same_totals += total == other_total
    totals = same_totals if has_totals else None
    return Agreement(len(ones), same_scores, same_ids, totals, largest)


def _difference(hits: Hits, others: Hits) -> float:
    """The largest of two scores of the same rank; 1 when there are not as many."""
    if len(hits) != len(others):
        return 1.0
    pairs = zip(hits, others, strict=True)
    return max((abs(a - b) / max(a, b) for (_, a), (_, b) in pairs), default=0.0)


def _above_last(hits: Hits) -> set[str]:
    """The documents whose score is above the last one's: no tie decides over them."""
    if not hits:
        return set()
    last = hits[-1][1]
    return {one for one, score in hits if score > last * (1 + _SAME)}


def sentence(title: str, other: str, found: Agreement) -> str:
    """What is told of two engines."""
    first = (
        f"{title} and {other}: of {found.num_queries} queries the scores of the top ten are the "
        f"same in {found.num_same_scores}, and so are the documents (but for ties with the last) "
        f"in {found.num_same_ids}"
    )
    parts = [first]
    if found.num_same_totals is not None:
        parts.append(f"the number of matches is the same in {found.num_same_totals}")
    parts.append(f"the largest difference of two scores is {found.largest_difference:.2g} of them")
    return "; ".join(parts) + "."
