"""The description of the HTTP interface at `/docs`, in a browser."""

from urllib.parse import urlsplit

from tests.browser.browser import Browser
from tests.browser.cluster import Cluster
from tests.support.openapi import OPENAPI

_LOADED = "return performance.getEntriesByType('resource').map((one) => one.name)"
_SHOWN = "return document.querySelector('openapi-explorer')?.shadowRoot?.textContent ?? ''"


def test_it_shows_every_route_and_asks_no_other_host(browser: Browser, cluster: Cluster) -> None:
    """All that the page loads is the gateway's, so it needs no network."""
    browser.url = cluster.url
    browser.complaints()  # forgets what was logged before
    browser.driver.get(f"{cluster.url}/docs")
    summaries = [
        operation["summary"]
        for path in OPENAPI["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    browser.until(lambda: all(summary in browser.run(_SHOWN) for summary in summaries))
    loaded = browser.run(_LOADED)
    assert any(url.endswith("/openapi.json") for url in loaded)
    hosts = {urlsplit(url).netloc for url in loaded if not url.startswith("data:")}
    assert hosts == {urlsplit(cluster.url).netloc}
