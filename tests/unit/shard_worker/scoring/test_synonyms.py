"""Synonyms in an index: what they match, and that what was typed comes first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.wire.search_options import Synonym
from tests.unit.support.split_index import SplitIndex

COLLECTION = define("c", {"fields": {"title": "text", "summary": "text"}}, uid="u")
SYNONYMS = (
    Synonym("nyc", ("New York",)),
    Synonym("new york", ("NYC",)),
    Synonym("tv", ("television", "telly")),
    Synonym("it", ("information technology",)),
)
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "nyc", "title": "nyc pizza"},
    {"id": "both", "title": "new york pizza"},
    {"id": "apart", "title": "york has a new pizza"},
    {"id": "tv", "title": "a tv"},
    {"id": "television", "title": "a television"},
    {"id": "televisions", "summary": "many televisions"},
    {"id": "it", "summary": "information technology"},
    *({"id": f"tv{n}", "title": "old tv sets of many kinds"} for n in range(20)),
    *({"id": f"x{n}", "title": f"word{n} and others"} for n in range(20)),
]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SplitIndex]:
    """The documents in one index."""
    built = SplitIndex.build(tmp_path_factory.mktemp("one"), COLLECTION, DOCUMENTS)
    yield built
    built.close()


def found(index: SplitIndex, query: str) -> list[str]:
    """The ids that a query finds with the synonyms, best first."""
    return list(index.scores(query, synonyms=SYNONYMS))


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("nyc", ["nyc", "both"]),
        ("+new +york", ["both", "nyc", "apart"]),
        ('"new york"', ["both"]),
        ("+nyc +pizza", ["nyc", "both"]),
        ("IT", ["it"]),  # a stop word
        ("summary:tv", ["televisions"]),
        ("pizza -nyc", ["both", "apart"]),
    ],
)
def test_documents_with_a_synonym_are_found(query: str, ids: list[str], one: SplitIndex) -> None:
    """Several words match as a phrase, by the fields' analysis."""
    assert sorted(found(one, query)) == sorted(ids)


@pytest.mark.parametrize(("query", "first", "then"), [("nyc", "nyc", "both")])
def test_what_was_typed_comes_before_what_means_the_same(
    query: str, first: str, then: str, one: SplitIndex
) -> None:
    """With the same number of occurrences in texts of the same length."""
    scores = one.scores(query, synonyms=SYNONYMS)
    assert scores[first] > scores[then]


def test_a_rare_synonym_weighs_no_more_than_a_frequent_word(one: SplitIndex) -> None:
    """Otherwise, documents without the typed word would come before those that have it."""
    scores = one.scores("tv", synonyms=SYNONYMS)
    assert one.scores("television")["television"] > one.scores("tv")["tv"]
    assert scores["television"] < scores["tv"]
    assert scores["tv"] == pytest.approx(one.scores("tv")["tv"])


def test_eight_shards_score_as_one(one: SplitIndex, tmp_path: Path) -> None:
    """The weights of synonyms are those of the whole collection."""
    eight = SplitIndex.build(tmp_path, COLLECTION, DOCUMENTS, 8)
    for query in ("nyc", "new york pizza", "tv", "nyc tv it", "+tv television"):
        expected = one.scores(query, synonyms=SYNONYMS)
        assert eight.scores(query, synonyms=SYNONYMS) == pytest.approx(expected, rel=5e-4)
    eight.close()
