"""Late replies over real workers: how late the one that is always a little late is."""

from collections.abc import Iterator
from typing import Any

import pytest

from hedgerow.gateway.gateway import Gateway
from tests.support.clusters import Cluster, ask, cluster_of_its_own, gateway_to, load
from tests.support.waiting import until

pytestmark = pytest.mark.integration

DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "title": f"hedge {number} tardy prompt", "number": number}
    for number in range(40)
]
NUM_SHARDS = 2
# A late reply comes LATE_MS after its time is up; it may come a quarter of the deadline late.
DEADLINE_MS = 2400.0
LATE_MS = 300.0
PROFILE: dict[str, Any] = {"rank_profile": "tardy_here", "deadline_ms": DEADLINE_MS}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers with a shard each; the first is slow when a query says so."""
    slow = {"HEDGEROW_TEST_SLOW": "1"}
    with cluster_of_its_own(num_shards=NUM_SHARDS, first_has=slow) as cluster:
        yield cluster


async def num_late(gateway: Gateway) -> int:
    """Requests that workers have answered after their deadline, by their heartbeats."""
    workers = (await gateway.status())["workers"]
    return sum(worker["ledger"]["late"]["count"] for worker in workers)


async def test_the_curve_says_how_much_more_time_would_have_given_all(cluster: Cluster) -> None:
    """Its reply is in no answer; once it has come, the curve knows, and the ledger what it cost."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "hedges", DOCUMENTS)
        result = await ask(gateway, "hedges", "hedge", **PROFILE)
        assert result.coverage.is_full
        took_ms, num_before = DEADLINE_MS, await num_late(gateway)
        for number in range(3):
            result = await ask(gateway, "hedges", "tardy", explain=True, **PROFILE)
            assert result.took_ms < DEADLINE_MS + LATE_MS
            took_ms = min(took_ms, result.took_ms)
            assert result.coverage.degraded == {"timed_out": 1}

            async def has_come(number: int = number) -> bool:
                return await num_late(gateway) == num_before + number + 1

            await until(has_come)
        share = result.coverage.fraction
        # A busy gateway keeps back more time for itself, and answers that much before the deadline.
        curve = gateway.coverage_curve("hedges", took_ms)
        # One query of four was answered in full.
        assert curve["coverage"] == pytest.approx(share + (1 - share) / 4, abs=0.02)
        assert curve["gain"]["coverage"] == 1.0
        assert 0 < curve["gain"]["extra_ms"] <= LATE_MS + 0.25 * DEADLINE_MS
        (told,) = (await gateway.status())["collections"]
        assert told["coverage_curve"]["points"][-1] == curve["points"][-1]
        states = [shard["breaker"] for shard in (await gateway.status())["shards"]]
        assert states == ["closed"] * NUM_SHARDS


async def test_who_goes_by_the_time_that_is_left_is_in_time(cluster: Cluster) -> None:
    """That a request may be late does not make late who stops when its time is nearly up."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "hedges", DOCUMENTS)
        result = await ask(gateway, "hedges", "prompt", **PROFILE)
        assert result.coverage.is_full
        assert result.took_ms > DEADLINE_MS / 2
