"""Refuses invalid searches before anything is sent."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_definitions import MAX_FIELDS
from hedgerow.common.fields.nearest_name import nearest_name
from hedgerow.common.query.cost import Cost, check_cost
from hedgerow.common.query.synonyms import SynonymRules
from hedgerow.common.query.syntax import parse, parse_filter
from hedgerow.common.query.tree import named_fields
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.search_options import HIGHLIGHTS_LEVEL, SearchOptions
from hedgerow.gateway.search.checked_queries import check_filter, check_query
from hedgerow.gateway.search.options.cursor import CursorSigner
from hedgerow.gateway.search.options.refine import cost_of, num_widened
from hedgerow.gateway.search.options.wanted import NOTHING, Wanted, wanted_of
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.typed_query import check_typed
from hedgerow.gateway.shapes.collection import Filling

_NO_COST: Final = Cost()
_MAX_PROFILE_WARNINGS = 4
_NAMED_FIELDS = 10  # in a warning
_NO_WORDS: Final = "The document has no words by which others could be found."
_UNKNOWN: Final = "is not known to every live worker: upgrade the workers first, then use it"


class Admitted(NamedTuple):
    """A search that may be sent.

    Attributes:
        profile: the name of the rank profile that applies.
        warnings: what a lenient parser repaired in the query, and which fields are unknown.
        cost: the estimated cost of query and filter.
        options: what else the search asks the shards for; None for nothing.
        wanted: the same as the caller wants it.
        vectors: the collection's vector fields.
        filling: a field that the search names and that is being filled; "" for none.
    """

    profile: str
    warnings: tuple[str, ...]
    cost: Cost
    options: SearchOptions | None = None
    wanted: Wanted = NOTHING
    vectors: tuple[str, ...] = ()
    filling: str = ""


def admit(
    query: SearchQuery,
    collection: Collection,
    limits: QuerySettings,
    profiles: Mapping[str, RankProfile],
    signer: CursorSigner | None = None,
    num_shards: int = 1,
    synonyms: SynonymRules | None = None,
) -> Admitted:
    """Check a search against the configured profiles and the collection's fields.

    Args:
        query: the search, whose members are within their limits.
        collection: what is searched.
        limits: what a query may cost.
        profiles: name → rank profile.
        signer: reads and writes the cursors of pages; None refuses them.
        num_shards: the shards of the cluster.
        synonyms: those of the collection; None if it has none.

    Raises:
        BadRequestError: names the field and the reason.
    """
    if not isinstance(query.fields, bool) and len(query.fields) > MAX_FIELDS:
        raise BadRequestError(
            "fields", f"names {len(query.fields)} fields; {MAX_FIELDS} is the limit"
        )
    name = query.rank_profile or collection.rank_profile
    profile = profiles.get(name)
    if profile is None:
        raise BadRequestError(
            "rank_profile", f"{name!r} is not configured; there are {', '.join(sorted(profiles))}"
        )
    wanted = wanted_of(query, collection, profile, limits, signer, num_shards)
    vectors = tuple(collection.vectors)
    if profile.first_phase == "noop":
        if query.filter:
            raise BadRequestError("filter", f"does not apply: profile {name!r} reads no index")
        warnings = _warnings(name, profile, collection) if profile.fields else ()
        return Admitted(name, warnings, _NO_COST, vectors=vectors)
    cost, repairs, options = _check_query(query, collection, limits, wanted.options, synonyms)
    check_cost(cost, limits, "query")
    if query.filter:
        cost = cost.plus(check_filter(query.filter, collection))
        check_cost(cost, limits, "filter")
    if options is not None and options.refine:
        cost = cost.plus(cost_of(options.refine))
        check_cost(cost, limits, "refine")
        once = cost
        for _ in range(num_widened(options.refine, wanted.facets)):
            cost = cost.plus(once)
    if profile.fields:
        repairs += _warnings(name, profile, collection)
    if wanted is not NOTHING:
        cost = cost.plus(wanted.cost)
    return Admitted(name, tuple(repairs), cost, options, wanted, vectors)


def _check_query(
    query: SearchQuery,
    collection: Collection,
    limits: QuerySettings,
    options: SearchOptions | None,
    synonyms: SynonymRules | None,
) -> tuple[Cost, list[str], SearchOptions | None]:
    """The cost of a query, what was repaired in it, and the options with how it is to be read."""
    if query.vector is not None:  # it has no query
        return _NO_COST, [], options
    if query.terms is not None:
        options = replace(options or SearchOptions(), like=query.terms)
        repairs = [] if query.terms.terms else [_NO_WORDS]
        return Cost(clauses=len(query.terms.terms)), repairs, options
    if query.typos == "off" and not query.prefix and synonyms is None:
        return *check_query(query.query, collection, query.syntax == "strict"), options
    checked = check_typed(query, collection, limits, synonyms)
    return checked.cost, checked.warnings, checked.added_to(options)


def _warnings(name: str, profile: RankProfile, collection: Collection) -> tuple[str, ...]:
    """Name the fields that a profile reads and that are probably misspelt.

    A field that the collection does not have may be stored only, so its name alone is no reason.
    """
    declared = collection.fields or {}
    unknown = [
        field for field in profile.fields or () if field not in declared and field != ID_FIELD
    ]
    if not unknown:
        return ()
    names = tuple(field for field in declared if field not in (profile.fields or ()))
    pairs = [(field, nearest_name(field, names)) for field in unknown[:_MAX_PROFILE_WARNINGS]]
    return tuple(
        f"The rank profile {name} reads {field}, which is not a field of the collection "
        f"(nearest: {nearest})."
        for field, nearest in pairs
        if nearest is not None
    )


def check_level(options: SearchOptions, level: int) -> None:
    """Refuse options that a live worker does not know, and so would answer without.

    Args:
        options: what a search asks for.
        level: what every live worker knows (`Heartbeat.search_options`).

    Raises:
        BadRequestError: names an option.
    """
    if options.level > level:
        raise BadRequestError(next(iter(options.used), "search_after"), _UNKNOWN)


def check_highlights_level(wanted: Wanted, level: int) -> None:
    """As `check_level`, for highlights, which are made when the documents are read.

    Raises:
        BadRequestError: a live worker does not know them.
    """
    if wanted.highlights is not None and level < HIGHLIGHTS_LEVEL:
        raise BadRequestError("highlight", _UNKNOWN)


def check_deadline(deadline_ms: float, settings: GatewaySettings) -> None:
    """Check a deadline against the limit.

    Raises:
        BadRequestError: it is not a positive number of ms within the limit.
    """
    longest_ms = settings.max_deadline_ms
    if not (math.isfinite(deadline_ms) and 0 < deadline_ms <= longest_ms):
        raise BadRequestError(
            "deadline_ms", f"is {deadline_ms:g}; it must be in (0, {longest_ms:g}]"
        )


def filled_field(
    query: SearchQuery, options: SearchOptions | None, collection: Collection, filling: Filling
) -> str:
    """The first field that a search names and that is being filled; "" if there is none."""
    named: list[str] = []
    if query.query:
        named += named_fields(parse(query.query, collection, strict=False)[0])
    if query.filter:
        named += named_fields(parse_filter(query.filter, collection))
    if options is not None:
        named += [facet.field for facet in options.facets]
        named += [key.field for key in options.sort]
        named += [options.group_by] if options.group_by else []
        named += [options.vector.field] if options.vector is not None else []
    return next((name for name in named if name in filling.fields), "")


def filling_warning(filling: Filling) -> str:
    """Say that fields were added which not every shard can search yet."""
    names = ", ".join(filling.fields[:_NAMED_FIELDS])
    more = len(filling.fields) - _NAMED_FIELDS
    return (
        f"Fields that were added are not searched everywhere yet ({filling.share:.0%} of the "
        f"documents): {names}{f' and {more} more' if more > 0 else ''}."
    )
