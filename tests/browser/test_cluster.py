"""The cluster in the page, while it is hurt."""

import json
import time

from selenium.webdriver.common.by import By

from tests.browser.browser import Browser
from tests.browser.cluster import COLLECTION, Cluster
from tests.support.waiting import block_until


def served_by(browser: Browser) -> dict[str, list[str]]:
    """Worker → the shards that the grid shows it to serve."""
    names = [one.text for one in browser.all("#grid thead th.worker")]
    found: dict[str, list[str]] = {name: [] for name in names}
    for row in browser.all("#grid tbody tr"):
        cells = row.find_elements(By.CSS_SELECTOR, "td.worker")
        for name, cell in zip(names, cells, strict=True):
            if cell.text == "●":
                found[name].append(str(row.get_attribute("data-shard")))
    return found


def whole(cluster: Cluster) -> bool:
    """Whether both workers serve, and every breaker is closed."""
    with cluster.client() as client:
        status = client.status()
    return len(status.workers) == 2 and all(
        shard.workers and shard.breaker == "closed" for shard in status.shards
    )


# Keeps which workers the grid has shown, and when: one that is killed may be back within a second.
RECORD = """
const grid = document.getElementById("main");
window.shown = [];
new MutationObserver(() => {
  const names = [...document.querySelectorAll("#grid thead th.worker")].map((one) => one.innerText);
  const lost = document.querySelectorAll("#grid tr.lost").length;
  const now = JSON.stringify([names, lost]);
  if (window.shown.at(-1)?.[1] !== now) window.shown.push([Date.now(), now]);
}).observe(grid, {subtree: true, childList: true, characterData: true, attributes: true});
"""


def test_a_worker_that_is_killed_leaves_the_grid_within_two_seconds(
    browser: Browser, cluster: Cluster
) -> None:
    """Grid and events follow, without a reload; and again when it is back."""
    browser.open(cluster.url, "cluster")
    browser.until(lambda: len(served_by(browser)) == 2, what="both workers")
    before = served_by(browser)
    assert sorted(shard for shards in before.values() for shard in shards) == ["0", "1", "2", "3"]
    try:
        browser.run(RECORD)
        pid = cluster.kill("worker-1")
        killed_at = time.time()
        gone = f"worker-1 has gone (pid {pid}); it served shards"
        browser.until(lambda: gone in browser.text("#events"), 2.0, what=gone)
        browser.until_text("worker-1 has joined", "#events", 30.0)
        browser.until(lambda: served_by(browser) == before, 30.0, what="worker-1 is back")
        shown = browser.run("return window.shown")
        without = min(at for at, state in shown if json.loads(state) == [["worker-0"], 2])
        assert without / 1000 - killed_at < 2.0
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


def test_the_plots_show_the_time_before_the_page_was_opened(
    browser: Browser, cluster: Cluster
) -> None:
    """Searches that were answered while nobody watched are in the history."""
    with cluster.client() as client:
        for _ in range(40):
            client.search(COLLECTION, "lamp")
    time.sleep(1.1)  # the second in which they were answered has to end
    browser.open(cluster.url, "cluster")
    browser.until_text("searches/s", ".figures")
    for plot in ("rate", "times", "coverage"):
        path = browser.one(f".plot[aria-labelledby='plot-{plot}'] svg path.good")
        assert len(path.get_attribute("d") or "") > 20, plot


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
