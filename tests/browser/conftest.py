"""One browser and one cluster for the ring; without a browser it skips loudly, and fails in CI."""

import json
from collections.abc import Iterator

import pytest

from tests.browser.browser import Browser, programs, running_browser
from tests.browser.cluster import (
    EMBEDDING,
    Cluster,
    fill,
    fill_meanings,
    running_cluster,
    write_embedding,
)
from tests.support.needs import missing


@pytest.fixture(scope="session")
def browser_of_ring() -> Iterator[Browser]:
    """The browser; it starts in a second."""
    if programs() is None:
        missing("Chromium and its driver (apt install chromium chromium-driver)")
    with running_browser() as found:
        yield found


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with some documents. A test that hurts it waits until it is whole again."""
    if programs() is None:
        missing("Chromium and its driver (apt install chromium chromium-driver)")
    folder = tmp_path_factory.mktemp("page")
    write_embedding(folder)
    environment = {"HEDGEROW_EMBED__FUNCTIONS": json.dumps([EMBEDDING])}
    arguments = ("--shards", "4", "--workers", "2")
    with running_cluster(folder, *arguments, environment=environment) as found:
        fill(found)
        fill_meanings(found)
        yield found


@pytest.fixture
def browser(browser_of_ring: Browser) -> Iterator[Browser]:
    """The browser; the page must not have complained when the test ends."""
    yield browser_of_ring
    complaints = browser_of_ring.complaints()
    browser_of_ring.driver.get("about:blank")
    assert complaints == []
