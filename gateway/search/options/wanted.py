"""Checks what a search asks for beyond its hits, and says what to ask the shards for."""

from typing import NamedTuple

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query.cost import Cost
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.search_options import SCORE, Choice, SearchOptions, WantedHighlights
from hedgerow.gateway.search.options.cursor import CursorSigner, fingerprint_of
from hedgerow.gateway.search.options.facets import Counted, check_facets
from hedgerow.gateway.search.options.highlighting import check_highlight
from hedgerow.gateway.search.options.paging import Paging
from hedgerow.gateway.search.options.refine import check_refine
from hedgerow.gateway.search.options.sorting import check_group, check_sort
from hedgerow.gateway.search.options.vector import check_vector
from hedgerow.gateway.search.result import SearchQuery


class Wanted(NamedTuple):
    """What a search asks for beyond its hits.

    Attributes:
        options: what the shards are asked for; None for nothing.
        facets: the facets, in the order of those in `options`.
        paging: the page, of a search that is read page by page.
        cost: what all this adds to the search's cost.
        highlights: what to mark in the documents of the hits; None for nothing.
    """

    options: SearchOptions | None = None
    facets: tuple[Counted, ...] = ()
    paging: Paging | None = None
    cost: Cost = Cost()
    highlights: WantedHighlights | None = None


NOTHING = Wanted()


def wanted_of(
    query: SearchQuery,
    collection: Collection,
    profile: RankProfile,
    limits: QuerySettings,
    signer: CursorSigner | None,
    num_shards: int,
) -> Wanted:
    """Check the options of a search.

    Args:
        query: the search, whose members are of the right types.
        collection: what is searched.
        profile: the rank profile that applies.
        limits: what a search may ask for.
        signer: reads and writes cursors; None refuses them.
        num_shards: the shards of the cluster.

    Raises:
        BadRequestError: names the member and the reason.
    """
    pages = query.search_after is not None
    vector = query.vector
    if query.candidates:
        return Wanted(SearchOptions(candidates=query.candidates))
    if not (
        query.facets
        or query.sort
        or pages
        or query.group_by
        or query.offset
        or vector
        or query.highlight
        or query.more_like
        or query.did_you_mean
        or query.refine
    ):
        return NOTHING
    _check_profile(query, profile)
    if pages and query.offset:
        raise BadRequestError("offset", "does not apply with search_after, which goes on by itself")
    if pages and query.group_by:
        raise BadRequestError(
            "group_by", "does not apply with search_after: a group may have hits on earlier pages"
        )
    nearest = None if vector is None else check_vector(query, vector, collection, limits)
    facets = check_facets(query.facets, collection, limits)
    keys = check_sort(query.sort, collection, limits)
    if query.group_by:
        check_group(query.group_by, collection)
    refine = check_refine(query.refine, collection)
    paging = after = None
    if query.search_after is not None:
        paging = _paging(query, query.search_after, collection, signer, refine)
        after = paging.after(num_shards)
        is_by_score = not keys or keys[-1].field == SCORE
        if is_by_score and paging.num_before + query.k > limits.max_score_depth:
            raise BadRequestError(
                "search_after",
                f"goes beyond {limits.max_score_depth} hits in the order by score "
                "(query.max_score_depth); sort by a field to go further",
            )
    wanted = [part for one in facets for part in one.wanted]
    options = SearchOptions(
        tuple(wanted),
        keys,
        after,
        query.group_by,
        vector=nearest,
        did_you_mean=query.did_you_mean,
        refine=refine,
    )
    columns = len(wanted) + len(keys) * (1 + (after is not None)) + 2 * bool(query.group_by)
    columns += nearest is not None
    # The first page, too, asks for what the scores depend on.
    is_asked = bool(options.used) or pages
    return Wanted(
        options if is_asked else None,
        tuple(facets),
        paging,
        Cost(columns=columns),
        check_highlight(query.highlight, collection, limits),
    )


def _check_profile(query: SearchQuery, profile: RankProfile) -> None:
    """Refuse what a profile cannot do: the order of a second phase is its own."""
    ordering = {
        "sort": bool(query.sort),
        "search_after": query.search_after is not None,
        "group_by": bool(query.group_by),
    }
    asked = [name for name, is_asked in ordering.items() if is_asked]
    reading = {
        "facets": bool(query.facets),
        "vector": query.vector is not None,
        "highlight": bool(query.highlight),
        "more_like": query.more_like is not None,
        "did_you_mean": query.did_you_mean,
        "refine": bool(query.refine),
    }
    of_index = [name for name, is_asked in reading.items() if is_asked]
    if profile.first_phase == "noop" and (asked or of_index):
        raise BadRequestError(
            [*asked, *of_index][0], "does not apply: the rank profile reads no index"
        )
    if profile.second_phase is not None and asked:
        raise BadRequestError(
            asked[0],
            "does not apply: the rank profile has a second phase, which orders only the best "
            "candidates of each shard; name one without, such as bm25",
        )


def _paging(
    query: SearchQuery,
    text: str,
    collection: Collection,
    signer: CursorSigner | None,
    refine: tuple[Choice, ...],
) -> Paging:
    if signer is None:
        raise BadRequestError("search_after", "does not apply here: there is no key for cursors")
    profile = query.rank_profile or collection.rank_profile
    parts: list[object] = [
        collection.uid,
        query.query,
        query.filter,
        query.syntax,
        profile,
        query.sort,
        query.typos,
        query.prefix,
    ]
    # These only where they are not the default, so that cursors of earlier versions stay valid.
    if not query.synonyms:
        parts.append("no synonyms")
    if query.more_like is not None:
        parts.append(query.more_like)
    if refine:
        parts.append(refine)
    search = fingerprint_of(*parts)
    return Paging(signer, search, signer.read(text) if text else None)
