"""Searching in the page."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.browser.browser import Browser
from tests.browser.cluster import COLLECTION, Cluster


def search(browser: Browser, query: str) -> None:
    """Type a query and press Enter."""
    field = browser.one("#query")
    browser.until(lambda: browser.one("#collection").get_attribute("value") == COLLECTION)
    field.clear()
    field.send_keys(query, Keys.ENTER)


def test_a_search_shows_hits_coverage_and_every_shard_s_time(
    browser: Browser, cluster: Cluster
) -> None:
    """What is shown is what the client gets for the same question."""
    browser.open(cluster.url)
    search(browser, "brass lamp")
    browser.until_text("Coverage 100 %")
    with cluster.client() as client:
        answer = client.search(COLLECTION, "brass lamp", deadline_ms=5000)
    assert [one.text for one in browser.all(".hit-end code")] == [hit.id for hit in answer.hits]
    assert browser.one(".hits h3").text == answer.hits[0].fields["title"]  # type: ignore[index]
    assert "401 documents, 4 of 4 shards" in browser.text(".coverage-card")
    rows = browser.all(".timeline tbody tr")
    assert [row.text.split()[:2] for row in rows] == [[str(shard), "ok"] for shard in range(4)]
    # Each bar has the work of its shard, and ends within the scale.
    for bar in browser.all(".timeline svg.bar"):
        assert "work" in (bar.get_attribute("aria-label") or "")
        widths = browser.run(
            "return [...arguments[0].querySelectorAll('rect')].map("
            "(one) => one.x.baseVal.value + one.width.baseVal.value)",
            bar,
        )
        assert 0 < max(widths) <= 1001.5


def test_profile_filter_and_hits_are_asked_for(browser: Browser, cluster: Cluster) -> None:
    """Each control is a member of the request, and the gateway's answer follows it."""
    browser.open(cluster.url)
    browser.until_text("shop (401)", "#collection")
    Select(browser.one("#profile")).select_by_value("bm25")
    browser.one("#filter").send_keys("price:<50")
    hits = browser.one("#k")
    hits.clear()
    hits.send_keys("3")
    search(browser, "lamp")
    browser.until(lambda: len(browser.all(".hits li")) == 3)
    body = json.loads(browser.text("#snippet").partition("-d '")[2].rstrip("'"))
    assert body.pop("facets").keys() == {"material", "in_stock", "price", "added"}
    assert body == {
        "query": "lamp",
        "k": 3,
        "deadline_ms": 300,
        "rank_profile": "bm25",
        "filter": "price:<50",
        "explain": True,
        "did_you_mean": True,
        "highlight": {"snippets": 3, "snippet_chars": 200},
    }
    prices = [one.text for one in browser.all(".hits .pair") if one.text.startswith("price")]
    assert prices
    assert all(int(one.split()[1]) < 50 for one in prices)


def test_the_sliders_set_deadline_and_minimum_coverage(browser: Browser, cluster: Cluster) -> None:
    """They can be moved by the arrow keys too; a search is repeated with what was chosen."""
    browser.open(cluster.url, f"search?collection={COLLECTION}&q=desk")
    browser.until_text("Coverage 100 %")
    browser.one("#deadline").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    browser.until_text("750 ms", "form")
    browser.until_text('"deadline_ms":750', "#snippet")
    browser.one("#minimum").send_keys(Keys.END)
    browser.until_text('"minimum_coverage":1', "#snippet")
    browser.until_text("of 750 ms", ".coverage-card")


def test_a_partial_answer_says_why(browser: Browser, cluster: Cluster) -> None:
    """With a breaker open by hand: the missing share, the outcome, the shard and the reason."""
    with cluster.client() as client:
        client.set_breaker(2, "forced_open")
        try:
            browser.open(cluster.url, f"search?collection={COLLECTION}&q=desk")
            browser.until_text("breaker open 1", ".reasons")
            expected = client.search(COLLECTION, "desk", deadline_ms=5000)
            assert f"Coverage {expected.coverage.fraction * 100:.1f} %" in browser.text()
            assert "shard 2" in browser.text(".reasons")
            assert "not asked" in browser.text(".timeline")
        finally:
            client.set_breaker(2, "closed")


def test_below_the_minimum_coverage_the_hits_are_shown_with_the_reason(
    browser: Browser, cluster: Cluster
) -> None:
    """The problem is shown, and what was found all the same."""
    with cluster.client() as client:
        client.set_breaker(1, "forced_open")
        try:
            browser.open(cluster.url)
            browser.one("#minimum").send_keys(Keys.END)
            search(browser, "desk")
            browser.until_text("at least 1 is demanded", "[role=alert]")
            assert len(browser.all(".hits li")) == 10
        finally:
            client.set_breaker(1, "closed")
    complaints = browser.complaints()
    assert len(complaints) == 1  # of the browser, about the status
    assert "504" in complaints[0]


def test_the_collection_that_a_link_names_is_the_one_that_is_chosen(
    browser: Browser, cluster: Cluster
) -> None:
    """Also if another comes first in the list, which arrives later than the form is drawn."""
    with cluster.client() as client:
        client.put_collection("earlier", fields={"title": "text"})
        try:
            for view in ("search", "coverage"):
                browser.open(cluster.url, f"{view}?collection={COLLECTION}&q=desk")
                browser.until_text("earlier (0)", "#collection")
                assert browser.one("#collection").get_attribute("value") == COLLECTION
        finally:
            client.delete_collection("earlier")


def test_a_warning_is_shown_as_the_gateway_says_it(browser: Browser, cluster: Cluster) -> None:
    """Not each of them is about a repaired query."""
    query = "titel:lamp"
    browser.open(cluster.url, f"search?collection={COLLECTION}&q={query}")
    browser.until_text("Coverage")
    with cluster.client() as client:
        (warning,) = client.search(COLLECTION, query, deadline_ms=5000).warnings
    assert browser.text(".notice.warn") == f"Warning: {warning}"


def test_without_any_shard_it_is_unknown_whether_there_are_hits(
    browser: Browser, cluster: Cluster
) -> None:
    """Nothing was searched, so "no hits" would be a guess."""
    with cluster.client() as client:
        for shard in range(4):
            client.set_breaker(shard, "forced_open")
        try:
            browser.open(cluster.url, f"search?collection={COLLECTION}&q=desk")
            browser.until_text("No shard has answered", ".hits")
            assert "found" not in browser.text(".hits")
        finally:
            for shard in range(4):
                client.set_breaker(shard, "closed")
    assert all("50" in one for one in browser.complaints())


def test_a_bad_query_names_the_field_and_the_place(browser: Browser, cluster: Cluster) -> None:
    """The page shows the field and the position that the gateway's problem names."""
    browser.open(cluster.url)
    browser.one("#filter").send_keys("price:[1 TO")
    search(browser, "desk")
    browser.until_text("filter", "[role=alert]")
    assert all("400" in one for one in browser.complaints())


def test_documents_are_text_whatever_is_in_them(browser: Browser, cluster: Cluster) -> None:
    """A document with markup is shown as it is, and nothing in it becomes an element or runs."""
    browser.open(cluster.url)
    search(browser, "hostile")
    browser.until_text('<img src=x onerror="window.hurt=')
    shown = browser.text(".hits")
    assert "</li></ol><script>window.hurt='text'</script> & <b>bold</b> lamp" in shown
    assert "hostile<i>" in shown
    assert "<b>name</b> javascript:alert(1)" in shown
    assert browser.all(".hits img, .hits script, .hits b, .hits a") == []
    assert browser.run("return window.hurt") is None


def test_a_query_with_markup_is_text_too(browser: Browser, cluster: Cluster) -> None:
    """It is text in the page, in its address and in the snippets."""
    query = '<img src=x onerror="window.hurt=\'query\'"> it\'s "lamp" & more'
    browser.open(cluster.url)
    search(browser, query)
    browser.until_text("Coverage")
    assert browser.all("main img") == []
    browser.driver.refresh()
    browser.until_text("Coverage")
    assert browser.one("#query").get_attribute("value") == query
    assert browser.run("return window.hurt") is None


def test_the_snippets_ask_the_same(browser: Browser, cluster: Cluster, tmp_path: Path) -> None:
    """Run as they are, curl, Python and the command line find what the page shows."""
    browser.open(cluster.url)
    browser.one("#filter").send_keys("price:<300")
    search(browser, 'it\'s a "lamp" \\')
    browser.until_text("Coverage")
    ids = [one.text for one in browser.all(".hit-end code")]
    assert ids
    curl = shlex.split(browser.text("#snippet").replace("\\\n", ""))
    answer = json.loads(subprocess.run([*curl, "-sS"], check=True, capture_output=True).stdout)
    assert [hit["id"] for hit in answer["hits"]] == ids
    browser.button("Python").click()
    browser.until_text("from hedgerow import Client", "#snippet")
    script = tmp_path / "ask.py"
    script.write_text(browser.text("#snippet"), encoding="utf-8")
    printed = subprocess.run(
        [sys.executable, str(script)], check=True, capture_output=True, text=True
    ).stdout
    assert printed.split(maxsplit=1)[1].strip() == str(ids)
    browser.button("CLI").click()
    browser.until_text("gateway query", "#snippet")
    command = shlex.split(browser.text("#snippet").replace("\\\n", ""))
    assert command[0] == "gateway"
    found = subprocess.run(
        [sys.executable, "-m", "hedgerow.gateway.cli.main", *command[1:], "--json"],
        check=True,
        capture_output=True,
    ).stdout
    assert [hit["id"] for hit in json.loads(found)["hits"]] == ids
