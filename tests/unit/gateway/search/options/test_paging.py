"""Cursors: pages one after another have each match once, or say that they may not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError
from hedgerow.common.wire.search_options import SearchOptions, SortKey
from hedgerow.gateway.search.options.cursor import Cursor, CursorSigner
from hedgerow.gateway.search.options.paging import CHANGED, PARTIAL
from hedgerow.gateway.search.result import SearchResult
from hedgerow.gateway.search.validation import check_level
from hedgerow.gateway.shapes.facets import Facet
from hedgerow.gateway.shapes.sorting import NextPage, SortBy
from tests.unit.gateway.search.options.corpus import goods, shards
from tests.unit.support.real_shards import RealShards

QUERIES = ("*", "red", "red blue", "red^3 blue new:true", "new:true", "year:[2000 TO 2010] OR red")


def next_of(result: SearchResult) -> NextPage:
    """Where the next page begins."""
    assert isinstance(result.next_page, NextPage)
    return result.next_page


def pages(
    found: RealShards,
    query: str,
    k: int,
    between: Callable[[int], None] = lambda _page: None,
    **members: Any,
) -> tuple[list[tuple[str, float]], NextPage]:
    """The hits of all pages, and what the last page says of them; `between` runs before each."""
    hits: list[tuple[str, float]] = []
    cursor: str | None = ""
    number = 0
    while cursor is not None:
        between(number)
        result = found.search(query, k=k, search_after=cursor, **members)
        hits += [(hit.id, hit.score) for hit in result.hits]
        last = next_of(result)
        cursor, number = last.cursor, number + 1
    return hits, last


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(("k", "only"), [(1, "year:0"), (19, ""), (50, ""), (400, "")])
def test_pages_by_score_have_each_match_once(
    goods_shards: RealShards, query: str, k: int, only: str
) -> None:
    """The pages are the list of all matches, cut, however many of them tie."""
    whole = goods_shards.search(query, k=1000, filter=only)
    assert len(whole.hits) > 3
    found, last = pages(goods_shards, query, k, filter=only)
    assert found == [(hit.id, hit.score) for hit in whole.hits]
    assert last == NextPage(None, is_whole=True, reasons=[])


@pytest.mark.parametrize("k", [3, 40])
def test_the_score_may_be_the_last_key(goods_shards: RealShards, k: int) -> None:
    """Of equal years, the best match comes first; pages begin within them."""
    sort = ({"year": SortBy("desc", "first")}, "_score")
    whole = goods_shards.search("red blue", sort=sort, k=1000)
    assert whole.hits
    scores = {hit.id: hit.score for hit in goods_shards.search("red blue", k=1000).hits}
    assert [(hit.sort, hit.score) for hit in whole.hits] == [
        ((goods_shards.documents[hit.id].get("year"), scores[hit.id]), scores[hit.id])
        for hit in whole.hits
    ]
    years = [goods_shards.documents[hit.id].get("year") for hit in whole.hits]
    keys = [
        (year is not None, -(year or 0), -hit.score, hit.id)
        for year, hit in zip(years, whole.hits, strict=True)
    ]
    assert keys == sorted(keys)
    found, last = pages(goods_shards, "red blue", k, sort=sort)
    assert found == [(hit.id, hit.score) for hit in whole.hits]
    assert last.is_whole


def test_documents_that_come_and_go_move_no_other(tmp_path: Path) -> None:
    """In the order by a field, what was there all the time is on exactly one page."""
    found = shards(tmp_path, 4, count=200)
    stay = {one for number, one in enumerate(found.documents) if number % 3}
    go = [one for one in found.documents if one not in stay]

    def change(page: int) -> None:
        new = [{**row, "id": f"new{page}-{row['id']}"} for row in goods(18, seed=page)]
        found.put(new, deletes=go[page * 10 : page * 10 + 10])

    hits, last = pages(found, "*", 26, change, sort=({"price": "desc"},))
    ids = [one for one, _ in hits]
    assert len(ids) == len(set(ids))
    assert stay <= set(ids)
    assert last.is_whole


def test_changed_scores_are_reported(tmp_path: Path) -> None:
    """In the order by score, a page after writes says that it cannot promise the same."""
    found = shards(tmp_path, 2, count=100)

    def change(page: int) -> None:
        if page == 1:
            found.put([{"id": "more", "title": "red red"}])

    _, last = pages(found, "red", 10, change)
    assert not last.is_whole
    assert last.reasons == [CHANGED]


def test_a_missing_shard_is_remembered(goods_shards: RealShards) -> None:
    """Once a page has gone on without a shard, no later page claims that nothing is left out."""
    if goods_shards.num_shards == 1:
        return

    def fail(page: int) -> None:
        goods_shards.down = {2} if page == 1 else set()

    try:
        hits, last = pages(goods_shards, "*", 40, fail, sort=("year",))
    finally:
        goods_shards.down = set()
    assert last == NextPage(None, is_whole=False, reasons=[PARTIAL])
    ids = [one for one, _ in hits]
    assert len(ids) == len(set(ids))
    assert len(ids) < len(goods_shards.documents)


def test_a_cursor_is_for_one_search(goods_shards: RealShards) -> None:
    """With another query, filter or order it is refused; with another k or facet it is not."""
    cursor = next_of(goods_shards.search("*", search_after="", sort=("year",))).cursor
    assert cursor
    for members in ({"sort": ("price",)}, {"filter": "new:true"}, {"sort": ()}):
        asked: Any = {"sort": ("year",), **members}
        with pytest.raises(BadRequestError, match="another search: only k, fields"):
            goods_shards.search("*", search_after=cursor, **asked)
    with pytest.raises(BadRequestError, match="another search: only k, fields"):
        goods_shards.search("red", search_after=cursor, sort=("year",))
    goods_shards.search("*", search_after=cursor, sort=("year",), k=99, facets={"brand": Facet()})


@given(st.data())
def test_only_the_clusters_own_cursors_are_read(data: st.DataObject) -> None:
    """A cursor with any other character, or of another key, is refused."""
    cursor = Cursor(b"12345678", (1, "a", None, True, 2.5), "id", 20, 7, False, True)
    signer = CursorSigner(b"k" * 32)
    text = signer.sign(cursor)
    assert signer.read(text) == cursor
    with pytest.raises(BadRequestError, match="not a cursor"):
        CursorSigner(b"x" * 32).read(text)
    at = data.draw(st.integers(0, len(text) - 2))  # the last character has spare bits
    other = data.draw(st.characters().filter(lambda one: one != text[at]))
    with pytest.raises(BadRequestError, match="not a cursor"):
        signer.read(text[:at] + other + text[at + 1 :])
    with pytest.raises(BadRequestError, match="not a cursor"):
        signer.read(data.draw(st.text()))


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"sort": ("title",)}, "sort: names title, which is a text"),
        ({"sort": ("prize",)}, "sort: 'prize' is not a field of the collection .nearest: price"),
        ({"sort": ("_score", "year")}, "sort: has _score before year"),
        ({"sort": ({"_score": "asc"},)}, "sort: has _score, which is always descending"),
        ({"sort": ("year", "year")}, "sort: names year twice"),
        ({"sort": ({"year": "asc", "price": "asc"},)}, "sort: has a key of 2 fields"),
        ({"sort": ("year", "price", "new", "sold", "code")}, r"query\.max_sort_keys"),
        ({"group_by": "year"}, "group_by: names year, which is of type integer"),
        ({"group_by": "brand", "search_after": ""}, "group_by: does not apply with search_after"),
        ({"offset": 3, "search_after": ""}, "offset: does not apply with search_after"),
        ({"offset": 995}, r"offset: and k are more than 1000 together \(gateway\.max_k\)"),
        ({"sort": ("year",), "rank_profile": "ranked"}, "sort: does not apply: .* second phase"),
        ({"search_after": "", "rank_profile": "ranked"}, "search_after: does not apply"),
        ({"facets": {"year": Facet()}, "rank_profile": "noop"}, "facets: does not apply"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    goods_shards: RealShards, members: Any, match: str
) -> None:
    """The error names the member, and why."""
    with pytest.raises(BadRequestError, match=match):
        goods_shards.search("*", **members)


def test_options_are_refused_while_a_worker_does_not_know_them() -> None:
    """It would answer as if nothing had been asked; a search without options is sent."""
    for options in (SearchOptions(sort=(SortKey("year", False),)), SearchOptions()):
        check_level(options, options.level)
        with pytest.raises(BadRequestError, match="upgrade the workers first"):
            check_level(options, 0)


@pytest.mark.parametrize("query", ["*", "red blue", "code:c1 OR old"])
@pytest.mark.parametrize("sort", [(), ("year",), ({"price": "desc"}, "_score")])
@pytest.mark.parametrize("group", ["brand", "tags", "code"])
def test_a_group_has_its_best_hit(
    goods_shards: RealShards, query: str, sort: Any, group: str
) -> None:
    """The first of each value in the order; documents without the field are one group."""
    whole = goods_shards.search(query, sort=sort, k=1000)
    first: dict[Any, str] = {}
    for hit in whole.hits:
        value = goods_shards.documents[hit.id].get(group)
        first.setdefault(min(value) if isinstance(value, list) else value, hit.id)
    wanted = [(one, value) for value, one in first.items()]
    for k in (1, 3, 1000):
        found = goods_shards.search(query, sort=sort, group_by=group, k=k)
        assert [(hit.id, hit.group) for hit in found.hits] == wanted[:k]
        assert found.total_hits == whole.total_hits
    later = goods_shards.search(query, sort=sort, group_by=group, k=2, offset=1)
    assert [(hit.id, hit.group) for hit in later.hits] == wanted[1:3]


@pytest.mark.parametrize("offset", [0, 1, 9, 280, 500])
def test_an_offset_leaves_out_the_first_hits(goods_shards: RealShards, offset: int) -> None:
    """The rest is as without it."""
    whole = goods_shards.search("red blue", k=1000).hits
    found = goods_shards.search("red blue", k=10, offset=offset).hits
    assert [(hit.id, hit.score) for hit in found] == [
        (hit.id, hit.score) for hit in whole[offset : offset + 10]
    ]


def test_a_search_without_options_has_none_of_their_members(goods_shards: RealShards) -> None:
    """Neither on the wire nor in the answer."""
    answer = goods_shards.search("red").to_json()
    assert not {"facets", "next_page"} & answer.keys()
    assert not {"sort", "group"} & answer["hits"][0].keys()
