"""Whether engines find the same documents; pure.

The scores of Hedgerow, tantivy and Lucene are the same function of the same statistics: BM25 with
k1 1.2 and b 0.75, with a document's length in one byte. So their top tens must agree, except for
ties and for Lucene's scale (it leaves out BM25's factor k1 + 1). SQLite and PostgreSQL score by
other functions; for them only the number of matching documents is compared.
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
    """How the results of two engines compare for the same queries.

    Attributes:
        num_queries: how many queries were compared.
        num_same_ids: of the queries with the same scores, rank by rank, those with the same
            documents, apart from documents that tie with the last hit, of which any may be there.
        num_same_totals: queries that match equally many documents; None if an engine does not
            count them.
        differing: numbers of the queries with different scores.
    """

    num_queries: int
    num_same_ids: int
    num_same_totals: int | None
    differing: tuple[int, ...]

    @property
    def num_same_scores(self) -> int:
        """The number of queries whose best hits have the same scores, rank by rank."""
        return self.num_queries - len(self.differing)


def compare(ones: Found, others: Found, factor: float = 1.0) -> Agreement:
    """Compare the results of two engines.

    Args:
        ones: of one engine.
        others: of the other, for the same queries in the same order.
        factor: by which the other's scores are multiplied before the comparison.
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
    """The largest relative difference of scores of the same rank; 1 if the counts differ."""
    if len(hits) != len(others):
        return 1.0
    pairs = zip(hits, others, strict=True)
    return max((abs(a - b) / max(a, b) for (_, a), (_, b) in pairs), default=0.0)


def _above_last(hits: Hits) -> set[str]:
    """The documents that score above the last hit, and so do not depend on how ties are broken."""
    if not hits:
        return set()
    last = hits[-1][1]
    return {one for one, score in hits if score > last * (1 + _SAME)}


def matches_sentence(
    title: str, other: str, ones: Found, others: Found, queries: Sequence[Query]
) -> str:
    """A sentence on two engines that score differently: whether they match as many documents."""
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
    """A sentence on two engines, with the first of the queries that differ."""
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
