"""Facets, sorting and suggestions in the page."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from hedgerow.gateway.client import Facet, FacetAnswer
from tests.browser.browser import DESK, PHONE, Browser
from tests.browser.cluster import COLLECTION, Cluster

SHOWN = f"search?collection={COLLECTION}&q=lamp"


def choice(browser: Browser, field: str, label: str) -> tuple[str, str]:
    """Press a choice of a facet; its label and its count."""
    found = browser.until(
        lambda: next(
            (
                one
                for one in browser.all(f"section[aria-labelledby='facet-{field}'] button")
                if one.text.startswith(f"{label}\n")
            ),
            None,
        ),
        what=f"{label} of {field}",
    )
    name, number = found.text.split("\n")
    found.click()
    return name, number


def counts(browser: Browser, field: str) -> dict[str, str]:
    """What is shown of a facet: label to count."""
    rows = browser.all(f"section[aria-labelledby='facet-{field}'] button")
    return dict(one.text.split("\n") for one in rows)


def facet_of(cluster: Cluster, field: str, size: int | None = None) -> FacetAnswer:
    """The same facet, as the client gets it."""
    with cluster.client() as client:
        answer = client.search(COLLECTION, "lamp", facets={field: Facet(size)}, deadline_ms=2000)
    assert isinstance(answer.facets, dict)
    return answer.facets[field]


@contextmanager
def without_shard(cluster: Cluster, shard: int) -> Iterator[None]:
    """Have a shard left out during the block."""
    with cluster.client() as client:
        client.set_breaker(shard, "forced_open")
        try:
            yield
        finally:
            client.set_breaker(shard, "closed")


def test_values_are_counted_as_the_client_gets_them(browser: Browser, cluster: Cluster) -> None:
    """Each value of a keyword field, with the count of all matches."""
    browser.open(cluster.url, SHOWN)
    browser.until_text("material", "#facets")
    buckets = facet_of(cluster, "material", size=8).buckets
    assert buckets
    assert counts(browser, "material") == {str(one.value): str(one.count) for one in buckets}
    assert "may be higher" not in browser.text("#facets")


def test_ranges_of_numbers_and_dates_cover_every_match(browser: Browser, cluster: Cluster) -> None:
    """The ranges have round bounds, and together they count each match once."""
    browser.open(cluster.url, SHOWN)
    browser.until_text("price", "#facets")
    with cluster.client() as client:
        found = client.search(COLLECTION, "lamp", deadline_ms=2000, filter="price:*")
    for field, first in (("price", "under 100"), ("added", "before 2021")):
        shown = counts(browser, field)
        assert next(iter(shown)).endswith(first), shown
        assert sum(int(number) for number in shown.values()) == found.total_hits.value


@pytest.mark.parametrize(
    ("field", "label"),
    [("material", "oak"), ("price", "100 to under 200"), ("added", "2022"), ("in_stock", "true")],
)
def test_a_choice_narrows_the_hits_to_what_was_counted(
    browser: Browser, cluster: Cluster, field: str, label: str
) -> None:
    """A choice finds as many hits as it was counted with; pressed again, it is taken back."""
    browser.open(cluster.url, SHOWN)
    name, number = choice(browser, field, label)
    browser.until_text(f"{number} found", ".hits")
    chips = browser.all(".chosen .chip")
    (chip,) = chips
    assert chip.text.startswith(f"{field} {name} ")
    pressed = browser.all("#facets [aria-pressed='true']")
    assert [one.text.split("\n")[0] for one in pressed] == [name]
    chip.click()
    browser.until(lambda: not browser.all(".chosen"))
    browser.until(lambda: f"{number} found" not in browser.text(".hits"))


def test_other_values_can_still_be_chosen(browser: Browser, cluster: Cluster) -> None:
    """A choice narrows the other facets, not its own; values of a field are alternatives."""
    browser.open(cluster.url, SHOWN)
    browser.until_text("material", "#facets")
    before, prices = counts(browser, "material"), counts(browser, "price")
    choice(browser, "material", "oak")
    browser.until(lambda: counts(browser, "price") != prices)
    assert counts(browser, "material") == before
    choice(browser, "material", "glass")
    browser.until_text("material glass", ".chosen")
    both = int(before["oak"]) + int(before["glass"])
    browser.until_text(f"{both} found", ".hits")
    assert counts(browser, "material") == before
    assert '"refine":{"material":["oak","glass"]}' in browser.text("#snippet")


def test_choices_and_a_typed_filter_hold_together(browser: Browser, cluster: Cluster) -> None:
    """The hits match all of them, whatever operators the filter has."""
    browser.open(cluster.url)
    browser.one("#filter").send_keys("price:<100 OR price:>400")
    browser.until_text("shop (401)", "#collection")
    browser.one("#query").send_keys("lamp", Keys.ENTER)
    choice(browser, "material", "oak")
    browser.until_text("material oak", ".chosen")
    with cluster.client() as client:
        narrowed = client.search(
            COLLECTION,
            "lamp",
            deadline_ms=2000,
            filter='(price:<100 OR price:>400) AND material:"oak"',
        )
    browser.until_text(f"{narrowed.total_hits.value} found", ".hits")


def test_counts_say_what_they_leave_out(browser: Browser, cluster: Cluster) -> None:
    """Without a shard, the panel says of how many documents the counts are, and the bound."""
    with without_shard(cluster, 2):
        browser.open(cluster.url, SHOWN)
        browser.until_text("may be higher", "#facets")
        missing = facet_of(cluster, "material").not_searched
        assert missing
        assert f"each count may be higher by up to {missing}." in browser.text("#facets")


def test_a_profile_without_an_index_is_searched_without_facets(
    browser: Browser, cluster: Cluster
) -> None:
    """The page says why nothing is counted, and shows the hits all the same."""
    browser.open(cluster.url, SHOWN)
    browser.until_text("material", "#facets")
    Select(browser.one("#profile")).select_by_value("noop")
    browser.until_text("reads no index", "#facets .notice")
    browser.until(lambda: browser.all(".hits li"))
    assert all("400" in one for one in browser.complaints())


def test_a_closed_panel_counts_nothing(browser: Browser, cluster: Cluster) -> None:
    """On a phone it is closed, so that the hits come first; the request then names no facets."""
    browser.open(cluster.url, SHOWN, size=PHONE)
    browser.until_text("Coverage")
    assert "facets" not in browser.text("#snippet")
    browser.one("#facets summary").click()
    browser.until_text("material", "#facets")
    assert "facets" in browser.text("#snippet")


def test_hits_are_sorted_by_what_is_chosen(browser: Browser, cluster: Cluster) -> None:
    """By a field, and by score again; a hit shows the value that it was sorted by."""
    browser.open(cluster.url, SHOWN)
    browser.until_text("Coverage")
    Select(browser.one("#sort")).select_by_value("price desc")
    browser.until_text('"sort":[{"price":"desc"}]', "#snippet")
    with cluster.client() as client:
        answer = client.search(COLLECTION, "lamp", sort=[{"price": "desc"}], deadline_ms=2000)
    browser.until(
        lambda: (
            [one.text for one in browser.all(".hit-end code")] == [hit.id for hit in answer.hits]
        )
    )
    shown = [one.text for one in browser.all(".hit-head .num")]
    assert shown == [str(hit.fields["price"]) for hit in answer.hits if hit.fields]


def suggestions(browser: Browser) -> list[str]:
    """The suggestions that are shown."""
    return [one.text for one in browser.all("#suggestions [role=option]") if one.is_displayed()]


def type_until_suggested(browser: Browser, text: str) -> None:
    """Type the beginning of a query; again if a busy machine had no suggestions in time."""
    field = browser.one("#query")
    field.send_keys(text)
    for _ in range(4):
        with suppress(TimeoutException):
            browser.until(lambda: suggestions(browser), 5.0)
            return
        field.send_keys(Keys.BACKSPACE, text[-1])
    browser.until(lambda: suggestions(browser), what=f"suggestions for {text}")


def test_a_suggestion_is_chosen_by_keyboard(browser: Browser, cluster: Cluster) -> None:
    """Arrow keys mark one and wrap around, Enter searches for it, Escape closes the list."""
    with cluster.client() as client:
        offered = client.suggest(COLLECTION, "brass la", field="title", size=8, deadline_ms=5000)
    browser.open(cluster.url)
    browser.until_text("shop (401)", "#collection")
    type_until_suggested(browser, "brass la")
    field = browser.one("#query")
    texts = [one.text for one in offered.suggestions]
    assert suggestions(browser) == texts
    assert browser.axe() == []
    field.send_keys(Keys.ESCAPE)
    browser.until(lambda: not suggestions(browser))
    assert field.get_attribute("value") == "brass la"
    field.send_keys("m")
    browser.until(lambda: suggestions(browser))
    field.send_keys(Keys.ARROW_UP, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    marked = browser.one("#suggestions [aria-selected=true]")
    assert field.get_attribute("aria-activedescendant") == marked.get_attribute("id")
    assert marked.text == texts[0]
    field.send_keys(Keys.ENTER)
    browser.until_text("Coverage")
    assert field.get_attribute("value") == texts[0]
    assert browser.one(".hits h3").text == texts[0]
    assert suggestions(browser) == []


def test_a_suggestion_is_chosen_by_pointer(browser: Browser, cluster: Cluster) -> None:
    """A click searches for it."""
    browser.open(cluster.url)
    browser.until_text("shop (401)", "#collection")
    type_until_suggested(browser, "wool ru")
    wanted = suggestions(browser)[0]
    browser.all("#suggestions [role=option]")[0].click()
    browser.until_text("Coverage")
    assert browser.one("#query").get_attribute("value") == wanted


def test_partial_suggestions_say_so(browser: Browser, cluster: Cluster) -> None:
    """Without a shard, the list says of which share of the documents it is."""
    with cluster.client() as client:  # a shard without a match would be skipped
        (best,) = client.search(COLLECTION, "title:brass", k=1, deadline_ms=2000).hits
    with without_shard(cluster, best.shard):
        browser.open(cluster.url)
        browser.until_text("shop (401)", "#collection")
        type_until_suggested(browser, "bras")
        browser.until_text("of the documents", ".suggestions")


def test_a_query_with_syntax_gets_no_suggestions(browser: Browser, cluster: Cluster) -> None:
    """It is no beginning of a title, so that the gateway is not asked."""
    browser.open(cluster.url)
    browser.until_text("shop (401)", "#collection")
    browser.one("#query").send_keys("title:brass")
    browser.one("#query").send_keys(Keys.ENTER)
    browser.until_text("Coverage")
    asked = "return performance.getEntriesByType('resource').map((one) => one.name)"
    after = [one for one in browser.run(asked) if "/suggest" in one]
    assert all("title%3A" not in one for one in after)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, (1280, 800), PHONE], ids=["desk", "1280", "phone"])
def test_axe_finds_nothing_serious_with_a_choice_and_suggestions(
    browser: Browser, cluster: Cluster, size: tuple[int, int], is_dark: bool
) -> None:
    """With the panel open, a choice made and the list shown; and no line is too wide."""
    browser.open(cluster.url, SHOWN, size=size, is_dark=is_dark)
    browser.until_text("Coverage")
    if size == PHONE:
        browser.one("#facets summary").click()
    choice(browser, "material", "oak")
    browser.until_text("material oak", ".chosen")
    browser.one("#query").send_keys(Keys.END, " oak")
    browser.until(lambda: browser.all("#suggestions [role=option]"))
    browser.one("#query").send_keys(Keys.ARROW_DOWN)
    assert browser.axe() == []
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]


RANGES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("integer", {"min": 10, "max": 499}, ["under 100", "100 to under 200", "400 or more"]),
    ("integer", {"min": 7, "max": 9}, ["under 8", "8 to under 9", "9 or more"]),
    ("float", {"min": 0.05, "max": 0.62}, ["under 0.1", "0.1 to under 0.2", "0.6 or more"]),
    ("float", {"min": -3e6, "max": 2.5e6}, ["under -2,000,000", "2,000,000 or more"]),
    ("integer", {"min": 1.7e12 + 1, "max": 1.7e12 + 8}, ["under 1,700,000,000,002"]),
    ("integer", {"min": 5, "max": 5}, []),
    ("integer", {"min": -(2**60), "max": 2**60}, []),
    (
        "date",
        {"min": "2019-12-31T00:00:00Z", "max": "2024-01-01T00:00:00Z"},
        ["before 2020", "2020"],
    ),
    (
        "date",
        {"min": "1850-03-01T00:00:00Z", "max": "2020-01-01T00:00:00Z"},
        ["1900 to before 1950"],
    ),
    (
        "date",
        {"min": "2023-11-05T00:00:00Z", "max": "2024-02-29T00:00:00Z"},
        ["2023-12", "2024-01"],
    ),
    ("date", {"min": "2024-01-30T12:00:00Z", "max": "2024-02-02T00:00:00Z"}, ["2024-01-31"]),
    ("date", {"min": "2024-01-30T01:00:00Z", "max": "2024-01-30T23:00:00Z"}, []),
]


def test_ranges_have_round_bounds_between_the_extremes(browser: Browser, cluster: Cluster) -> None:
    """Two to seven of them without a gap, none of which lies beyond all values; or none at all."""
    browser.open(cluster.url)
    made = browser.driver.execute_async_script(
        "const done = arguments[1]; import('./page/ranges.js').then((m) => done(arguments[0].map("
        "([type, stats]) => m.rangesOf(type, {count: 9, ...stats}).map("
        "(range) => [range, m.rangeName(type, range)]))))",
        RANGES,
    )
    for (_, stats, wanted), ranges in zip(RANGES, made, strict=True):
        names = [name for _, name in ranges]
        assert names == [] if not wanted else set(wanted) <= set(names), (stats, names)
        bounds = [one.get("to") for one, _ in ranges][:-1]
        assert bounds == [one.get("from") for one, _ in ranges][1:]
        assert bounds == sorted(bounds)
        assert len(ranges) in {0, *range(2, 9)}
        assert all(stats["min"] < bound <= stats["max"] for bound in bounds)
