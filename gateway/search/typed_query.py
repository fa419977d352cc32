"""Checks a query whose words are read as people type them (`common.query.as_typed`)."""

from typing import NamedTuple

from hedgerow.common.collection import Collection
from hedgerow.common.query.as_typed import Typing, as_typed, wanted_edits
from hedgerow.common.query.cost import Cost, estimate
from hedgerow.common.query.syntax import parse_checked
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.gateway.search.result import SearchQuery

_TOO_FEW = (
    "Typos are tolerated in the first words only: the query's words may be {} edits away together "
    "(query.max_fuzzy_edits)."
)


class CheckedQuery(NamedTuple):
    """A valid query.

    Attributes:
        cost: its estimated cost.
        warnings: what was repaired, and which parts cannot match.
        typing: how its words may differ from what is meant.
    """

    cost: Cost
    warnings: list[str]
    typing: Typing


def check_typed(query: SearchQuery, collection: Collection, limits: QuerySettings) -> CheckedQuery:
    """Check a query with `typos` or `prefix`.

    The edits of its fuzzy words count first; those that the limit leaves are for the other words,
    from the first on, so that tolerance never makes a query cost too much.

    Raises:
        BadRequestError: the syntax is strict, and the query is invalid.
    """
    tree, warnings = parse_checked(query.query, collection, query.syntax == "strict")
    edits = 0
    if query.typos == "auto":
        written = estimate(tree, collection).fuzzy_edits
        edits = max(0, limits.max_fuzzy_edits - written)
        if wanted_edits(tree) > edits:
            warnings.append(_TOO_FEW.format(edits))
    typing = Typing(edits, query.prefix)
    return CheckedQuery(estimate(as_typed(tree, typing), collection), warnings, typing)
