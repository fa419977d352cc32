"""`gateway up` with two replicas: a reindex outlasts the death of the gateway that moves it on."""

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.up import Caller, running_up
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NUM_DOCUMENTS = 3000
LINES = "".join(json.dumps({"id": f"d{n}", "title": "amber"}) + "\n" for n in range(NUM_DOCUMENTS))
SLOWLY = "0.2"


async def test_a_reindex_outlasts_its_gateway(tmp_path: Path) -> None:
    """The gateway is killed (SIGKILL) while it copies; the one that follows it goes on."""
    options = ("--shards=2", "--replicas=2", "--workers=2")
    async with (
        running_up(tmp_path / "data", *options, HEDGEROW_GATEWAY__REINDEX_SHARE=SLOWLY) as up,
        Caller(up.url) as caller,
    ):
        for name in ("trees-1", "trees-2"):
            await caller.http.put(f"/v1/collections/{name}", json={"fields": {"title": "text"}})
        await caller.http.put("/v1/aliases/trees", json={"collection": "trees-1"})
        loaded = await caller.http.post("/v1/collections/trees/documents", content=LINES)
        assert loaded.json()["accepted"] == NUM_DOCUMENTS
        body = {"from": "trees-1", "to": "trees-2", "alias": "trees"}
        assert (await caller.http.post("/v1/reindex", json=body)).status_code == 202

        async def is_copying() -> bool:
            found = (await caller.http.get("/v1/reindex")).json()["reindex"]
            return bool(0 < found["copied"] < NUM_DOCUMENTS)

        await until(is_copying, 60, what="a part of the copy")
        os.kill(up.pids["gateway"], signal.SIGKILL)

        async def has_switched() -> bool:
            try:
                answer = await caller.http.get("/v1/reindex")
            except httpx.HTTPError:  # the next gateway is not there yet
                return False
            return answer.is_success and answer.json()["reindex"]["state"] == "switched"

        await until(has_switched, 90, what="the switch")
        result = await caller.found("trees", "amber", k=1, fields=False)
        assert result["total_hits"]["value"] == NUM_DOCUMENTS
        assert result["coverage"]["is_full"]
