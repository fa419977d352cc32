"""`gateway up --replicas 2`: its shards are split, and are there at the next start."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NUM_DOCUMENTS = 300
ALIAS = "forest"
LINES = "".join(json.dumps({"id": f"d{n}", "title": "amber"}) + "\n" for n in range(NUM_DOCUMENTS))


async def is_whole(caller: Caller) -> bool:
    """Whether all documents are found, in all shards."""
    result = await caller.found("trees", "amber", k=1, fields=False)
    return (result["coverage"]["is_full"], result["total_hits"]["value"]) == (True, NUM_DOCUMENTS)


async def num_found(caller: Caller, collection: str) -> int:
    """How many documents of a collection are found."""
    result = await caller.found(collection, "amber", k=1, fields=False)
    return int(result["total_hits"]["value"])


async def stands_for(caller: Caller, collection: str) -> None:
    """Make the alias stand for a collection."""
    body = {"collection": collection}
    assert (await caller.http.put(f"/v1/aliases/{ALIAS}", json=body)).is_success


@pytest.mark.parametrize(
    ("num_shards", "more"), [(2, ()), (3, ("--redis-nodes=3",))], ids=["one server", "nodes"]
)
async def test_a_split_outlasts_the_cluster(
    tmp_path: Path, num_shards: int, more: tuple[str, ...]
) -> None:
    """All documents are found in twice the shards, also after the next start; aliases follow."""
    options = (f"--shards={num_shards}", "--replicas=2", "--workers=2", *more)
    data = tmp_path / "data"
    async with running_up(data, *options) as up:
        async with Caller(up.url) as caller:
            await caller.http.put("/v1/collections/trees", json={"fields": {"title": "text"}})
            loaded = await caller.http.post("/v1/collections/trees/documents", content=LINES)
            assert loaded.json()["accepted"] == NUM_DOCUMENTS
            await stands_for(caller, "trees")
            assert (await caller.http.post("/v1/split")).status_code == 202

            async def is_split() -> bool:
                found = (await caller.http.get("/v1/split")).json()
                return found["split"] is None and found["num_shards"] == 2 * num_shards

            await until(is_split, 90.0, what="the split")
            assert await is_whole(caller)
            assert await num_found(caller, ALIAS) == NUM_DOCUMENTS
            await caller.http.put("/v1/collections/bushes", json={"fields": {"title": "text"}})
            await stands_for(caller, "bushes")
            assert await num_found(caller, ALIAS) == 0
        assert await up.stop() == 0, up.output
    async with running_up(data, *options) as up:
        async with Caller(up.url) as caller:
            assert await is_whole(caller)
            status = (await caller.http.get("/v1/status")).json()
            assert [one["replicas"] for one in status["shards"]] == [2] * 2 * num_shards
        assert await up.stop() == 0, up.output


@asynccontextmanager
async def split_up(data: Path, **environment: Any) -> AsyncIterator[Caller]:
    """A cluster whose one shard has been split, and which ends with the block."""
    options = ("--shards=1", "--replicas=2", "--workers=2")
    async with running_up(data, *options, **environment) as up:
        async with Caller(up.url) as caller:
            await caller.http.put("/v1/collections/trees", json={"fields": {"title": "text"}})
            loaded = await caller.http.post("/v1/collections/trees/documents", content=LINES)
            assert loaded.json()["accepted"] == NUM_DOCUMENTS
            await caller.http.post("/v1/split")

            async def is_split() -> bool:
                found = (await caller.http.get("/v1/split")).json()
                return found["split"] is None and found["num_shards"] == 2

            await until(is_split, 90.0, what="the split")
            yield caller
        assert await up.stop() == 0, up.output


@pytest.mark.parametrize("options", [(), ("--replicas=1",)], ids=["as before", "one replica"])
async def test_a_split_outlasts_its_redis(tmp_path: Path, options: tuple[str, ...]) -> None:
    """All documents are found after a start without the server's files, which named the layout."""
    data = tmp_path / "data"
    async with split_up(data):
        pass
    shutil.rmtree(data / "redis")
    async with running_up(data, *options) as up:
        async with Caller(up.url) as caller:
            await until(lambda: is_whole(caller), 60.0, what="all documents")
        assert await up.stop() == 0, up.output


async def test_snapshots_of_a_split_outlast_everything_else(tmp_path: Path) -> None:
    """Without disks and Redis, no cluster begins with what was there before the split.

    The refusal says how to restore what was there last.
    """
    data = tmp_path / "data"
    environment: dict[str, Any] = {"HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots")}
    async with split_up(data, **environment) as caller:
        asked = (await caller.http.post("/v1/snapshots")).json()

        async def are_made() -> bool:
            made = (await caller.http.get("/v1/status")).json()["snapshots"]
            return all((one["made_at_ms"] or 0) >= asked["wanted_at_ms"] for one in made)

        await until(are_made, 60.0, what="snapshots")
    shutil.rmtree(data)
    shutil.rmtree(tmp_path / "snapshots" / "hedgerow", ignore_errors=True)  # as the docs advise
    refused = await Up.start(data, "--shards=1", **environment)
    assert await refused.process.wait() == 1
    assert "set redis.key_prefix to hedgerow-layout-1" in refused.output
    shutil.rmtree(data, ignore_errors=True)
    environment["HEDGEROW_REDIS__KEY_PREFIX"] = "hedgerow-layout-1"
    async with running_up(data, "--shards=2", **environment) as up:
        async with Caller(up.url) as caller:
            await until(lambda: is_whole(caller), 60.0, what="all documents")
        assert await up.stop() == 0, up.output
