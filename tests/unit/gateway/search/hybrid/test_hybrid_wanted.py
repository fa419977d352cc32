"""What the legs of a hybrid search ask for, and what is refused."""

from typing import Any

import msgspec
import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.gateway.search.hybrid.fusion import Scale
from hedgerow.gateway.search.hybrid.wanted import Legs, Limits, legs_of
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.hybrid import Hybrid
from hedgerow.gateway.shapes.vector import VectorQuery

COLLECTION = define(
    "things",
    {
        "fields": {
            "title": "text",
            "v": {"type": "vector", "dimensions": 2, "embed": "models:embed"},
        }
    },
)
PROFILES = {
    **BUILT_IN_PROFILES,
    "ranked": RankProfile(second_phase="some:function", candidates=30),
    "asked": RankProfile(embed="models:embed_query"),
}
LIMITS = Limits(1000, {"models:embed"})
GIVEN = VectorQuery("v", [1.0, 0.0])


def legs(
    hybrid: dict[str, Any] | None = None,
    *,
    profiles: dict[str, RankProfile] = PROFILES,
    limits: Limits = LIMITS,
    **members: Any,
) -> Legs:
    """The legs of a search with these members."""
    query = SearchQuery("things", **{"query": "red lamp", **members})
    return legs_of(query, msgspec.convert(hybrid or {}, Hybrid), COLLECTION, profiles, limits)


def test_the_legs_share_what_restricts_the_documents() -> None:
    """Both have the filter and as many candidates; each has only its own kind of query."""
    found = legs(
        filter="title:red", vector=GIVEN, k=5, offset=7, typos="auto", minimum_coverage=0.5
    )
    text, vector = found.text, found.vector
    assert (text.query, text.vector, text.typos) == ("red lamp", None, "auto")
    assert (vector.query, vector.vector, vector.typos) == ("", GIVEN, "off")
    for leg in (text, vector):
        assert (leg.filter, leg.k, leg.offset, leg.fields) == ("title:red", 100, 0, False)
        assert leg.hybrid is None
        assert leg.minimum_coverage == 0  # of the whole answer, not of a leg
    assert found.embed == ""
    assert found.num_scored == 0


@pytest.mark.parametrize(("k", "candidates"), [(10, 100), (300, 300)])
def test_there_are_at_least_as_many_candidates_as_hits(k: int, candidates: int) -> None:
    """By default 100, or more if more hits are wanted."""
    assert legs(k=k).text.k == legs(k=k).vector.k == candidates


@pytest.mark.parametrize(
    ("hybrid", "weights"),
    [
        ({}, {"text": 1, "vector": 3}),
        ({"method": "rrf"}, {"text": 1, "vector": 1}),
        ({"weights": {"text": 2}}, {"text": 2, "vector": 3}),
        ({"method": "rrf", "weights": {"vector": 0.5}}, {"text": 1, "vector": 0.5}),
    ],
)
def test_the_weights_have_defaults_by_method(
    hybrid: dict[str, Any], weights: dict[str, float]
) -> None:
    """By score, cosines need three times the weight of words; by rank, both have the same."""
    found = legs(hybrid, k=5)
    assert found.fusion.weights == weights
    assert found.fusion.by_score == ("method" not in hybrid)
    assert found.fusion.candidates == 100


@pytest.mark.parametrize(("metric", "floor"), [("cosine", -1), ("dot", None), ("l2", None)])
def test_the_floor_of_the_scores_follows_from_the_metric(metric: str, floor: float | None) -> None:
    """Only a cosine has one; words have 0."""
    field = {"type": "vector", "dimensions": 2, "metric": metric}
    collection = define("things", {"fields": {"title": "text", "v": field}})
    query = SearchQuery("things", "red lamp", vector=GIVEN)
    found = legs_of(query, Hybrid(), collection, PROFILES, LIMITS)
    assert found.fusion.scales == {"text": Scale(0, is_zero_absent=True), "vector": Scale(floor)}


def test_each_leg_waits_as_it_is_told() -> None:
    """A leg without its own `wait_for` has that of the search."""
    found = legs({"wait_for": {"vector": 0.5}}, wait_for=0.9)
    assert (found.text.wait_for, found.vector.wait_for) == (0.9, 0.5)


def test_without_a_vector_the_query_is_embedded() -> None:
    """By the rank profile's function if it has one, else by the field's."""
    assert legs().embed == "models:embed"
    assert legs(vector=VectorQuery("v")).embed == "models:embed"
    assert legs(rank_profile="asked").embed == "models:embed_query"
    assert legs(rank_profile="asked", vector=GIVEN).embed == ""


def test_a_second_phase_comes_after_the_fusion() -> None:
    """The legs rank by the first phase alone."""
    found = legs(rank_profile="ranked")
    assert found.text.rank_profile == found.vector.rank_profile == "bm25"
    assert (found.profile, found.num_scored) == ("ranked", 30)


@pytest.mark.parametrize(
    ("hybrid", "members", "field"),
    [
        ({}, {"query": " "}, "query"),
        ({}, {"sort": ("title",)}, "sort"),
        ({}, {"search_after": ""}, "search_after"),
        ({}, {"group_by": "title"}, "group_by"),
        ({"weights": {"text": 0, "vector": 0}}, {}, "hybrid.weights"),
        ({"candidates": 5}, {"k": 6}, "hybrid.candidates"),
        ({"candidates": 1001}, {}, "hybrid.candidates"),
        ({}, {"k": 1001}, "k"),
        ({}, {"k": 500, "offset": 501}, "offset"),
        ({}, {"vector": VectorQuery("title")}, "vector.field"),
        ({}, {"vector": VectorQuery("other")}, "vector.field"),
        ({}, {"rank_profile": "absent"}, "rank_profile"),
    ],
)
def test_what_a_fused_ranking_cannot_have_is_refused(
    hybrid: dict[str, Any], members: dict[str, Any], field: str
) -> None:
    """By the name of the member."""
    with pytest.raises(BadRequestError) as caught:
        legs(hybrid, **members)
    assert caught.value.field == field


def test_a_function_that_is_not_allowed_here_is_not_called() -> None:
    """The field's definition may be older than the settings."""
    with pytest.raises(BadRequestError, match=r"embed\.functions"):
        legs(limits=Limits(1000, set()))


def test_the_legs_need_a_profile_without_second_phase() -> None:
    """A profile of one's own named bm25 may have one."""
    profiles = {**PROFILES, "bm25": RankProfile(second_phase="some:function")}
    with pytest.raises(BadRequestError, match="bm25"):
        legs(profiles=profiles, rank_profile="ranked")


def test_a_collection_with_several_vectors_needs_the_name_of_one() -> None:
    """The error lists them."""
    two = define(
        "two", {"fields": {one: {"type": "vector", "dimensions": 2} for one in ("v", "w")}}
    )
    with pytest.raises(BadRequestError, match="v, w"):
        legs_of(SearchQuery("two", "x"), Hybrid(), two, PROFILES, LIMITS)
