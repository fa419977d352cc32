"""The page for everyone: with any colours, on a phone, by keyboard, with a screen reader."""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.browser import DESK, PHONE, Browser
from tests.browser.cluster import COLLECTION, Cluster

VIEWS = {
    f"search?collection={COLLECTION}&q=brass+lamp": "Coverage 100 %",
    "cluster": "worker-1",
    f"coverage?collection={COLLECTION}": "of the documents by",
}


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("view", VIEWS, ids=["search", "cluster", "coverage"])
def test_axe_finds_nothing_serious_and_nothing_overflows(
    browser: Browser, cluster: Cluster, view: str, size: tuple[int, int], is_dark: bool
) -> None:
    """Contrast, names, roles and order are right, and no line is wider than the page."""
    with cluster.client() as client:
        client.search(COLLECTION, "lamp", deadline_ms=5000)
    browser.open(cluster.url, view, size=size, is_dark=is_dark)
    browser.until_text(VIEWS[view])
    assert browser.axe() == []
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background.strip("rgb()").split(","))
    assert (brightness < 3 * 64) == is_dark


def test_a_dialog_has_nothing_serious_either(browser: Browser, cluster: Cluster) -> None:
    """The question about a breaker, in both colours."""
    for is_dark in (False, True):
        browser.open(cluster.url, "cluster", is_dark=is_dark)
        browser.one("#grid tbody button").click()
        browser.until_text("Breaker of shard", "dialog")
        assert browser.axe() == []


def test_the_colours_can_be_chosen(browser: Browser, cluster: Cluster) -> None:
    """The button turns them over, and back."""
    browser.open(cluster.url)
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(colour)
    browser.one("#theme").click()
    assert browser.run(colour) != light
    browser.one("#theme").click()
    assert browser.run(colour) == light


def press(browser: Browser, *keys: str) -> None:
    """Press keys where the focus is."""
    for key in keys:
        browser.focused().send_keys(key)


def tab_to(browser: Browser, selector: str) -> None:
    """Press Tab until an element has the focus."""
    wanted = browser.one(selector)
    for _ in range(60):
        if browser.focused() == wanted:
            return
        press(browser, Keys.TAB)
    raise AssertionError(f"Tab does not lead to {selector}")


def test_everything_is_reached_by_keyboard_alone(browser: Browser, cluster: Cluster) -> None:
    """A search, the way to the cluster, and a breaker set by hand and reset."""
    browser.open(cluster.url)
    browser.until_text("shop (401)", "#collection")
    tab_to(browser, "#query")
    press(browser, "brass lamp", Keys.ENTER)
    browser.until_text("Coverage 100 %")
    browser.run("document.activeElement.blur(); scrollTo(0, 0)")
    tab_to(browser, "[data-view=cluster]")
    press(browser, Keys.ENTER)
    browser.until_text("worker-1")
    with cluster.client() as client:
        try:
            tab_to(browser, "#grid tr[data-shard='0'] button")
            press(browser, Keys.ENTER)
            browser.until_text("Breaker of shard 0", "dialog")
            while browser.focused().text != "Force open":
                press(browser, Keys.TAB)
            press(browser, Keys.ENTER)
            browser.until_text("forced open", "#grid tr[data-shard='0']")
            # The focus is where it was, so that the next thing can be done.
            assert "shard 0" in (browser.focused().get_attribute("aria-label") or "")
            press(browser, Keys.ENTER)
            browser.until_text("Breaker of shard 0", "dialog")
            press(browser, Keys.ESCAPE)
            browser.until(lambda: not browser.all("dialog"))
            assert client.status().shards[0].breaker == "forced_open"
        finally:
            client.set_breaker(0, "closed")


def test_the_focus_can_be_seen(browser: Browser, cluster: Cluster) -> None:
    """Whatever the keyboard reaches has an outline."""
    browser.open(cluster.url)
    browser.until_text("shop (401)", "#collection")
    for _ in range(12):
        press(browser, Keys.TAB)
        style = browser.run(
            "const style = getComputedStyle(document.activeElement);"
            "return [style.outlineStyle, parseFloat(style.outlineWidth)]"
        )
        assert style[0] != "none"
        assert style[1] >= 1
