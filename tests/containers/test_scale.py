"""compose.join.yaml: added workers get shards, and those that leave give theirs to others."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.containers.compose_cluster import UP_TIMEOUT_S, ComposeCluster
from tests.containers.engine import docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

NUM_SHARDS = 8
NUM_DOCUMENTS = 200


@pytest.fixture(scope="module")
def cluster(engine: None, password: str) -> Iterator[ComposeCluster]:
    """Two workers that join, with documents and a snapshot of each shard."""
    running = ComposeCluster(password)
    try:
        running.up("compose.join.yaml", options=("--scale", "worker=2"))
        running.http.put(
            "/v1/collections/fruit", json={"fields": {"name": "text"}}
        ).raise_for_status()
        lines = "".join(
            json.dumps({"id": f"f{n}", "name": f"green fruit {n}"}) + "\n"
            for n in range(NUM_DOCUMENTS)
        )
        report = running.http.post("/v1/collections/fruit/documents", content=lines.encode())
        assert report.json()["accepted"] == NUM_DOCUMENTS
        running.until(running.is_whole, "all shards answer")
        running.http.post("/v1/snapshots").raise_for_status()
        yield running
    finally:
        running.remove()


def placement(cluster: ComposeCluster) -> dict[str, Any]:
    """Who serves what."""
    found: dict[str, Any] = cluster.http.get("/v1/placement").raise_for_status().json()
    return found


def until_serving(cluster: ComposeCluster, *counts: int) -> None:
    """Wait until the live workers serve these numbers of shards, and nothing moves."""

    def are_balanced() -> bool:
        found = placement(cluster)
        serving = sorted(one["serves"] for one in found["workers"] if one["live"])
        return bool(found["is_settled"]) and serving == sorted(counts)

    cluster.until(are_balanced, f"the workers serve {counts} shards")


def scale(cluster: ComposeCluster, number: int) -> None:
    """Run this number of workers, as docs/placement.md says."""
    options = ("--scale", f"worker={number}", "--no-recreate")
    cluster.compose("up", "--detach", "--wait", *options, timeout_s=UP_TIMEOUT_S)


def name_of(cluster: ComposeCluster, number: int) -> str:
    """The name in the cluster of a worker's container."""
    container = f"{cluster.project}-worker-{number}"
    return docker("exec", container, "cat", "/data/worker/name").strip()


def test_workers_that_are_added_and_drained(cluster: ComposeCluster) -> None:
    """A third container gets its share; once drained, it is stopped, and all is still found."""
    until_serving(cluster, 8, 8)
    scale(cluster, 3)
    until_serving(cluster, 5, 5, 6)
    third = name_of(cluster, 3)
    cluster.http.put(f"/v1/placement/draining/{third}").raise_for_status()
    until_serving(cluster, 0, 8, 8)
    scale(cluster, 2)
    assert cluster.whole_answer("green", k=NUM_DOCUMENTS)["coverage"]["documents"] == NUM_DOCUMENTS


def test_a_worker_that_is_killed_returns_with_its_data(cluster: ComposeCluster) -> None:
    """While its container restarts, the other replica answers; it has its name and shards again."""
    name = name_of(cluster, 1)
    before = cluster.inspect("worker")["State"]["StartedAt"]
    cluster.crash("worker")
    cluster.whole_answer("green", k=1)
    cluster.until(
        lambda: bool(cluster.inspect("worker")["State"]["StartedAt"] != before), "it is restarted"
    )
    until_serving(cluster, 8, 8)
    assert name_of(cluster, 1) == name
