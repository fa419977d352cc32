"""Requests about searches."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from hedgerow.gateway.client.calls.call import (
    Call,
    answer,
    as_texts,
    deadline_in_s,
    deadline_parameter,
    given,
    json_of,
    path_of_collection,
)
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.collection import CurveAnswer
from hedgerow.gateway.shapes.facets import Choice, Facet
from hedgerow.gateway.shapes.highlighting import Highlight
from hedgerow.gateway.shapes.hybrid import Hybrid
from hedgerow.gateway.shapes.more_like import MoreLike
from hedgerow.gateway.shapes.sorting import SortBy
from hedgerow.gateway.shapes.suggest import SuggestAnswer
from hedgerow.gateway.shapes.vector import VectorQuery


class SearchOptions(TypedDict, total=False):
    """The options of a search; the gateway has defaults for those left out, or None.

    Attributes:
        k: maximum number of hits.
        deadline_ms: time within which the answer leaves the gateway, in ms.
        rank_profile: name of a configured rank profile.
        filter: query that hits must match too, without effect on their score.
        fields: fields to return for each hit: names, True (all), False (none).
        minimum_coverage: smallest share of the documents that the answer must reflect, 0 to 1.
        wait_for: share of the documents that suffices: once it is covered, the gateway waits for
            the rest only during a part of the remaining time.
        explain: whether to detail every shard, or only those not ok.
        syntax: whether to repair an error in the query, or to refuse it.
        priority: under overload, batch queries are refused first.
        facets: counts of all matches: field → `Facet`, or the same as a dict.
        sort: the order of the hits: field names, or field → "asc", "desc" or a `SortBy`; "_score"
            may be the last.
        search_after: the cursor of the page before; "" for the first page, to get one.
        offset: hits to leave out at the beginning.
        group_by: a keyword field, to get only the best hit of each of its values.
        typos: whether words may be misspelt: with auto, by one edit from 5 letters on, by two
            from 9.
        prefix: whether the query's last word may be the beginning of another.
        vector: find the documents whose vectors are nearest to this one: a `VectorQuery`, or the
            same as a dict.
        hybrid: rank by the query and by a vector, and fuse both: a `Hybrid`, or the same as a dict.
        synonyms: whether the collection's synonyms of the query's words are found, too.
        highlight: whether hits show what matched in their texts: True (all text fields), names of
            fields, or a `Highlight`, which may be a dict.
        more_like: search for the most telling words of a document instead of a query, which is "":
            a `MoreLike`, or the same as a dict.
        did_you_mean: whether to suggest a query with misspelt words corrected, if that finds more.
        refine: values that were chosen: field → values, or `FacetRange`s, which may be dicts. Hits
            have one of each field's, and a facet leaves out the choice of its own field.
    """

    k: int | None
    deadline_ms: float | None
    rank_profile: str | None
    filter: str | None
    fields: bool | Sequence[str] | None
    minimum_coverage: float | None
    wait_for: float | None
    explain: bool | None
    syntax: Literal["lenient", "strict"] | None
    priority: Literal["interactive", "batch"] | None
    facets: Mapping[str, Facet | Mapping[str, Any]] | None
    sort: Sequence[str | Mapping[str, Literal["asc", "desc"] | SortBy]] | None
    search_after: str | None
    offset: int | None
    group_by: str | None
    typos: Literal["off", "auto"] | None
    prefix: bool | None
    vector: VectorQuery | Mapping[str, Any] | None
    hybrid: Hybrid | Mapping[str, Any] | None
    synonyms: bool | None
    highlight: bool | Sequence[str] | Highlight | Mapping[str, Any] | None
    more_like: MoreLike | Mapping[str, Any] | None
    did_you_mean: bool | None
    refine: Mapping[str, Sequence[Choice | Mapping[str, Any]]] | None


def search(collection: str, query: str, options: SearchOptions) -> Call[SearchAnswer]:
    """Search; a partial answer is an answer."""
    body = {"query": query, **given(options)}
    return Call(
        "POST",
        f"{path_of_collection(collection)}/search",
        answer(SearchAnswer),
        deadline_in_s(options.get("deadline_ms")),
        body=json_of(as_texts(body)),
    )


def suggest(
    collection: str, prefix: str, field: str, size: int, deadline_ms: float | None
) -> Call[SuggestAnswer]:
    """Suggest texts of a field for the beginning of a query."""
    return Call(
        "GET",
        f"{path_of_collection(collection)}/suggest",
        answer(SuggestAnswer),
        deadline_in_s(deadline_ms),
        {
            "prefix": prefix,
            "field": field,
            "size": str(size),
            **(deadline_parameter(deadline_ms) or {}),
        },
    )


def coverage_curve(collection: str, deadline_ms: float | None = None) -> Call[CurveAnswer]:
    """Return the coverage that queries reach by each deadline."""
    return Call(
        "GET",
        f"{path_of_collection(collection)}/coverage-curve",
        answer(CurveAnswer),
        params=deadline_parameter(deadline_ms),
    )
