"""Highlights through a searcher: the same from one shard and from eight, absent without a fetch."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.wire.search_options import WantedHighlights
from hedgerow.gateway.search.options.highlighting import check_highlight
from hedgerow.gateway.search.options.wanted import Wanted
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.search.validation import check_highlights_level
from hedgerow.gateway.shapes.highlighting import Highlight
from tests.unit.support.real_shards import RealShards

FIELDS = {
    "name": "text",
    "about": "text",
    "notes": {"type": "text", "weight": 0},
    "brand": "keyword",
}
COLLECTION = define("shop", {"fields": FIELDS}, uid="u1")
DOCUMENTS = [
    {"id": f"d{number}", "name": f"red hat {number}", "about": "hats & <caps>", "brand": "acme"}
    for number in range(20)
]


@pytest.fixture(params=[1, 8])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> RealShards:
    """The same documents in one shard, and in eight."""
    made = RealShards(tmp_path, COLLECTION, request.param)
    made.put(DOCUMENTS)
    return made


def test_every_hit_shows_what_matched(shop: RealShards) -> None:
    """By the query, not by the filter; documents come with their fields, or without."""
    found = shop.search("hats", k=20, filter="red", highlight=True, fields=("id",))
    assert len(found.hits) == 20
    for hit in found.hits:
        number = hit.id.removeprefix("d")
        assert hit.fields == {"id": hit.id}
        assert hit.highlights == {
            "name": [f"red <em>hat</em> {number}"],
            "about": ["<em>hats</em> &amp; &lt;caps&gt;"],
        }
    assert found.fetch is not None
    assert found.fetch.fetched == 20
    without = shop.search("hats", k=20, highlight=("about",), fields=False)
    assert {json.dumps(hit.highlights) for hit in without.hits} == {
        '{"about": ["<em>hats</em> &amp; &lt;caps&gt;"]}'
    }
    assert [hit.fields for hit in without.hits] == [None] * 20


def test_pages_and_words_as_typed_are_highlighted(shop: RealShards) -> None:
    """An offset leaves hits out before they are read, and slips are marked as they are found."""
    how = Highlight(("name",), pre="[", post="]")
    found = shop.search("hatz re", offset=5, k=3, typos="auto", prefix=True, highlight=how)
    assert [hit.highlights for hit in found.hits] == [
        {"name": [f"[red] hat {hit.id.removeprefix('d')}"]} for hit in found.hits
    ]
    assert len(found.hits) == 3


def test_without_highlights_an_answer_has_no_such_member(shop: RealShards) -> None:
    """Absent, not null: also of hits whose document could not be read."""
    plain = json.loads(msgspec.json.encode(shop.search("hats", fields=True).answer()))
    assert all("highlights" not in hit for hit in plain["hits"])
    shop.forgotten.add("d3")
    found = shop.search("hats", k=20, highlight=True, fields=True)
    answer = json.loads(msgspec.json.encode(found.answer()))
    assert {hit["id"] for hit in answer["hits"] if "highlights" not in hit} == {"d3"}
    assert answer["fetch"]["missing"] == 1


@pytest.mark.parametrize(
    ("asked", "field", "reason"),
    [
        (("gone",), "highlight", "is not a field"),
        (("brand",), "highlight", "is of type keyword"),
        (tuple(f"f{number}" for number in range(257)), "highlight", "256 is the limit"),
        (Highlight(snippets=101), "highlight.snippets", "query.max_snippets"),
        (Highlight(snippet_chars=10_001), "highlight.snippet_chars", "query.max_snippet_chars"),
    ],
)
def test_what_cannot_be_highlighted_is_refused(asked: Any, field: str, reason: str) -> None:
    """With the member's name and the reason."""
    with pytest.raises(BadRequestError) as refused:
        check_highlight(asked, COLLECTION, QuerySettings())
    assert refused.value.field == field
    assert reason in refused.value.reason


def test_true_means_every_text_field() -> None:
    """Those of weight 0 too, which a query may name."""
    wanted = check_highlight(True, COLLECTION, QuerySettings())
    assert wanted is not None
    assert wanted.fields == ("name", "about", "notes")
    assert check_highlight(False, COLLECTION, QuerySettings()) is None
    assert check_highlight((), COLLECTION, QuerySettings()) is None
    empty = define("new", {}, uid="u2")
    fields = check_highlight(("any",), empty, QuerySettings())
    assert fields == WantedHighlights(("any",), 5, 100, 100_000, "<em>", "</em>")


def test_older_workers_are_not_asked() -> None:
    """They would send documents without highlights."""
    wanted = Wanted(highlights=check_highlight(True, COLLECTION, QuerySettings()))
    check_highlights_level(wanted, 3)
    with pytest.raises(BadRequestError, match="upgrade the workers first"):
        check_highlights_level(wanted, 2)


def test_highlights_are_unset_until_they_arrive() -> None:
    """A hit is made before its document is read."""
    assert Hit("a", 1.0, 0).highlights is UNSET
