"""Takes pictures of the page with a cluster at work, for README.md and docs/page.md.

`make screenshots` writes docs/page-*.png; `--seconds` says for how long the cluster works before,
`--placement` takes the picture of moving shards alone.
"""

import argparse
import contextlib
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hedgerow.common.errors import HedgerowError
from tests.browser.browser import PHONE, Browser, running_browser
from tests.browser.cluster import COLLECTION, Cluster, documents, running_cluster

DOCS: Final = Path(__file__).parents[2] / "docs"
_NUM_DOCUMENTS: Final = 4_000
_QUESTIONS: Final = ("oak desk", "brass lamp", "mirror hall", "wool rug", "glass vase garden")
_FIELDS: Final = {
    "title": "text",
    "text": "text",
    "material": "keyword",
    "price": "integer",
    "in_stock": "boolean",
    "added": "date",
}
# A function that takes as long as a small model does, now and then much longer.
_RANKING: Final = """\
import random
import time

def score(query, documents):
    time.sleep(random.lognormvariate(-4.6, 0.7))
    return [one["_score"] for one in documents]
"""
_SETTINGS: Final = """\
[rank_profiles.model]
second_phase = "model_ranking:score"
candidates = 50
fields = ["title"]
"""


@contextlib.contextmanager
def at_work(cluster: Cluster) -> Iterator[None]:
    """Search during the block, as some callers do."""
    stopped = threading.Event()

    def search() -> None:
        rng = random.Random()
        with cluster.client() as client:
            while not stopped.wait(rng.expovariate(12.0)):
                with contextlib.suppress(HedgerowError):
                    client.search(
                        COLLECTION,
                        rng.choice(_QUESTIONS),
                        rank_profile=rng.choice(("model", "bm25")),
                        deadline_ms=rng.choice((40, 60, 100, 300)),
                    )

    callers = [threading.Thread(target=search) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        stopped.set()
        for caller in callers:
            caller.join()


def take(browser: Browser, cluster: Cluster, seconds: float) -> None:
    """Take all pictures."""
    with at_work(cluster):
        time.sleep(seconds * 0.7)
        cluster.kill("worker-2")
        time.sleep(seconds * 0.3)
        coverage = f"coverage?collection={COLLECTION}"
        browser.open(cluster.url, coverage)
        browser.until_text("of the documents by")
        browser.run(
            "const field = document.getElementById('deadline'); field.value = arguments[0];"
            "field.dispatchEvent(new Event('change'))",
            45,
        )
        browser.until_text("by 45")
        browser.screenshot(DOCS / "page-coverage.png")
        search = f"search?collection={COLLECTION}&q=oak+desk+for+the+hall"
        browser.open(cluster.url, search, size=PHONE)
        browser.until_text("Coverage")
        browser.screenshot(DOCS / "page-phone.png", is_whole=False)
        cluster.kill("worker-1")
        browser.open(cluster.url, search)
        browser.until_text("Coverage")
        browser.screenshot(DOCS / "page-search.png", is_whole=False)
        browser.open(cluster.url, "cluster")
        browser.until_text("worker-1")
        cluster.kill_for_seconds("worker-3")
        browser.one("#grid tr.lost")
        time.sleep(0.5)  # the next searches miss it
        for name, is_dark in (("cluster", False), ("dark", True)):
            browser.prefer(is_dark=is_dark)
            browser.screenshot(DOCS / f"page-{name}.png")


def take_placement(browser: Browser) -> None:
    """Take the picture of a worker that is drained."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        environment = {
            "HEDGEROW_SNAPSHOTS__URL": str(folder / "snapshots"),
            "HEDGEROW_WORKER__SCORERS": "1",
            "HEDGEROW_PLACEMENT__MAX_RESTORE_BYTES_PER_S": "50000",  # slow enough for a picture
        }
        arguments = ("--shards", "8", "--workers", "4", "--replicas", "2")
        with (
            running_cluster(folder, *arguments, environment=environment) as cluster,
            cluster.client() as client,
        ):
            client.put_collection(COLLECTION, fields=_FIELDS)
            client.index(COLLECTION, documents(400), wait="applied")
            client.create_snapshots()
            while not all(one.id for one in client.status().snapshots):
                time.sleep(0.2)
            client.drain_worker("worker-2")
            browser.open(cluster.url, "cluster")
            browser.until_text("restores", "#moves", 60.0)
            card = browser.one("section[aria-labelledby='placement-title']")
            browser.run("arguments[0].scrollIntoView({block: 'center'})", card)
            card.screenshot(str(DOCS / "page-placement.png"))


def main() -> None:
    """Start a cluster, let it work, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--placement", action="store_true")
    given = parser.parse_args()
    with running_browser() as browser:
        take_placement(browser)
    if not given.placement:
        take_all(given.seconds)


def take_all(seconds: float) -> None:
    """Take the pictures of a cluster at work."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "model_ranking.py").write_text(_RANKING, encoding="utf-8")
        (folder / "hedgerow.toml").write_text(_SETTINGS, encoding="utf-8")
        environment = {"HEDGEROW_CONFIG": str(folder / "hedgerow.toml")}
        arguments = ("--shards", "8", "--workers", "4")
        with running_cluster(folder, *arguments, environment=environment) as cluster:
            with cluster.client() as client:
                client.put_collection(COLLECTION, fields=_FIELDS)
                client.index(COLLECTION, documents(_NUM_DOCUMENTS), wait="applied")
            with running_browser() as browser:
                take(browser, cluster, seconds)


if __name__ == "__main__":
    main()
