"""What matched, what was meant, and what it means: highlights, corrections, and hybrid searches."""

from contextlib import suppress

import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.browser.browser import DESK, PHONE, Browser
from tests.browser.cluster import COLLECTION, MEANINGS, Cluster


def shown(query: str, collection: str = COLLECTION) -> str:
    """The page's address of a search."""
    return f"search?collection={collection}&q={query}"


def marks(browser: Browser, selector: str) -> list[str]:
    """The words that are marked there."""
    return [one.text for one in browser.all(f"{selector} mark")]


def until_asked(browser: Browser, words: str) -> None:
    """Wait until something is shown; search again if a busy machine had no time for it."""
    for _ in range(4):
        with suppress(TimeoutException):
            browser.until_text(words, timeout_s=5.0)
            return
        browser.one("#query").send_keys(Keys.ENTER)
    browser.until_text(words)


def test_what_matched_is_marked(browser: Browser, cluster: Cluster) -> None:
    """In titles and texts, word by word, as the gateway's highlights have it."""
    browser.open(cluster.url, shown("brass+lamps"))
    browser.until_text("Coverage")
    assert marks(browser, ".hits li:first-child h3") == ["Brass", "lamp"]
    assert marks(browser, ".hits li:first-child .hit-text") == ["lamp", "brass", "lamp"]
    with cluster.client() as client:
        (best,) = client.search(COLLECTION, "brass lamps", k=1, deadline_ms=2000).hits
    assert best.fields
    assert browser.text(".hits li:first-child h3") == best.fields["title"]
    assert browser.text(".hits li:first-child .hit-text") == best.fields["text"]


def test_marks_are_the_only_markup(browser: Browser, cluster: Cluster) -> None:
    """Documents with tags, also those of marks, stay texts."""
    browser.open(cluster.url, shown("hostile"))
    browser.until_text("window.hurt=")
    assert marks(browser, ".hits") == ["hostile"]
    assert browser.text(".hits h3") == "<img src=x onerror=\"window.hurt='title'\"> hostile lamp"
    assert browser.all(".hits img, .hits script, .hits b, .hits em") == []
    parts = browser.driver.execute_async_script(
        "const done = arguments[0]; import('./page/marks.js').then((m) => "
        "done(m.partsOf('&lt;em&gt;a&lt;/em&gt; <em>&amp;lt;b&#x27;</em>&quot;')))"
    )
    assert parts == [
        {"text": "<em>a</em> ", "isMarked": False},
        {"text": "&lt;b'", "isMarked": True},
        {"text": '"', "isMarked": False},
    ]


def test_what_was_meant_can_be_asked(browser: Browser, cluster: Cluster) -> None:
    """A misspelt word gets a suggestion, and a press asks it."""
    browser.open(cluster.url, shown("waalnut+lamp"))
    until_asked(browser, "Did you mean walnut lamp?")
    browser.one("#meant").click()
    browser.until(lambda: browser.one("#query").get_attribute("value") == "walnut lamp")
    browser.until(lambda: not browser.all("#meant"))
    assert marks(browser, ".hits li:first-child h3") == ["Walnut", "lamp"]


def test_without_vectors_there_is_no_choice_of_the_ranking(
    browser: Browser, cluster: Cluster
) -> None:
    """A collection is ranked by its texts, unless it has vectors that are made of them."""
    browser.open(cluster.url, shown("lamp"))
    browser.until_text("Coverage")
    assert browser.all("#ranking") == []
    Select(browser.one("#collection")).select_by_value(MEANINGS)
    options = Select(browser.one("#ranking")).options
    assert [one.text for one in options] == ["text", "vector", "text and vector"]


def test_hits_are_ranked_by_meaning(browser: Browser, cluster: Cluster) -> None:
    """By the vector alone, everything is found; by both, each hit and each leg says its part."""
    browser.open(cluster.url, shown("hedge", MEANINGS))
    browser.until_text("2 found", ".hits")
    Select(browser.one("#ranking")).select_by_value("vector")
    browser.until_text('"vector":{"field":"v"}', "#snippet")
    until_asked(browser, "8 found")
    assert len(browser.all(".hits li")) == 8
    assert not browser.one("#sort").is_enabled()
    Select(browser.one("#ranking")).select_by_value("hybrid")
    until_asked(browser, "text #1, vector #")
    legs = browser.all(".legs li")
    assert [one.text.split()[0] for one in legs] == ["text", "vector"]
    assert all("coverage 100 %" in one.text for one in legs)
    assert marks(browser, ".hits li:first-child h3") == ["hedge"]


def test_a_leg_that_is_left_out_says_why(browser: Browser, cluster: Cluster) -> None:
    """A text that cannot be embedded leaves the leg by text."""
    browser.open(cluster.url, shown("hedge", MEANINGS))
    browser.until_text("2 found", ".hits")
    Select(browser.one("#ranking")).select_by_value("hybrid")
    browser.one("#query").send_keys(Keys.END, " unreadable", Keys.ENTER)
    until_asked(browser, "left out: the query's text could not be embedded")
    assert browser.all(".hits li")


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, (1280, 800), PHONE], ids=["desk", "1280", "phone"])
def test_axe_finds_nothing_serious_in_legs_marks_and_corrections(
    browser: Browser, cluster: Cluster, size: tuple[int, int], is_dark: bool
) -> None:
    """With everything shown that a search may have; and no line is too wide."""
    browser.open(cluster.url, shown("waalnut+lamp"), size=size, is_dark=is_dark)
    until_asked(browser, "Did you mean walnut lamp?")
    assert browser.axe() == []
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    browser.open(cluster.url, shown("hedge", MEANINGS), size=size, is_dark=is_dark)
    Select(browser.until(lambda: next(iter(browser.all("#ranking")), None))).select_by_value(
        "hybrid"
    )
    until_asked(browser, "candidates in")
    assert browser.axe() == []
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
