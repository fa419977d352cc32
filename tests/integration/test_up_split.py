"""`gateway up --replicas 2`: its shards are split, and are there at the next start."""

import json
from pathlib import Path

import pytest

from tests.support.up import Caller, running_up
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NUM_DOCUMENTS = 300
LINES = "".join(json.dumps({"id": f"d{n}", "title": "amber"}) + "\n" for n in range(NUM_DOCUMENTS))


async def is_whole(caller: Caller) -> bool:
    """Whether all documents are found, in all shards."""
    result = await caller.found("trees", "amber", k=1, fields=False)
    return (result["coverage"]["is_full"], result["total_hits"]["value"]) == (True, NUM_DOCUMENTS)


@pytest.mark.parametrize(
    ("num_shards", "more"), [(2, ()), (3, ("--redis-nodes=3",))], ids=["one server", "nodes"]
)
async def test_a_split_outlasts_the_cluster(
    tmp_path: Path, num_shards: int, more: tuple[str, ...]
) -> None:
    """After the next start with the same options, all documents are found in twice the shards."""
    options = (f"--shards={num_shards}", "--replicas=2", "--workers=2", *more)
    data = tmp_path / "data"
    async with running_up(data, *options) as up:
        async with Caller(up.url) as caller:
            await caller.http.put("/v1/collections/trees", json={"fields": {"title": "text"}})
            loaded = await caller.http.post("/v1/collections/trees/documents", content=LINES)
            assert loaded.json()["accepted"] == NUM_DOCUMENTS
            assert (await caller.http.post("/v1/split")).status_code == 202

            async def is_split() -> bool:
                found = (await caller.http.get("/v1/split")).json()
                return found["split"] is None and found["num_shards"] == 2 * num_shards

            await until(is_split, 90.0, what="the split")
            assert await is_whole(caller)
        assert await up.stop() == 0, up.output
    async with running_up(data, *options) as up:
        async with Caller(up.url) as caller:
            assert await is_whole(caller)
            status = (await caller.http.get("/v1/status")).json()
            assert [one["replicas"] for one in status["shards"]] == [2] * 2 * num_shards
        assert await up.stop() == 0, up.output
