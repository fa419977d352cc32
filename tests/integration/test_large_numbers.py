"""Numbers that only a field of floats can hold, by every way into a cluster and out of it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.shapes.facets import Facet, FacetRange
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own

pytestmark = pytest.mark.integration

NUM_SHARDS = 2
# In ascending order; no two have the same nearest float.
LARGE = [-(10**308), -(2**64), 2**63, 2**64, 10**20, 10**308]
BEYOND = [10**309, -(10**309)]
WAYS = ("load", "put", "merge")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers, a shard each."""
    with cluster_of_its_own(num_shards=NUM_SHARDS) as cluster:
        yield cluster


@pytest.fixture
async def gateway(cluster: Cluster) -> AsyncIterator[Gateway]:
    """A gateway to it, and a new collection `goods`."""
    async with Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as gateway:
        await all_live(gateway)
        await gateway.collections.put("goods", {"fields": {"text": "text", "price": "float"}})
        yield gateway
        await gateway.collections.drop("goods")


async def body(content: bytes) -> AsyncIterator[bytes]:
    """A body that is there as a whole."""
    yield content


async def write(gateway: Gateway, way: str, document_id: str, price: int) -> None:
    """Write one document in one of three ways."""
    content = msgspec.json.encode({"id": document_id, "text": "lamp", "price": price})
    match way:
        case "load":
            report = await gateway.documents.load("goods", body(content))
            if report.rejected:
                raise BadRequestError("the line", report.rejected[0].reason)
        case "put":
            await gateway.documents.put("goods", document_id, body(content))
        case _:
            await gateway.documents.put("goods", document_id, body(b'{"text": "lamp"}'))
            await gateway.conditional_writes.patch("goods", document_id, content)


async def prices(gateway: Gateway, **options: Any) -> list[Any]:
    """The prices of the documents that a search finds, in ascending order."""
    found = await ask(gateway, "goods", "lamp", k=100, sort=({"price": "asc"},), **options)
    assert found.coverage.is_full
    return [float(hit.fields["price"]) for hit in found.hits if hit.fields]


async def test_integers_as_large_as_floats_are_written_and_found(gateway: Gateway) -> None:
    """All ways to write take the same ones, and every condition of a search compares with them."""
    for way in WAYS:
        for number in LARGE:
            await write(gateway, way, f"{way} {number}", number)
    assert await prices(gateway) == [float(n) for n in LARGE for _ in WAYS]
    for at, number in enumerate(LARGE):
        equal = [float(number)] * len(WAYS)
        above = [float(n) for n in LARGE[at:] for _ in WAYS]
        assert await prices(gateway, filter=f"price:{number}") == equal
        assert await prices(gateway, refine={"price": [number]}) == equal
        assert await prices(gateway, filter=f"price:>={number}") == above
        ranges = [FacetRange(from_=number)]
        assert await prices(gateway, refine={"price": ranges}) == above
        facets = {"price": Facet(ranges=tuple(ranges))}
        counted = await ask(gateway, "goods", "lamp", facets=facets)
        assert isinstance(counted.facets, dict)
        assert [b.count for b in counted.facets["price"].buckets or ()] == [len(above)]


async def test_integers_beyond_all_floats_are_refused(gateway: Gateway) -> None:
    """All ways to write refuse them, and so does every condition of a search."""
    for number in BEYOND:
        for way in WAYS:
            with pytest.raises(BadRequestError, match="64 bits"):
                await write(gateway, way, "x", number)
        for options in (
            {"filter": f"price:{number}"},
            {"filter": f"price:>={number}"},
            {"refine": {"price": [number]}},
            {"refine": {"price": [FacetRange(from_=number)]}},
            {"facets": {"price": Facet(ranges=(FacetRange(to=number),))}},
        ):
            with pytest.raises(BadRequestError):
                await ask(gateway, "goods", "lamp", **options)
