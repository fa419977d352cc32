"""Refuses what cannot be answered before anything is sent."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from hedgerow.common.collection import MAX_FIELDS, Collection
from hedgerow.common.errors import BadRequestError, TooLargeError
from hedgerow.common.query.cost import Cost, check_cost
from hedgerow.common.query.syntax import check_filter, check_query
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.settings import GatewaySettings, RankProfile
from hedgerow.gateway.search.result import SearchQuery

_HALF_PAIR = re.compile("[\ud800-\udfff]")  # which Python's JSON parser lets through


class Admitted(NamedTuple):
    """A search that may be sent.

    Attributes:
        profile: the name of the rank profile that applies.
        warnings: what a lenient parser repairs.
        cost: of its query and filter.
    """

    profile: str
    warnings: tuple[str, ...]
    cost: Cost


def admit(
    query: SearchQuery,
    collection: Collection,
    settings: GatewaySettings,
    limits: QuerySettings,
    profiles: Mapping[str, RankProfile],
) -> Admitted:
    """Check a search against the limits, the configured profiles and the collection's fields.

    Args:
        query: the search.
        collection: what is searched.
        settings: limits of a request.
        limits: what a query may cost.
        profiles: name → rank profile.

    Raises:
        BadRequestError: names the field and the reason.
        TooLargeError: a limit was passed.
    """
    if not 1 <= query.k <= settings.max_k:
        raise BadRequestError("k", f"is {query.k}; it must be from 1 to {settings.max_k}")
    check_deadline(query.deadline_ms, settings)
    if not 0 <= query.minimum_coverage <= 1:
        raise BadRequestError(
            "minimum_coverage", f"is {query.minimum_coverage:g}; it must be from 0 to 1"
        )
    if not 0 < query.wait_for <= 1:
        raise BadRequestError("wait_for", f"is {query.wait_for:g}; it must be above 0, up to 1")
    _check_text("query", query.query, settings)
    _check_text("filter", query.filter, settings)
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
    if profile.first_phase == "noop":
        if query.filter:
            raise BadRequestError("filter", f"does not apply: profile {name!r} reads no index")
        return Admitted(name, (), Cost())
    cost, warnings = check_query(query.query, collection, query.syntax == "strict")
    check_cost(cost, limits, "query")
    if query.filter:
        cost = cost.plus(check_filter(query.filter, collection))
        check_cost(cost, limits, "filter")
    return Admitted(name, tuple(warnings), cost)


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


def _check_text(field: str, text: str, settings: GatewaySettings) -> None:
    if len(text) > settings.max_query_chars:
        raise TooLargeError(
            field, f"has {len(text)} characters; the limit is {settings.max_query_chars}"
        )
    if not text.isascii() and _HALF_PAIR.search(text):
        raise BadRequestError(field, "contains half of a surrogate pair, which is not a character")
