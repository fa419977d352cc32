"""Checks a hybrid search, and says what each of its legs asks for. Pure."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.vectors import Metric
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.gateway.search.hybrid.fusion import Fusion, Scale
from hedgerow.gateway.search.options.vector import field_of
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.hybrid import DEFAULT_CANDIDATES, DEFAULT_VECTOR_WEIGHTS, Hybrid
from hedgerow.gateway.shapes.vector import VectorQuery

TEXT: Final = "text"
VECTOR: Final = "vector"
SECOND_PHASE: Final = "second_phase"
# Of the legs of a search with a second phase, which comes after the fusion.
LEG_PROFILE: Final = "bm25"
_SCALE_OF_TEXT: Final = Scale(0.0, is_zero_absent=True)  # of a document without any of the words
_SCALES: Final = {
    Metric.COSINE: Scale(-1.0),
    Metric.DOT: Scale(),
    Metric.L2: Scale(),
}


class Limits(NamedTuple):
    """What a hybrid search may ask for.

    Attributes:
        max_candidates: the most hits of a leg.
        functions: the functions that embed which a field may name.
    """

    max_candidates: int
    functions: AbstractCollection[str]


class Legs(NamedTuple):
    """What the legs ask for.

    Attributes:
        text: the search by text.
        vector: the search by vector, which has no vector yet if there is one to make.
        embed: the function that makes it from the query's text; "" if the caller has sent one.
        fusion: how the two become one.
        minimum_coverage: leg → the share of the documents that it must have searched.
        profile: the rank profile of the search.
        num_scored: how many of the fused hits the profile's second phase scores; 0 without one.
    """

    text: SearchQuery
    vector: SearchQuery
    embed: str
    fusion: Fusion
    minimum_coverage: Mapping[str, float]
    profile: str
    num_scored: int


def legs_of(
    query: SearchQuery,
    hybrid: Hybrid,
    collection: Collection,
    profiles: Mapping[str, RankProfile],
    limits: Limits,
) -> Legs:
    """Say what the legs ask for.

    Args:
        query: the search, whose members are of the right types.
        hybrid: its member.
        collection: what is searched.
        profiles: name → rank profile.
        limits: what it may ask for.

    Raises:
        BadRequestError: names the member and the reason. What an ordinary search checks is left to
            the legs' own checks.
    """
    _check_others(query)
    weights = _weights_of(hybrid)
    if not any(weights.values()):
        raise BadRequestError("hybrid.weights", "are both 0, so nothing would be ranked")
    name = query.rank_profile or collection.rank_profile
    profile = profiles.get(name)
    if profile is None:
        raise BadRequestError(
            "rank_profile", f"{name!r} is not configured; there are {', '.join(sorted(profiles))}"
        )
    has_second_phase = profile.second_phase is not None
    if has_second_phase and _reorders(profiles.get(LEG_PROFILE)):
        raise BadRequestError(
            "rank_profile",
            f"has a second phase, which scores after the fusion; the legs need a rank profile "
            f"{LEG_PROFILE} without one",
        )
    vector = query.vector or VectorQuery(_only_field(collection))
    num = _num_candidates(query, hybrid, limits)
    leg = replace(
        query,
        hybrid=None,
        vector=None,
        k=num,
        offset=0,
        fields=False,
        highlight=False,
        minimum_coverage=0.0,
        rank_profile=LEG_PROFILE if has_second_phase else name,
    )
    waits = hybrid.wait_for
    return Legs(
        text=replace(leg, wait_for=waits.text or query.wait_for),
        vector=replace(
            leg,
            query="",
            typos="off",
            prefix=False,
            facets={},
            vector=vector,
            wait_for=waits.vector or query.wait_for,
        ),
        embed=embed_of(vector, collection, profile, limits.functions),
        fusion=Fusion(
            hybrid.method == "scores",
            hybrid.k,
            weights,
            {TEXT: _SCALE_OF_TEXT, VECTOR: _SCALES[field_of(vector, collection).metric]},
            num,
        ),
        minimum_coverage={
            TEXT: hybrid.minimum_coverage.text,
            VECTOR: hybrid.minimum_coverage.vector,
        },
        profile=name,
        num_scored=min(profile.candidates, limits.max_candidates) if has_second_phase else 0,
    )


def embed_of(
    vector: VectorQuery,
    collection: Collection,
    profile: RankProfile,
    functions: AbstractCollection[str],
) -> str:
    """The function that makes the vector from the query's text; "" if the caller has sent one.

    Raises:
        BadRequestError: there is neither, or the field names a function that is not allowed here.
    """
    embedding = field_of(vector, collection).embedding
    if vector.value is not UNSET:
        return ""
    if profile.embed is not None:
        return profile.embed
    if embedding is None:
        raise BadRequestError(
            "vector.value",
            f"is missing, and neither the rank profile nor the field {vector.field} has a function "
            "(embed) to make it of the query",
        )
    if embedding.function not in functions:
        raise BadRequestError(
            "vector.value",
            f"is missing, and {embedding.function}, which would make it of the query, is not among "
            "this gateway's embed.functions",
        )
    return embedding.function


def _weights_of(hybrid: Hybrid) -> dict[str, float]:
    vector = hybrid.weights.vector
    if vector is None:
        vector = DEFAULT_VECTOR_WEIGHTS[hybrid.method]
    return {TEXT: hybrid.weights.text, VECTOR: vector}


def _check_others(query: SearchQuery) -> None:
    """Refuse members that a fused ranking cannot have."""
    if not query.query.strip():
        raise BadRequestError("query", "is missing: a hybrid search ranks by text, too")
    others = {
        "sort": bool(query.sort),
        "search_after": query.search_after is not None,
        "group_by": bool(query.group_by),
    }
    for name, is_given in others.items():
        if is_given:
            raise BadRequestError(
                name, "does not apply with hybrid, whose order is that of both legs together"
            )


def _reorders(profile: RankProfile | None) -> bool:
    return profile is None or profile.second_phase is not None or profile.first_phase != "bm25"


def _only_field(collection: Collection) -> str:
    """The vector field that is meant if the search names none."""
    names = sorted(collection.vectors)
    if len(names) != 1:
        there = f"there are {', '.join(names)}" if names else "there is none"
        raise BadRequestError(
            "vector", f"has to name one of the collection's vector fields; {there}"
        )
    return names[0]


def _num_candidates(query: SearchQuery, hybrid: Hybrid, limits: Limits) -> int:
    """How many hits each leg is asked for."""
    least, most = query.num_ranked, limits.max_candidates
    if least > most:
        name = "offset" if query.offset else "k"
        with_k = " and k together are" if query.offset else " is"
        raise BadRequestError(
            name,
            f"{with_k[1:]} {least}; with hybrid, {most} is the limit (gateway.max_k, "
            "query.max_vector_k)",
        )
    if hybrid.candidates is None:
        return max(least, min(DEFAULT_CANDIDATES, most))
    if not least <= hybrid.candidates <= most:
        raise BadRequestError(
            "hybrid.candidates",
            f"is {hybrid.candidates}; it is at least offset and k together, which are {least}, and "
            f"at most {most} (gateway.max_k, query.max_vector_k)",
        )
    return hybrid.candidates
