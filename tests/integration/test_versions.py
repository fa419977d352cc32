"""Gateways and workers of the version before in one cluster with those of this version."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import UnavailableError, VersionMismatchError
from hedgerow.gateway.client import Client
from tests.integration.support import previous_version
from tests.integration.support.mixed import (
    VERSIONS,
    Version,
    mixed_cluster,
    status,
    wait_for_workers,
)
from tests.support.waiting import block_until

pytestmark = pytest.mark.integration

NUM_DOCUMENTS = 40


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the version before, in a folder for PYTHONPATH."""
    return previous_version.install(tmp_path_factory.mktemp("previous"))


def documents(first: int, last: int) -> dict[str, dict[str, Any]]:
    """Id → document; all have a word in common."""
    return {
        f"d{n}": {"id": f"d{n}", "title": f"amber {n}", "year": 1900 + n}
        for n in range(first, last)
    }


def load(client: Client, expected: Iterable[Mapping[str, Any]]) -> None:
    """Load documents, and return when they can be found."""
    rows = list(expected)
    report = client.index("books", rows)
    assert (report.accepted, report.rejected) == (len(rows), [])


def found(client: Client) -> tuple[dict[str, Any], set[str]]:
    """What a search finds, with its fields, and the workers that have answered it."""
    answer = client.search(
        "books", "amber", k=200, fields=True, explain=True, deadline_ms=10_000, minimum_coverage=1
    )
    workers = {shard.worker for shard in answer.shards.detail}
    return {hit.id: hit.fields for hit in answer.hits}, workers


def check_all_find(clients: Iterable[Client], expected: Mapping[str, Any], *workers: str) -> None:
    """Each gateway finds exactly these documents, asked until each worker has answered."""
    for client in clients:
        wait_for_workers(client, *workers)
        heard: set[str] = set()

        def all_are_heard(client: Client = client, heard: set[str] = heard) -> bool:
            hits, who = found(client)
            assert hits == expected
            heard |= who
            return heard == set(workers)

        block_until(all_are_heard, what=f"all of {workers} answer")


def test_both_versions_are_what_they_seem(site: Path, tmp_path: Path) -> None:
    """Processes of the version before import it from its wheel, and others this repository."""
    assert previous_version.home_of_package(site, tmp_path) == site / "hedgerow"
    assert previous_version.home_of_package(None, tmp_path) != site / "hedgerow"


def test_gateways_and_workers_of_both_versions_work_together(site: Path) -> None:
    """Each pair searches, writes, reads and deletes; a data folder passes from one to the other."""
    with mixed_cluster(site) as cluster, ExitStack() as opened:
        for version in VERSIONS:
            cluster.start_worker(version, version)
        clients = [opened.enter_context(cluster.gateway(version)) for version in VERSIONS]
        expected: dict[str, dict[str, Any]] = {}
        for number, client in enumerate(clients):
            wait_for_workers(client, *VERSIONS)
            client.put_collection("books", fields={"title": "text", "year": "integer"})
            mine = documents(NUM_DOCUMENTS * number, NUM_DOCUMENTS * (number + 1))
            load(client, mine.values())
            first = f"d{NUM_DOCUMENTS * number}"
            client.delete_document("books", first)
            del mine[first]
            expected |= mine
        check_all_find(clients, expected, *VERSIONS)
        for client in clients:  # which is of this version
            assert client.get_document("books", "d1") == expected["d1"]
            assert {worker.id for worker in client.status().workers} == {*VERSIONS}

        # Each version alone, and then what was written meanwhile.
        for number, (absent, present) in enumerate((VERSIONS, VERSIONS[::-1])):
            cluster.stop_worker(absent)
            for client in clients:
                wait_for_workers(client, present)
            more = documents(200 + number, 201 + number)
            load(clients[number], more.values())
            expected |= more
            check_all_find(clients, expected, present)
            cluster.start_worker(absent, absent)
            check_all_find(clients, expected, *VERSIONS)

        # An upgrade and a return, in place.
        for name, version in zip(VERSIONS, VERSIONS[::-1], strict=True):
            cluster.stop_worker(name)
            cluster.start_worker(name, version)
        check_all_find(clients, expected, *VERSIONS)


def test_writes_on_a_condition_wait_for_the_last_upgrade(site: Path) -> None:
    """They are refused while a worker lives that does not know them, and that is named.

    Once it is upgraded, it judges what came meanwhile as the other replica has.
    """
    with mixed_cluster(site) as cluster, cluster.gateway("present") as client:
        for version in VERSIONS:
            cluster.start_worker(version, version)
        wait_for_workers(client, *VERSIONS)
        client.put_collection("books", fields={"title": "text", "year": "integer"})
        expected = documents(0, 3)
        load(client, expected.values())
        with pytest.raises(UnavailableError, match="worker previous"):
            client.put_document("books", "d9", {"title": "amber"}, if_version="none")
        with pytest.raises(UnavailableError, match="worker previous"):
            client.patch_document("books", "d1", {"year": 7})
        with pytest.raises(UnavailableError, match="worker previous"):
            client.delete_document("books", "d1", if_version="A" * 16)

        cluster.stop_worker("previous")
        wait_for_workers(client, "present")
        expected["d9"] = {"id": "d9", "title": "amber"}
        first = client.put_document("books", "d9", expected["d9"], if_version="none").version
        assert first is not None
        assert client.get_versioned("books", "d9") == (expected["d9"], first)
        with pytest.raises(VersionMismatchError) as refused:
            client.put_document("books", "d9", {"title": "amber"}, if_version="none")
        assert refused.value.version == first
        client.patch_document("books", "d1", {"year": 7}, wait="logged")
        expected["d1"]["year"] = 7
        check_all_find([client], expected, "present")

        cluster.start_worker("previous", "present")
        check_all_find([client], expected, *VERSIONS)


def test_a_worker_that_joins_serves_a_gateway_of_the_version_before(site: Path) -> None:
    """It knows nothing of a placement, and finds the shards by the heartbeat."""
    with mixed_cluster(site) as cluster, cluster.gateway("previous") as client:
        cluster.start_worker("w", "present", joins=True)
        wait_for_workers(client, "w")
        client.put_collection("books", fields={"title": "text", "year": "integer"})
        expected = documents(0, NUM_DOCUMENTS)
        load(client, expected.values())
        check_all_find([client], expected, "w")


@pytest.mark.parametrize(("maker", "restorer"), [VERSIONS, VERSIONS[::-1]])
def test_a_snapshot_of_one_version_is_restored_by_the_other(
    site: Path, tmp_path: Path, maker: Version, restorer: Version
) -> None:
    """Also if it is signed: an empty worker of the other version has all documents of it."""
    settings = {
        "HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots"),
        "HEDGEROW_SNAPSHOTS__INTERVAL_S": "0",
        "HEDGEROW_SNAPSHOTS__KEY": "a key of the cluster's own",
    }
    with mixed_cluster(site, **settings) as cluster, cluster.gateway(maker) as client:
        cluster.start_worker("w", maker)
        wait_for_workers(client, "w")
        client.put_collection("books", fields={"title": "text", "year": "integer"})
        expected = documents(0, NUM_DOCUMENTS)
        load(client, expected.values())
        asked = client.create_snapshots()

        def are_made() -> bool:
            shards = status(client)["snapshots"]
            return all((one["made_at_ms"] or 0) >= asked.wanted_at_ms for one in shards)

        block_until(are_made, what="snapshots are made", every_s=0.05)
        cluster.lose_worker("w")
        cluster.start_worker("w", restorer)
        check_all_find([client], expected, "w")
