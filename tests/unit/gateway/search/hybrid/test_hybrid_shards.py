"""Hybrid searches over real shards: as many as there are, the answer is the same."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hedgerow.common.collection import define
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.search.hybrid.hybrid_searcher import HybridSearcher
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.shapes.hybrid import Hybrid
from hedgerow.gateway.shapes.vector import VectorQuery
from hedgerow.shard_worker.storage.term_statistics import collect, merge, write_table
from tests.support.virtual_time import run_virtually
from tests.unit.support.real_shards import RealShards
from tests.unit.support.searchers import FixedView, searcher_over

DIMENSIONS = 4
COLLECTION = define(
    "things",
    {
        "fields": {
            "title": "text",
            "brand": "keyword",
            "v": {"type": "vector", "dimensions": DIMENSIONS},
        },
        "language": "none",
    },
)
PROFILES = {
    **BUILT_IN_PROFILES,
    "ranked": RankProfile(second_phase=f"{__name__}:by_both", candidates=40, fields=["brand"]),
}
WORDS = ["red", "green", "blue", "lamp", "desk", "chair", "shelf"]
VECTOR = VectorQuery("v", [1.0, 0.2, -0.3, 0.5])


def by_both(_query: str, documents: Sequence[dict[str, Any]]) -> list[float]:
    """Prefer what both legs have found, then the nearer vector."""
    return [
        (one["_vector_score"] or -1.0) + 10 * (one["_text_score"] is not None) for one in documents
    ]


def things() -> list[dict[str, Any]]:
    """Some hundred documents; some have no vector."""
    rng = random.Random(7)
    return [
        {
            "id": f"d{number}",
            "title": " ".join(rng.choices(WORDS, k=4)),
            "brand": rng.choice(["acme", "zeta"]),
            "v": [rng.uniform(-1, 1) for _ in range(DIMENSIONS)] if number % 7 else None,
        }
        for number in range(300)
    ]


class RealHybrids(RealShards):
    """Shards that answer hybrid searches."""

    def __init__(self, data: Path, num_shards: int) -> None:
        """Shards with the documents."""
        super().__init__(data, COLLECTION, num_shards, PROFILES)
        self.put(things())
        # All titles have as many words, so the shards differ in nothing but these statistics.
        parts = [collect(self.index(shard)) for shard in range(num_shards)]
        (data / "statistics").mkdir()
        write_table(data / "statistics" / f"{COLLECTION.uid}.sqlite", merge(parts))

    def hybrid(self, **members: Any) -> SearchResult:
        """What a gateway answers."""

        async def ask() -> SearchResult:
            counts = [self.index(shard).num_documents for shard in range(self.num_shards)]
            searcher = searcher_over(self, counts)
            searcher.use_profiles(PROFILES)
            settings = SearchSettings.of(Settings())._replace(profiles=PROFILES)
            embedder: Any = None  # all vectors are given
            hybrids = HybridSearcher(searcher, embedder, FixedView(counts), settings, ())
            given = {"fields": False, "vector": VECTOR, "k": 30, "deadline_ms": 5000, **members}
            return await hybrids.search(SearchQuery("things", "red lamp", **given), COLLECTION)

        return run_virtually(ask())


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> tuple[RealHybrids, RealHybrids]:
    """The same documents in one shard and in eight."""
    one, eight = (RealHybrids(tmp_path_factory.mktemp("shards"), num) for num in (1, 8))
    return one, eight


@pytest.mark.parametrize(
    "members",
    [
        {"hybrid": Hybrid()},
        {"hybrid": Hybrid("rrf")},
        {"hybrid": Hybrid(candidates=30)},
        {"hybrid": Hybrid(), "filter": "brand:acme", "offset": 5, "k": 10},
        {"hybrid": Hybrid(), "rank_profile": "ranked"},
    ],
)
def test_eight_shards_answer_as_one(
    clusters: tuple[RealHybrids, RealHybrids], members: dict[str, Any]
) -> None:
    """The same documents in the same order, with the same scores and places in the legs."""
    one, eight = (cluster.hybrid(**members) for cluster in clusters)
    assert rows(one) == rows(eight)
    assert len(one.hits) == members.get("k", 30)
    assert one.coverage == eight.coverage
    assert one.coverage.is_full
    assert one.total_hits == eight.total_hits


def rows(result: SearchResult) -> list[tuple[str, Any, Any]]:
    """What is to be the same; scores by text differ in their last digits."""
    found = []
    for hit in result.hits:
        assert hit.legs is not msgspec.UNSET
        legs = {name: (leg.rank, pytest.approx(leg.score)) for name, leg in hit.legs.items()}
        found.append((hit.id, pytest.approx(hit.score), legs))
    return found


def test_hits_of_both_legs_show_what_matched(clusters: tuple[RealHybrids, RealHybrids]) -> None:
    """Whichever leg found them; they come without fields if none are wanted."""
    found = clusters[1].hybrid(hybrid=Hybrid(), highlight=True)
    assert {hit.fields for hit in found.hits} == {None}
    have_words = []
    for hit in found.hits:
        words = str(clusters[1].documents[hit.id]["title"]).split()
        have_words.append(not {"red", "lamp"}.isdisjoint(words))
        assert bool(hit.highlights) == have_words[-1]
    assert set(have_words) == {True, False}


def test_the_second_phase_orders_what_was_fused(
    clusters: tuple[RealHybrids, RealHybrids],
) -> None:
    """By what the user's function makes of both scores."""
    found = clusters[1].hybrid(hybrid=Hybrid(), rank_profile="ranked", k=40)
    expected = []
    for hit in found.hits:
        assert hit.legs is not msgspec.UNSET
        near = hit.legs["vector"].score if "vector" in hit.legs else 0.0
        expected.append((near or -1.0) + 10 * ("text" in hit.legs))
    assert [hit.score for hit in found.hits] == pytest.approx(expected)
    assert expected == sorted(expected, reverse=True)
    assert found.warnings == ()
    assert found.legs is not msgspec.UNSET
    assert found.legs["second_phase"].candidates == 40


def test_a_shard_that_is_down_is_missing_in_every_leg(
    clusters: tuple[RealHybrids, RealHybrids],
) -> None:
    """The others' documents keep their order."""
    cluster = clusters[1]
    cluster.down = {3}
    try:
        found = cluster.hybrid(hybrid=Hybrid(), rank_profile="ranked")
    finally:
        cluster.down = set()
    gone = cluster.index(3).num_documents
    assert found.coverage.documents == 300 - gone
    assert found.legs is not msgspec.UNSET
    searched = {name: leg.coverage.documents for name, leg in found.legs.items()}
    # It has no candidate, so the second phase has nothing to ask it for.
    assert searched == {"text": 300 - gone, "vector": 300 - gone, "second_phase": 300}
    assert all(hit.shard != 3 for hit in found.hits)
