"""Vectors through a real cluster: loads, searches, changes, deletes, and added fields."""

import math
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from hedgerow.common.errors import BadRequestError, UnavailableError
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.shapes.vector import VectorQuery
from tests.support.clusters import Cluster, ask, cluster_of_its_own, gateway_to, load_into, ndjson
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PLACE = {"type": "vector", "dimensions": 3, "metric": "l2"}
FIELDS = {"title": "text", "kind": "keyword", "place": PLACE}


def rows(num: int = 300) -> list[dict[str, Any]]:
    """Documents at random places, some without one."""
    draw = random.Random(1)
    return [
        {
            "id": f"d{number:03}",
            "title": "a thing",
            "kind": f"k{number % 3}",
            "place": [round(draw.gauss(0, 1), 3) for _ in range(3)] if number % 10 else None,
        }
        for number in range(num)
    ]


def nearest(documents: list[dict[str, Any]], place: list[float], k: int = 10) -> list[str]:
    """The ids of the nearest documents, by brute force."""
    placed = [one for one in documents if one["place"]]

    def far(one: dict[str, Any]) -> float:
        return math.dist(one["place"], place)

    return [str(one["id"]) for one in sorted(placed, key=far)[:k]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers, each with two of four shards."""
    with cluster_of_its_own(num_shards=4, num_workers=2) as cluster:
        yield cluster


@pytest.fixture
async def gateway(cluster: Cluster) -> AsyncIterator[Gateway]:
    """A gateway to it, and a collection `things`."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("things", {"fields": FIELDS})
        yield gateway
        await gateway.collections.drop("things")


async def body(document: dict[str, Any]) -> AsyncIterator[bytes]:
    """A document as the body of a request."""
    yield msgspec.json.encode(document)


async def test_nearest_documents_and_what_is_shown_of_them(gateway: Gateway) -> None:
    """Hits are the nearest, with a filter, too; their vectors are shown only if they are named."""
    documents = rows()
    await load_into(gateway, "things", documents)
    vector = VectorQuery("place", [0.3, -0.2, 0.5])
    found = await ask(gateway, "things", "", vector=vector)
    assert [hit.id for hit in found.hits] == nearest(documents, [0.3, -0.2, 0.5])
    assert found.total_hits.value == 270
    assert found.hits[0].fields is not None
    assert sorted(found.hits[0].fields) == ["id", "kind", "title"]
    some = [one for one in documents if one["kind"] == "k1"]
    found = await ask(
        gateway, "things", "", vector=vector, filter="kind:k1", fields=("place", "kind")
    )
    assert [hit.id for hit in found.hits] == nearest(some, [0.3, -0.2, 0.5])
    place = next(one["place"] for one in documents if one["id"] == found.hits[0].id)
    assert found.hits[0].fields == {"place": pytest.approx(place, rel=1e-6), "kind": "k1"}
    words = await ask(gateway, "things", "thing", k=1)
    assert "place" not in (words.hits[0].fields or {})


async def test_changes_are_found_at_once(gateway: Gateway) -> None:
    """A document that is replaced, changed or deleted counts as it is then."""
    await load_into(gateway, "things", rows(50))
    near = VectorQuery("place", [9, 9, 9])
    report = await gateway.documents.put(
        "things", "d000", body({"kind": "new", "place": [9, 9, 9]})
    )
    stored = await gateway.reader.stored("things", "d000")
    assert report.version == version_of(stored.body)
    found = await ask(gateway, "things", "", vector=near, k=1)
    assert (found.hits[0].id, found.hits[0].score) == ("d000", 0)
    assert (await gateway.get_document("things", "d000"))["place"] == [9, 9, 9]
    patch = msgspec.json.encode({"kind": "newer"})
    await gateway.conditional_writes.patch("things", "d000", patch, if_version=report.version)
    document = await gateway.get_document("things", "d000")
    assert (document["place"], document["kind"]) == ([9, 9, 9], "newer")
    await gateway.documents.delete("things", "d000")
    found = await ask(gateway, "things", "", vector=near, k=1)
    assert found.hits[0].id != "d000"


async def test_a_bad_vector_rejects_its_line_alone(gateway: Gateway) -> None:
    """The report names line, field and reason; the other lines go in."""
    lines = [{"id": "a", "place": [1, 2, 3]}, {"id": "b", "place": [1, 2]}]
    report = await gateway.documents.load("things", ndjson(lines), "applied")
    (rejected,) = report.rejected
    assert (report.accepted, rejected.line) == (1, 2)
    assert rejected.reason == "place has 2 numbers; the field has 3 dimensions"


async def test_a_vector_field_is_added_and_optimised(gateway: Gateway) -> None:
    """Workers fill a field that is added from the stored documents, and optimise it."""
    await gateway.collections.put("later", {"fields": {"title": "text"}})
    await load_into(gateway, "later", [{"id": f"d{n}", "place": [n, 0, 0]} for n in range(40)])
    await gateway.collections.add_fields("later", {"fields": {"place": PLACE}})
    near = VectorQuery("place", [7, 0, 0])

    async def ids() -> list[str] | None:
        try:
            found = await ask(gateway, "later", "", vector=near, k=3)
        except (BadRequestError, UnavailableError):  # it is being filled
            return None
        return [hit.id for hit in found.hits] if found.coverage.is_full else None

    async def is_found() -> bool:
        return await ids() == ["d7", "d6", "d8"]

    await until(is_found, 60)
    await gateway.optimiser.ask("later")
    assert await ids() == ["d7", "d6", "d8"]
    await gateway.collections.drop("later")
