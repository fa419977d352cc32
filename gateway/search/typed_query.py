"""Checks a query whose words are read as people type them, or have synonyms."""

from typing import NamedTuple

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing, as_typed, wanted_edits
from hedgerow.common.query.cost import Cost, estimate, exceeds
from hedgerow.common.query.synonyms import Expanded, SynonymRules, expand
from hedgerow.common.query.syntax import parse_checked
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.wire.search_options import SearchOptions, Synonym
from hedgerow.gateway.search.result import SearchQuery

_TOO_FEW = (
    "Typos are tolerated in the first words only: the query's words may be {} edits away together "
    "(query.max_fuzzy_edits)."
)
_CUT = "Only the first {} synonyms of the query's words are found (query.max_synonyms)."
_TOO_MUCH = "Synonyms are not found: with them, the query would cost too much."


class CheckedQuery(NamedTuple):
    """A valid query.

    Attributes:
        cost: its estimated cost.
        warnings: what was repaired, and which parts cannot match.
        typing: how its words may differ from what is meant.
        synonyms: what its words are looked for as well.
    """

    cost: Cost
    warnings: list[str]
    typing: Typing
    synonyms: tuple[Synonym, ...]

    def added_to(self, options: SearchOptions | None) -> SearchOptions | None:
        """The options of a search, with those of its query's words."""
        if self.typing == AS_WRITTEN and not self.synonyms:
            return options
        return replace(
            options or SearchOptions(),
            typos=self.typing.edits,
            prefix=self.typing.is_last_unfinished,
            synonyms=self.synonyms,
        )


def check_typed(
    query: SearchQuery,
    collection: Collection,
    limits: QuerySettings,
    rules: SynonymRules | None = None,
) -> CheckedQuery:
    """Check a query with `typos` or `prefix`, or of a collection with synonyms.

    The edits of its fuzzy words count first; those that the limit leaves are for the other words,
    from the first on, so that tolerance never makes a query cost too much. Nor do synonyms.

    Args:
        query: the query.
        collection: what it searches.
        limits: what it may cost.
        rules: the synonyms that apply; None for none.

    Raises:
        BadRequestError: the syntax is strict, and the query is invalid.
    """
    tree, warnings = parse_checked(query.query, collection, query.syntax == "strict")
    edits = 0
    if query.typos == "auto":
        written = estimate(tree, collection).fuzzy_edits
        # Each word is looked for once for each analysis.
        times = sum(not group.analysis.ngrams for group in collection.text_groups)
        edits = max(0, limits.max_fuzzy_edits - written) // max(1, times)
        if wanted_edits(tree) > edits:
            warnings.append(_TOO_FEW.format(edits))
    typing = Typing(edits, query.prefix)
    cost = estimate(as_typed(tree, typing), collection)
    expanded = Expanded(tree) if rules is None else expand(tree, rules, limits.max_synonyms)
    if not expanded.used:
        return CheckedQuery(cost, warnings, typing, ())
    with_synonyms = estimate(as_typed(expanded.tree, typing), collection)
    if exceeds(with_synonyms, limits) and not exceeds(cost, limits):
        warnings.append(_TOO_MUCH)
        return CheckedQuery(cost, warnings, typing, ())
    if expanded.is_cut:
        warnings.append(_CUT.format(limits.max_synonyms))
    return CheckedQuery(with_synonyms, warnings, typing, expanded.used)
