"""Whether engines find the same; pure.

The scores of Hedgerow, tantivy and Lucene are the same function of the same statistics: BM25 with
k1 1.2 and b 0.75, a document's length in one byte. So their top tens must agree, but for ties and
for Lucene's scale (it leaves out BM25's factor k1 + 1). SQLite and PostgreSQL score by other
functions, and are held to how many documents they match.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.search.inside.serving import Hits
from bench.search.queries import Query

Found = Sequence[tuple[int | None, Hits]]  # of each query: how many match, and the best
_SAME = 1e-4  # of a score; Hedgerow rounds to five digits
K1 = 1.2
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two engines find for the same queries.

    Attributes:
        num_queries: how many.
        num_same_ids: of those whose best hits have the same scores, rank by rank, the ones with the
            same documents too, but for those that tie with the
            last, of which any may be there.
        num_same_totals: of them, those that match as many documents; None where an engine does not
            tell.
        differing: numbers of the queries that have other scores.
    """

    num_queries: int
    num_same_ids: int
    num_same_totals: int | None
    differing: tuple[int, ...]

    @property
    def num_same_scores(self) -> int:
        """Of the queries, those whose best hits have the same scores, rank by rank."""
        return self.num_queries - len(self.differing)


def compare(ones: Found, others: Found, factor: float = 1.0) -> Agreement:
    """Compare what two engines find.

    Args:
        ones: of one engine.
        others: of the other, for the same queries in the same order.
        factor: by which the other's scores are multiplied first.
    """
    same_ids = same_totals = 0
    differing = []
    has_totals = True
    for number, (one, other) in enumerate(zip(ones, others, strict=True)):
        (total, hits), (other_total, other_hits) = one, other
        scaled = [(found, score * factor) for found, score in other_hits]
        if _difference(hits, scaled) > _SAME:
            differing.append(number)
        else:
            same_ids += _above_last(hits) == _above_last(scaled)
        has_totals = has_totals and total is not None and other_total is not None
        same_totals += total == other_total
    totals = same_totals if has_totals else None
    return Agreement(len(ones), same_ids, totals, tuple(differing))


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


def matches_sentence(
    title: str, other: str, ones: Found, others: Found, queries: Sequence[Query]
) -> str:
    """What is told of two engines that score differently: whether they match as many documents."""
    differing = [
        query.text
        for query, (total, _), (other_total, _) in zip(queries, ones, others, strict=True)
        if total != other_total
    ]
    num_same = len(queries) - len(differing)
    told = f"{title} and {other}: of {len(queries)} queries {num_same} match as many documents."
    named = ", ".join(f"`{text}`" for text in differing[:_NAMED])
    more = len(differing) - _NAMED
    listed = f"{named} and {more} more" if more > 0 else named
    return f"{told} The others are {listed}." if differing else told


def sentence(title: str, other: str, found: Agreement, queries: Sequence[Query]) -> str:
    """What is told of two engines, with the first of the queries that differ."""
    told = (
        f"{title} and {other}: of {found.num_queries} queries the scores of the top ten are the "
        f"same in {found.num_same_scores}, and so are the documents (but for ties with the last) "
        f"in {found.num_same_ids}"
    )
    if found.num_same_totals is not None:
        told += f"; the number of matches is the same in {found.num_same_totals}"
    named = [f"`{queries[number].text}`" for number in found.differing[:_NAMED]]
    more = len(found.differing) - len(named)
    listed = ", ".join(named) + (f" and {more} more" if more else "")
    return f"{told}." + (f" They differ for {listed}." if named else "")
