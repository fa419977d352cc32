"""Facets, orders, pages, groups, highlights and documents like another, through a real cluster."""

from collections import Counter
from typing import Any

import pytest

from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.shapes.facets import Facet
from hedgerow.gateway.shapes.more_like import MoreLike
from hedgerow.gateway.shapes.sorting import NextPage
from tests.support.clusters import all_live, ask, cluster_of_its_own, load

pytestmark = pytest.mark.integration

NUM_SHARDS = 4
DOCUMENTS: list[dict[str, Any]] = [
    {
        "id": f"d{number}",
        "text": f"the wing of a large aeroplane, number {number}",
        "brand": f"b{number % 7}",
        "price": number % 13,
    }
    for number in range(200)
]


async def test_a_cluster_counts_sorts_pages_groups_and_highlights() -> None:
    """As by hand; a gateway goes on where another one's cursor says, and hits have their fields."""
    with cluster_of_its_own(num_shards=NUM_SHARDS, num_workers=2) as cluster:
        async with (
            Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as one,
            Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as other,
        ):
            await all_live(one)
            await all_live(other)
            await load(one, "goods", DOCUMENTS)
            found: list[Any] = []
            gateways = [one, other]
            cursor: str | None = ""
            while cursor is not None:
                gateways.reverse()
                page = await ask(
                    gateways[0],
                    "goods",
                    "wing",
                    k=30,
                    sort=({"price": "desc"},),
                    search_after=cursor,
                    facets={"brand": Facet()},
                )
                found += [hit.fields for hit in page.hits]
                assert isinstance(page.next_page, NextPage)
                assert page.next_page.is_whole
                cursor = page.next_page.cursor
            grouped = await ask(one, "goods", "wing", group_by="brand", k=5, offset=2)
            marked = await ask(one, "goods", "wings", highlight=True, fields=("id",), k=30)
            like = await ask(one, "goods", "", more_like=MoreLike("d5"), k=200, fields=False)
    assert found == sorted(DOCUMENTS, key=lambda row: (-row["price"], row["id"]))
    assert isinstance(page.facets, dict)
    counts = {bucket.value: bucket.count for bucket in page.facets["brand"].buckets or ()}
    assert counts == Counter(row["brand"] for row in DOCUMENTS)
    assert [hit.group for hit in grouped.hits] == [
        brand for brand, _ in sorted(_first_ids().items(), key=lambda item: item[1])
    ][2:7]
    assert all(hit.fields for hit in grouped.hits)
    assert [(hit.fields, hit.highlights) for hit in marked.hits] == [
        (
            {"id": hit.id},
            {"text": [f"the <em>wing</em> of a large aeroplane, number {hit.id[1:]}"]},
        )
        for hit in marked.hits
    ]
    assert {hit.id for hit in like.hits} == {row["id"] for row in DOCUMENTS} - {"d5"}


def _first_ids() -> dict[str, str]:
    """Brand → the lowest id, which is the best hit where all scores tie."""
    first: dict[str, str] = {}
    for row in DOCUMENTS:
        first[row["brand"]] = min(first.get(row["brand"], row["id"]), row["id"])
    return first
