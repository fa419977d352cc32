"""The page of a gateway that wants a key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import Browser
from tests.browser.cluster import Cluster, fill, running_cluster

TOKEN = "a-token-for-this-test"


@pytest.fixture(scope="module")
def guarded(
    browser_of_ring: Browser,  # the need of the ring, before a cluster is started
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A cluster whose gateway has a token."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    environment = {"HEDGEROW_GATEWAY__TOKEN": TOKEN}
    arguments = ("--shards", "2", "--workers", "1")
    with running_cluster(folder, *arguments, environment=environment) as found:
        fill(found, 20, TOKEN)
        yield found


def give(browser: Browser, text: str) -> None:
    """Answer the question for a key."""
    browser.one("dialog input").send_keys(text)
    browser.one("dialog button[type=submit]").click()


def test_a_key_is_asked_for_and_kept_in_memory_alone(browser: Browser, guarded: Cluster) -> None:
    """A wrong one is asked for again; the right one opens every view; a reload forgets it."""
    browser.open(guarded.url)
    browser.until_text("answers only with a key", "dialog")
    give(browser, "wrong")
    browser.until_text("Authorization: Bearer", "dialog")
    give(browser, TOKEN)
    browser.until_text("shop (21)", "#collection")
    browser.one("[data-view=cluster]").click()
    browser.until_text("live", "#link")
    kept = browser.run(
        "return [localStorage.length, sessionStorage.length, document.cookie, location.href]"
    )
    assert kept[:3] == [0, 0, ""]
    assert TOKEN not in kept[3]
    assert TOKEN not in browser.driver.page_source
    browser.driver.refresh()
    browser.until_text("answers only with a key", "dialog")
    assert all("401" in one for one in browser.complaints())


def test_without_a_key_nothing_is_shown_but_the_reason(browser: Browser, guarded: Cluster) -> None:
    """The question can be dismissed, and asked again."""
    browser.open(guarded.url, "cluster")
    browser.until_text("answers only with a key", "dialog")
    browser.button("Cancel").click()
    browser.until_text("Bearer", "#link")
    browser.one("#key").click()
    give(browser, TOKEN)
    browser.until_text("live", "#link")
    browser.until_text("1 worker")
    browser.one("#key").click()  # which forgets it
    browser.until_text("answers only with a key", "dialog")
    assert all("401" in one for one in browser.complaints())
