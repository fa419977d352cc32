"""The placement in the page, while a worker is drained."""

from collections.abc import Iterator

import pytest

from tests.browser.browser import PHONE, Browser
from tests.browser.cluster import Cluster, fill, running_cluster
from tests.support.waiting import block_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def replicated(
    browser_of_ring: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three workers, two replicas of each shard, and snapshots of all shards."""
    assert browser_of_ring
    folder = tmp_path_factory.mktemp("placement")
    numbers = ("--shards", "4", "--workers", "3", "--replicas", "2")
    environment = {
        "HEDGEROW_SNAPSHOTS__URL": str(folder / "snapshots"),
        "HEDGEROW_WORKER__SCORERS": "1",
        # So slow that a move can be watched.
        "HEDGEROW_PLACEMENT__MAX_RESTORE_BYTES_PER_S": "40000",
        "HEDGEROW_PLACEMENT__MAX_MOVES": "1",
    }
    with running_cluster(folder, *numbers, environment=environment) as found:
        fill(found)
        with found.client() as client:
            client.create_snapshots()
            block_until(
                lambda: all(one.id for one in client.status().snapshots),
                what="snapshots",
                every_s=0.2,
            )
        yield found


def test_a_drain_is_shown_with_its_moves_until_the_worker_holds_nothing(
    browser: Browser, replicated: Cluster
) -> None:
    """Draining, moves with their stage and progress, then drained; without a reload."""
    browser.open(replicated.url, "cluster")
    browser.until_text("nothing moves", "#placement-title")
    row = "#placement tr[data-worker='worker-2']"
    assert "live" in browser.text(row)
    with replicated.client() as client:
        client.drain_worker("worker-2")
        try:
            browser.until_text("draining", row)
            browser.until_text("for worker-2", "#moves")
            browser.until_text("moves done", ".progress")
            browser.until_text("restores", "#moves")
            browser.until(lambda: "drained" in browser.text(row), 90.0, what="worker-2 is drained")
            browser.until_text("nothing moves", "#placement-title")
            assert not any(one.isdigit() for one in browser.text(f"{row} td:nth-child(3)"))
        finally:
            client.cancel_drain("worker-2")


def test_a_split_is_shown_until_it_ends(browser: Browser, replicated: Cluster) -> None:
    """Its shards, its state and what it waits for, without a reload."""
    browser.open(replicated.url, "cluster")
    browser.until_text("nothing moves", "#placement-title")
    with replicated.client() as client:
        client.begin_split()
        try:
            browser.until_text("split from 4 shards to 8", "#split")
            browser.until_text("waits for", "#split")
        finally:
            client.cancel_split()
    browser.until(lambda: not browser.run("return document.querySelectorAll('#split').length"))


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_the_placement_fits_a_phone(browser: Browser, replicated: Cluster, is_dark: bool) -> None:
    """With moves under way, axe finds nothing serious, and no line is wider than the page."""
    browser.open(replicated.url, "cluster", size=PHONE, is_dark=is_dark)
    # A worker that has nothing is drained at once.
    browser.until_text("nothing moves", "#placement-title", 90.0)
    with replicated.client() as client:
        client.drain_worker("worker-1")
        try:
            browser.until_text("draining", "#placement")
            assert browser.axe() == []
            assert browser.run("return document.documentElement.scrollWidth") <= PHONE[0]
        finally:
            client.cancel_drain("worker-1")


def test_pinned_workers_have_no_placement(browser: Browser, cluster: Cluster) -> None:
    """Where no worker has joined, there is no such card."""
    browser.open(cluster.url, "cluster")
    browser.until_text("worker-1", "#grid")
    assert not browser.all("#placement")
