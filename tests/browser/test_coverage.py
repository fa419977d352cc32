"""What coverage each deadline buys, in the page."""

import math

from tests.browser.browser import Browser
from tests.browser.cluster import COLLECTION, Cluster


def test_the_sentence_is_that_of_the_gateway_s_curve(browser: Browser, cluster: Cluster) -> None:
    """The curve, the deadline and what more time would give are those of the interface."""
    with cluster.client() as client:
        for _ in range(20):
            client.search(COLLECTION, "lamp", deadline_ms=1000)
        browser.open(cluster.url, f"coverage?collection={COLLECTION}")
        browser.until_text("of the documents by")
        curve = client.coverage_curve(COLLECTION)
    assert "by 300 ms" in browser.text(".sentence")
    if curve.gain is None:
        assert "would give nothing" in browser.text("#sentence")
    else:
        assert f"{math.ceil(curve.gain.extra_ms)} ms more" in browser.text("#sentence")
    assert len(browser.all("svg.curve path.deadline")) == 1


def test_a_deadline_that_is_too_short_is_told_what_more_would_give(
    browser: Browser, cluster: Cluster
) -> None:
    """Just below where the curve ends, a few milliseconds more give the rest."""
    with cluster.client() as client:
        for _ in range(20):
            client.search(COLLECTION, "lamp", deadline_ms=1000)
        last = client.coverage_curve(COLLECTION).points[-1].deadline_ms
        browser.open(cluster.url, f"coverage?collection={COLLECTION}")
        field = browser.one("#deadline")
        browser.until_text("of the documents by")
        deadline = last / 1.2
        browser.run(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
            field,
            deadline,
        )
        browser.until_text("ms more would give", "#sentence")
        gain = client.coverage_curve(COLLECTION, deadline_ms=deadline).gain
    assert gain is not None
    assert browser.text("#sentence").startswith(f"{math.ceil(gain.extra_ms)} ms more would give")
    assert len(browser.all("svg.curve path.gain")) == 1
