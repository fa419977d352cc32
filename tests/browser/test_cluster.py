"""The cluster in the page, while it is hurt."""

import json
from urllib.request import urlopen

from tests.browser.browser import Browser
from tests.browser.cluster import COLLECTION, Cluster
from tests.support.waiting import block_until

SERVED = """
const names = [...document.querySelectorAll("#grid thead th.worker")].map((one) => one.innerText);
const rows = [...document.querySelectorAll("#grid tbody tr")];
return Object.fromEntries(names.map((name, at) => [name, rows.filter((row) =>
  row.querySelectorAll("td.worker")[at].innerText === "●").map((row) => row.dataset.shard)]));
"""


def served_by(browser: Browser) -> dict[str, list[str]]:
    """Worker → the shards that the grid shows it to serve; read at once, since it changes."""
    found: dict[str, list[str]] = browser.run(SERVED)
    return found


def whole(cluster: Cluster) -> bool:
    """Whether both workers serve, and every breaker is closed."""
    with cluster.client() as client:
        status = client.status()
    return len(status.workers) == 2 and all(
        shard.workers and shard.breaker == "closed" for shard in status.shards
    )


def test_a_worker_that_is_killed_leaves_the_grid_within_two_seconds(
    browser: Browser, cluster: Cluster
) -> None:
    """Grid and events follow, without a reload; and again when it is back."""
    browser.open(cluster.url, "cluster")
    browser.until(lambda: len(served_by(browser)) == 2, what="both workers")
    before = served_by(browser)
    assert sorted(shard for shards in before.values() for shard in shards) == ["0", "1", "2", "3"]
    try:
        pid = cluster.kill_for_seconds("worker-1")
        gone = f"worker-1 has gone (pid {pid}); it served shards"
        browser.until(
            lambda: (
                served_by(browser) == {"worker-0": before["worker-0"]}
                and len(browser.all("#grid tr.lost")) == 2
                and gone in browser.text("#events")
            ),
            2.0,
            what="the grid without worker-1",
        )
        browser.until(lambda: served_by(browser) == before, 30.0, what="worker-1 is back")
        browser.until_text("worker-1 has joined", "#events")
    finally:
        block_until(lambda: whole(cluster), 30.0, every_s=0.2)


def test_a_breaker_is_set_by_hand_with_a_confirmation(browser: Browser, cluster: Cluster) -> None:
    """Nothing is done until it is confirmed; grid and events follow."""
    browser.open(cluster.url, "cluster")
    row = "#grid tr[data-shard='3']"
    with cluster.client() as client:
        try:
            browser.one(f"{row} button").click()
            browser.until_text("Breaker of shard 3", "dialog")
            browser.button("Cancel").click()
            browser.until(lambda: not browser.all("dialog"))
            assert client.status().shards[3].breaker == "closed"
            browser.one(f"{row} button").click()
            browser.button("Force open").click()
            browser.until_text("forced open", row)
            browser.until_text("breaker of shard 3: forced-open (by hand)", "#events")
            assert client.status().shards[3].breaker == "forced_open"
            browser.one(f"{row} button").click()
            browser.button("Reset").click()
            browser.until(lambda: "forced open" not in browser.text(row))
            assert client.status().shards[3].breaker == "closed"
        finally:
            client.set_breaker(3, "closed")


def num_in_history(cluster: Cluster) -> int:
    """How many full answers are in the minutes that a viewer is shown first."""
    with urlopen(f"{cluster.url}/v1/events", timeout=10) as stream:
        data = next(line for line in stream if line.startswith(b"data: "))
    return sum(point["full"] for point in json.loads(data.removeprefix(b"data: "))["points"])


def test_the_plots_show_the_time_before_the_page_was_opened(
    browser: Browser, cluster: Cluster
) -> None:
    """The history includes searches that were answered while no page was open."""
    before = num_in_history(cluster)
    with cluster.client() as client:
        for _ in range(40):
            client.search(COLLECTION, "lamp", deadline_ms=5000)
    block_until(lambda: num_in_history(cluster) == before + 40)
    browser.open(cluster.url, "cluster")
    browser.until_text("searches/s", ".figures")
    for plot in ("rate", "times", "coverage"):
        path = browser.one(f".plot[aria-labelledby='plot-{plot}'] svg path.good")
        assert path.get_attribute("d"), plot


def test_the_focus_stays_while_the_view_is_refreshed(browser: Browser, cluster: Cluster) -> None:
    """Someone at a keyboard is not thrown out of the grid every second."""
    browser.open(cluster.url, "cluster")
    button = browser.one("#grid tr[data-shard='2'] button")
    browser.run("arguments[0].focus(); window.hurt = arguments[0]", button)
    seen = browser.run("return performance.getEntriesByType('resource').length")
    with cluster.client() as client:
        client.put_collection("brief", fields={"title": "text"})
        try:
            browser.until_text("collection brief was created", "#events")
        finally:
            client.delete_collection("brief")
    browser.until_text("collection brief was removed", "#events")
    assert browser.run("return document.activeElement === window.hurt")
    # The stream is one request; nothing is asked for again and again.
    assert browser.run("return performance.getEntriesByType('resource').length") == seen


def test_snapshots_that_are_off_are_refused_with_the_reason(
    browser: Browser, cluster: Cluster
) -> None:
    """The gateway's own words are shown."""
    browser.open(cluster.url, "cluster")
    browser.one("#snapshot").click()
    browser.one("dialog button[type=submit]").click()
    browser.until_text("snapshots.url", "[role=alert]")
    assert all("400" in one for one in browser.complaints())
