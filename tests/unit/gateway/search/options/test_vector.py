"""Searches by a vector, over real shards, compared with brute force."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.search_options import SearchOptions, WantedVector
from hedgerow.gateway.search.result import SearchResult
from hedgerow.gateway.search.top_up import is_shared, of_share
from hedgerow.gateway.shapes.facets import Facet
from hedgerow.gateway.shapes.vector import VectorQuery
from tests.unit.support.real_shards import RealShards

DIMENSIONS = 4


def collection_of(metric: str) -> Collection:
    """A collection with a vector field."""
    vector = {"type": "vector", "dimensions": DIMENSIONS, "metric": metric}
    return define("things", {"fields": {"kind": "keyword", "place": vector}})


def documents_of(num: int, seed: int = 1) -> list[dict[str, Any]]:
    """Documents of two kinds; every seventh has no vector, and some have the same one."""
    rng = random.Random(seed)
    vectors = [[round(rng.gauss(0, 1), 2) for _ in range(DIMENSIONS)] for _ in range(num // 2)]
    documents = []
    for number in range(num):
        document: dict[str, Any] = {
            "id": f"d{number}",
            "kind": rng.choice(["rare", "usual", "usual"]),
        }
        if number % 7:
            document["place"] = vectors[number % len(vectors)]
        documents.append(document)
    return documents


def score(metric: str, one: Sequence[float], other: Sequence[float]) -> float:
    """The score of a vector, as the documentation defines it."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    match metric:
        case "cosine":
            return product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))
        case "l2":
            return -sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
    return product


def nearest(
    documents: Sequence[dict[str, Any]], metric: str, query: Sequence[float], k: int
) -> list[str]:
    """The ids of the nearest documents, by brute force; ties by id."""
    scores = [
        (-float(f"{score(metric, one['place'], query):.5g}"), one["id"])
        for one in documents
        if "place" in one
    ]
    return [one for _, one in sorted(scores)[:k]]


def ids_of(result: SearchResult) -> list[str]:
    """The ids of the hits."""
    return [hit.id for hit in result.hits]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("num_shards", [1, 8])
def test_same_as_brute_force(tmp_path: Path, metric: str, num_shards: int) -> None:
    """For each metric, one shard and eight answer as brute force does, with a filter, too."""
    shards = RealShards(tmp_path, collection_of(metric), num_shards)
    documents = documents_of(150)
    shards.put(documents)
    rare = [one for one in documents if one["kind"] == "rare"]
    for seed in range(3):
        query = [round(random.Random(seed).gauss(0, 1), 2) for _ in range(DIMENSIONS)]
        found = shards.search("", vector=VectorQuery("place", query), k=20)
        assert ids_of(found) == nearest(documents, metric, query, 20)
        assert found.total_hits.value == sum("place" in one for one in documents)
        best = found.hits[0]
        expected = score(metric, shards.documents[best.id]["place"], query)
        assert best.score == pytest.approx(expected, rel=1e-5)
        found = shards.search("", vector=VectorQuery("place", query), k=20, filter="kind:rare")
        assert ids_of(found) == nearest(rare, metric, query, 20)


def test_each_shard_looks_for_its_share(tmp_path: Path) -> None:
    """Eight shards look for fewer neighbours each; where all are, all of them are looked for."""
    shards = RealShards(tmp_path, collection_of("l2"), 8)
    names = [f"d{n}" for n in range(400)]
    near = [name for name in names if shard_of(name, 8) == 3]
    shards.put({"id": name, "place": [0, 0, 0, int(name not in near)]} for name in names)
    found = shards.search("", vector=VectorQuery("place", [0, 0, 0, 0]), k=20)
    assert ids_of(found) == sorted(near)[:20]
    *first, (shard, again) = shards.searches
    shares = [one.options.vector for _, one in first if one.options and one.options.vector]
    assert len(shares) == 8
    assert all(20 / 8 < share.k < 20 for share in shares)
    assert all(128 / 8 < share.ef < 128 for share in shares)
    assert shard == 3
    assert again.options is not None
    assert again.options.vector is not None
    assert (again.k, again.options.vector.k, again.options.vector.ef) == (20, 20, 128)


def test_one_shard_and_second_phases_look_for_all(tmp_path: Path) -> None:
    """A single shard has all neighbours, and a second phase wants its candidates of each shard."""
    options = SearchOptions(vector=WantedVector("place", b"", 100, 128))
    assert of_share(options, 1) == options
    assert not is_shared(1, 1, RankProfile())
    assert not is_shared(8, 8, RankProfile(second_phase="module:function"))
    shards = RealShards(tmp_path, collection_of("l2"), 1)
    shards.put(documents_of(30))
    shards.search("", vector=VectorQuery("place", [0, 0, 0, 0]), k=20)
    ((_, asked),) = shards.searches
    assert asked.options is not None
    assert asked.options.vector is not None
    assert (asked.options.vector.k, asked.options.vector.ef) == (20, 128)


def test_replaced_and_deleted_documents_are_masked_at_once(tmp_path: Path) -> None:
    """A deleted document is found no more, a replaced one by its new vector alone."""
    shards = RealShards(tmp_path, collection_of("l2"), 2)
    shards.put([{"id": f"d{n}", "place": [n, 0, 0, 0]} for n in range(20)])
    shards.put([{"id": "d3", "place": [100, 0, 0, 0]}, {"id": "d5"}], deletes=["d4"])
    found = ids_of(shards.search("", vector=VectorQuery("place", [4, 0, 0, 0]), k=20))
    assert found[:4] == ["d2", "d6", "d1", "d7"]
    assert found[-1] == "d3"
    assert len(found) == 18


def test_pages_facets_and_presence(tmp_path: Path) -> None:
    """`offset` leaves hits out, facets count all matches, and a filter finds who has a vector."""
    shards = RealShards(tmp_path, collection_of("cosine"), 2)
    documents = documents_of(60)
    shards.put(documents)
    vector = VectorQuery("place", [1, 2, 3, 4])
    whole = shards.search("", vector=vector, k=12, facets={"kind": Facet()})
    page = shards.search("", vector=vector, k=6, offset=6)
    assert ids_of(page) == ids_of(whole)[6:]
    assert whole.facets
    counts = {bucket.value: bucket.count for bucket in whole.facets["kind"].buckets or ()}
    with_vector = [one for one in documents if "place" in one]
    assert counts == {
        kind: sum(one["kind"] == kind for one in with_vector) for kind in ("rare", "usual")
    }
    refined = shards.search(
        "", vector=vector, k=60, facets={"kind": Facet()}, refine={"kind": ["rare"]}
    )
    assert len(refined.hits) == refined.total_hits.value == counts["rare"]
    assert refined.facets == whole.facets  # which leave the choice of their own field out
    present = shards.search("place:*", k=60)
    assert set(ids_of(present)) == {one["id"] for one in with_vector}


def test_empty_shards(tmp_path: Path) -> None:
    """A collection without vectors has no hits, rather than an error."""
    shards = RealShards(tmp_path, collection_of("cosine"), 2)
    shards.put([{"id": "a", "kind": "usual"}])
    found = shards.search("", vector=VectorQuery("place", [1, 2, 3, 4]))
    assert (found.hits, found.total_hits.value) == ([], 0)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"vector": VectorQuery("place", [1, 2, 3])}, "vector.value"),
        ({"vector": VectorQuery("place", [0, 0, 0, 0])}, "vector.value"),
        ({"vector": VectorQuery("place", [1e300, 0, 0, 0])}, "vector.value"),
        ({"vector": VectorQuery("place", "no Base64!")}, "vector.value"),
        ({"vector": VectorQuery("kind", [1, 2, 3, 4])}, "vector.field"),
        ({"vector": VectorQuery("palce", [1, 2, 3, 4])}, "vector.field"),
        ({"vector": VectorQuery("place", [1, 2, 3, 4], k=1_000_000)}, "vector.k"),
        ({"vector": VectorQuery("place", [1, 2, 3, 4], ef=1_000_000)}, "vector.ef"),
        ({"vector": VectorQuery("place", [1, 2, 3, 4]), "sort": ("kind",)}, "sort"),
        ({"vector": VectorQuery("place", [1, 2, 3, 4]), "group_by": "kind"}, "group_by"),
        ({"vector": VectorQuery("place", [1, 2, 3, 4]), "search_after": ""}, "search_after"),
        ({"vector": VectorQuery("place", [1, 2, 3, 4]), "rank_profile": "noop"}, "vector"),
        ({"sort": ("place",)}, "sort"),
        ({"facets": {"place": Facet()}}, "facets.place"),
    ],
)
def test_refused(tmp_path: Path, members: dict[str, Any], field: str) -> None:
    """What cannot be searched for is refused with an error that names the member."""
    shards = RealShards(tmp_path, collection_of("cosine"), 1)
    shards.put([{"id": "a", "place": [1, 2, 3, 4]}])
    with pytest.raises(BadRequestError) as refused:
        shards.search("", **members)
    assert refused.value.field == field
