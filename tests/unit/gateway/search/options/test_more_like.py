"""More like a document: by its most telling words, the same from one shard and from eight."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError, NotFoundError, UnavailableError
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.gateway.search.options.more_like import check_more_like
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.more_like import MoreLike
from tests.unit.support.real_shards import RealShards

FIELDS = {
    "title": "text",
    "body": {"type": "text", "weight": 2},
    "notes": "text",
    "brand": "keyword",
}
COLLECTION = define("shop", {"fields": FIELDS, "language": "none"}, uid="u1")
WORDS = ["oak", "desk", "lamp", "brass", "red", "old", "wing", "sea", "high", "tide"]


def documents(count: int = 60) -> list[dict[str, Any]]:
    """Each has a few words; a word is the rarer the later it is in the list."""
    rows = []
    for number in range(count):
        chosen = [word for place, word in enumerate(WORDS) if number % (place + 2) == 0]
        rows.append(
            {
                "id": f"d{number}",
                "title": " ".join(chosen),
                "body": f"own{number} {chosen[0] if chosen else 'desk'}",
                "notes": f"note{number % 3}",
                "brand": f"b{number % 2}",
            }
        )
    return rows


@pytest.fixture(params=[1, 8])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> RealShards:
    """The same documents in one shard, and in eight."""
    made = RealShards(tmp_path, COLLECTION, request.param)
    made.put(documents())
    made.collect_statistics()
    return made


def telling(document: dict[str, Any], rows: list[dict[str, Any]], count: int) -> list[str]:
    """The best words of a document by hand: of title and notes once, of the body twice."""

    def words(row: dict[str, Any]) -> list[str]:
        return f"{row['title']} {row['body']} {row['body']} {row['notes']}".split()

    frequencies = Counter(word for row in rows for word in set(words(row)))
    scored = [
        (-(1 + math.log(tf)) * math.log(1 + (len(rows) - df + 0.5) / (df + 0.5)), word)
        for word, tf in Counter(words(document)).items()
        if (df := frequencies[word]) > 1
    ]
    return [word for _, word in sorted(scored)][:count]


def test_the_telling_words_are_searched_for(shop: RealShards) -> None:
    """As if they had been written as a query, without the document itself."""
    rows = documents()
    for document in (rows[0], rows[12], rows[31]):
        found = shop.search("", k=60, more_like=MoreLike(document["id"], max_terms=3))
        words = telling(document, rows, 3)
        by_hand = shop.search(" ".join(words), k=60).hits
        expected = {hit.id: hit.score for hit in by_hand if hit.id != document["id"]}
        assert {hit.id: hit.score for hit in found.hits} == pytest.approx(expected, rel=1e-5)
        assert found.total_hits.value == len(expected) >= 3


def test_fields_are_compared_each_with_itself(shop: RealShards) -> None:
    """A filter holds, and what was found can be highlighted, paged and counted."""
    found = shop.search(
        "",
        k=3,
        filter="brand:b1",
        more_like=MoreLike("d9", ("notes", "title")),
        highlight=("notes",),
        offset=1,
    )
    assert found.total_hits.value > 3
    for hit in found.hits:
        assert shop.documents[hit.id]["brand"] == "b1"
        assert hit.highlights in ({"notes": ["<em>note0</em>"]}, {})
    assert len(found.hits) == 3


def test_a_document_that_is_not_there_is_not_found(shop: RealShards) -> None:
    """As if it had been read."""
    with pytest.raises(NotFoundError, match="no document 'gone' in 'shop'"):
        shop.search("", more_like=MoreLike("gone"))


def test_a_missing_shard_is_named_if_it_has_the_document(tmp_path: Path) -> None:
    """Otherwise the answer is partial, as of any search."""
    shop = RealShards(tmp_path, COLLECTION, 4)
    shop.put(documents())
    shop.collect_statistics()
    down = shard_of("d0", 4)
    other = next(one for one in shop.documents if shard_of(one, 4) != down)
    shop.down = {down}
    with pytest.raises(UnavailableError, match=f"shard {down}, which has the document 'd0'"):
        shop.search("", more_like=MoreLike("d0"))
    found = shop.search("", more_like=MoreLike(other), fields=False)
    assert 0 < found.coverage.fraction < 1
    assert found.deadline_ms == 300
    assert found.took_ms <= 300


def test_a_document_without_words_is_like_no_other(tmp_path: Path) -> None:
    """The answer says so; before the first statistics, the most frequent words count."""
    shop = RealShards(tmp_path, COLLECTION, 2)
    shop.put([{"id": "a", "title": "oak oak desk"}, {"id": "b", "title": "oak"}, {"id": "c"}])
    assert [hit.id for hit in shop.search("", more_like=MoreLike("a", max_terms=1)).hits] == ["b"]
    found = shop.search("", more_like=MoreLike("c"))
    assert found.hits == []
    assert found.warnings == ("The document has no words by which others could be found.",)


@pytest.mark.parametrize(
    ("query", "asked", "field", "reason"),
    [
        ("oak", MoreLike("a"), "more_like", "does not apply with a query"),
        ("", MoreLike("a", ("brand",)), "more_like.fields", "of type keyword"),
        ("", MoreLike("a", ("gone",)), "more_like.fields", "is not a field"),
        ("", MoreLike("a", ()), "more_like.fields", "names 0 fields"),
        ("", MoreLike("a", max_terms=101), "more_like.max_terms", "query.max_like_terms"),
        ("", MoreLike(""), "more_like.id", "at least one"),
        ("", MoreLike("x" * 5000), "more_like.id", "512 bytes"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    query: str, asked: MoreLike, field: str, reason: str
) -> None:
    """With the member's name and the reason."""
    with pytest.raises(BadRequestError, match=reason) as refused:
        check_more_like(SearchQuery("shop", query), asked, COLLECTION, QuerySettings(), 3)
    assert refused.value.field == field


@pytest.mark.parametrize("member", [{"typos": "auto"}, {"prefix": True}, {"did_you_mean": True}])
def test_what_is_for_typed_words_does_not_apply(member: dict[str, Any]) -> None:
    """It is refused with its name, and not left aside without a word."""
    (name,) = member
    query = SearchQuery("shop", "", **member)
    with pytest.raises(BadRequestError, match="does not apply with more_like") as refused:
        check_more_like(query, MoreLike("a"), COLLECTION, QuerySettings(), 3)
    assert refused.value.field == name


def test_parts_of_words_are_not_compared() -> None:
    """A field of them is refused, since its document would seem to have no words."""
    parts = define("shop", {"fields": {"code": {"type": "text", "ngrams": 3}}}, "u0")
    with pytest.raises(BadRequestError, match="parts of words") as refused:
        check_more_like(
            SearchQuery("shop", ""), MoreLike("a", ("code",)), parts, QuerySettings(), 3
        )
    assert refused.value.field == "more_like.fields"


def test_older_workers_are_not_asked() -> None:
    """They would not know what is wanted."""
    with pytest.raises(BadRequestError, match="upgrade the workers first"):
        check_more_like(SearchQuery("shop", ""), MoreLike("a"), COLLECTION, QuerySettings(), 2)
