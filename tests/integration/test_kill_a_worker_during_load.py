"""SIGKILL of real shard workers at random moments of a load: every accepted document is there."""

import asyncio
import json
import random
import sys
from typing import Any

import pytest

from hedgerow.gateway.gateway import Gateway
from hedgerow.shard_worker.storage.store import Store
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own, gateway_to, ndjson
from tests.support.processes import kill_all_of
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NUM_KILLS = 6
GROUP = 500  # documents that have a word in common; a search shows at most 1,000 hits
COLLECTION = "books"

Document = dict[str, Any]


async def write(gateway: Gateway, rng: random.Random, stop: asyncio.Event) -> dict[str, Document]:
    """Load and delete at random until told to stop; returns what must be there, by id.

    Most documents are written once, so that no later write makes up for one that was lost.
    """
    model: dict[str, Document] = {}
    number = 0
    while not stop.is_set():
        documents: list[Document] = []
        for _ in range(rng.randrange(1, 150)):
            number += 1
            one = number if rng.random() < 0.9 else rng.randrange(number)
            title = f"every group{one // GROUP}"
            documents.append({"id": f"d{one}", "title": title, "number": number})
        report = await gateway.documents.load(COLLECTION, ndjson(documents), "logged")
        assert (report.accepted, report.rejected) == (len(documents), [])
        model.update({document["id"]: document for document in documents})
        for known in rng.sample(sorted(model), k=min(3, len(model))):
            await gateway.documents.delete(COLLECTION, known, "logged")
            del model[known]
        await asyncio.sleep(0.01)
    return model


def stored(cluster: Cluster, uid: str) -> dict[str, Document]:
    """Every document in the workers' stores, by id; fails where one is there twice."""
    found: dict[str, Document] = {}
    for worker in cluster.workers:
        for shard in cluster.shards_of(worker):
            path = cluster.data(worker) / "shards" / str(shard) / "store.sqlite"
            store = Store.open(path, read_only=True)
            for one, body in store.scan(uid):
                assert one not in found
                found[one] = json.loads(body)
            store.close()
    return found


async def test_workers_killed_during_a_load_lose_and_double_nothing() -> None:
    """Search and stores end as a dictionary says, whichever workers are killed, and when."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    sys.stdout.write(f"seed {seed}\n")  # pytest shows it when the test fails
    with cluster_of_its_own() as cluster:
        async with gateway_to(cluster) as gateway:
            definition = {"fields": {"title": "text", "number": "integer"}}
            uid = (await gateway.collections.put(COLLECTION, definition)).uid
            stop = asyncio.Event()
            writer = asyncio.create_task(write(gateway, random.Random(seed), stop))
            try:
                for _ in range(NUM_KILLS):
                    await asyncio.sleep(rng.uniform(0.0, 0.7))
                    for worker in rng.sample(sorted(cluster.workers), k=rng.choice([1, 1, 2])):
                        kill_all_of(cluster.workers[worker].pid)
                        await asyncio.to_thread(cluster.kill, worker)
                        cluster.start(worker)
                    if rng.random() < 0.8:  # else the next kill meets one that just starts
                        await all_live(gateway)
            finally:
                stop.set()
                await asyncio.wait([writer])
            model = writer.result()
            await all_live(gateway)
            # A load of nothing waits until all that was logged before can be found.
            assert (await gateway.documents.load(COLLECTION, ndjson([]), "applied")).is_applied

            async def all_are_counted() -> bool:
                result = await ask(gateway, COLLECTION, "every", deadline_ms=2000.0)
                return result.coverage.is_full and result.total_hits.value == len(model)

            await until(all_are_counted)
            found: list[Document | None] = []
            for group in {document["title"].split()[1] for document in model.values()}:
                hits = (await ask(gateway, COLLECTION, group, k=1000, deadline_ms=20_000.0)).hits
                found += [hit.fields for hit in hits]
            assert len(found) == len(model)
            assert {one["id"]: one for one in found if one is not None} == model
            assert stored(cluster, uid) == model
