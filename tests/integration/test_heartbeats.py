"""Heartbeats of real workers: when the others hear what one serves."""

import pytest

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.gateway import Gateway
from tests.support.clusters import cluster_of_its_own, load, ndjson
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NUM_DOCUMENTS = 300
RARELY = {
    "HEDGEROW_WORKER__HEARTBEAT_INTERVAL_S": "120",
    "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "270",
}


async def beat_of(gateway: Gateway, worker: str) -> Heartbeat | None:
    """The worker's last heartbeat, as it lies in Redis."""
    return (await gateway._registry.heartbeats()).get(worker)


async def test_a_worker_that_has_caught_up_counts_at_once() -> None:
    """With a heartbeat every 120 s, it serves what it has caught up with long before the next."""
    with cluster_of_its_own(num_shards=2, num_replicas=2, environment=RARELY) as cluster:
        settings = cluster.settings.model_copy(
            update={
                "worker": WorkerSettings(heartbeat_expiry_s=270.0),
                "gateway": GatewaySettings(membership_poll_s=60.0),
            }
        )
        async with Gateway.connect(settings, num_shards=2) as gateway:
            await until(lambda: gateway._membership.num_live == [2, 2])
            await load(gateway, "trees", [{"id": "old", "title": "amber"}])
            cluster.kill(1)
            before = await beat_of(gateway, "w1")
            missed = [{"id": f"new{number}", "title": "amber"} for number in range(NUM_DOCUMENTS)]
            await gateway.documents.load("trees", ndjson(missed), "logged")

            async def has_other_all() -> bool:
                counts = await gateway._registry.document_counts(uid)
                return sum(counts.values()) == NUM_DOCUMENTS + 1

            uid = gateway.collections.get("trees").uid
            await until(has_other_all)
            cluster.start(1)

            beats: list[Heartbeat] = []

            async def serves_all() -> bool:
                beat = await beat_of(gateway, "w1")
                assert beat is not None
                if beat != before and (not beats or beat != beats[-1]):
                    beats.append(beat)
                return bool(beats) and beats[-1].shards == [0, 1]

            await until(serves_all)
            assert beats[0].behind == [0, 1]
            assert beats[0].shards == []
            # The gateway too, which looks by itself once a minute.
            await until(lambda: gateway._membership.workers["w1"] == beats[-1])
