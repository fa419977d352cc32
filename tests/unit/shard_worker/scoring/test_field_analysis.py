"""Fields with an analysis of their own: each is searched by its own, on any number of shards."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.query.as_typed import Typing
from hedgerow.common.wire.messages import SearchPayload
from tests.unit.support.shards import EndlessBudget, OneShard
from tests.unit.support.split_index import SplitIndex

FIELDS = {
    "title": {"type": "text", "language": "german", "weight": 2},
    "summary": "text",
    "name": {"type": "text", "language": "none", "folding": False},
    "code": {"type": "text", "ngrams": 3},
}
DOCUMENTS = [
    {"id": "de", "title": "Die Häuser am Meer", "summary": "Houses by the sea"},
    {"id": "en", "title": "Hausordnung", "summary": "The running dogs of the house"},
    {"id": "name", "name": "René Running", "code": "AB-88125-X Größe"},
]


def found(shard: OneShard, query: str) -> list[str]:
    """The ids of the documents that a query finds, in alphabetical order."""
    return sorted(shard.search(query).ids)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> OneShard:
    """The documents."""
    return OneShard.of(tmp_path_factory.mktemp("one"), FIELDS, DOCUMENTS)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("title:Haus", ["de"]),  # as German: Häuser, but not Hausordnung
        ("summary:house", ["de", "en"]),
        ("summary:run", ["en"]),
        ("name:run", []),  # not stemmed
        ("name:running", ["name"]),
        ("name:Rene", []),  # not folded
        ("name:René", ["name"]),
        ("title:die", []),  # a stop word of German alone
        ("name:the", []),
        ("code:8812", ["name"]),
        ("code:812", ["name"]),
        ("code:88", ["name"]),  # shorter than the parts
        ("code:8", ["name"]),
        ("code:82", []),
        ("code:88125X", []),
        ("code:rosse", ["name"]),  # folded
        ('code:"b 8812"', ["name"]),  # a phrase, from within a word to within another
        ('code:"88125 x gr"', []),  # at the end of a phrase, two letters are a whole word
        ('code:"88125 x gro"', ["name"]),
        ('code:"AB X"', []),
    ],
)
def test_a_field_is_searched_by_its_own_analysis(
    query: str, ids: list[str], shard: OneShard
) -> None:
    """A word with a field name is analysed as the texts of that field."""
    assert found(shard, query) == ids


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("haus", ["de"]),
        ("meer", ["de"]),
        ("run", ["en"]),
        ("running", ["en", "name"]),
        ("8125", ["name"]),
        ("+haus +meer", ["de"]),
        ("+die +meer", ["de"]),  # what one language drops is not required of the others
        ("running -name:running", ["en"]),
        ('"running dogs"', ["en"]),
        ("812*", ["name"]),
        ("runing~1", ["en", "name"]),
    ],
)
def test_words_without_a_field_match_in_any_field_as_it_is_analysed(
    query: str, ids: list[str], shard: OneShard
) -> None:
    """A document matches a word if one of its fields does, by that field's analysis."""
    assert found(shard, query) == ids


WORDS = ["haus", "hauses", "running", "runs", "die", "the", "maße", "masse", "abc", "bcd", "abcd"]


def corpus(count: int = 200) -> list[dict[str, Any]]:
    """Documents whose fields share words that the analyses tell apart, or do not."""
    rng = random.Random(3)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.choice([0, 1, 2, 3, 9])))

    return [{"id": f"d{n}", **{name: text() for name in FIELDS}} for n in range(count)]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SplitIndex, SplitIndex]]:
    """The same documents in one index, and in eight."""
    collection, documents = define("c", {"fields": FIELDS}, uid="u"), corpus()
    one = SplitIndex.build(tmp_path_factory.mktemp("one"), collection, documents)
    eight = SplitIndex.build(tmp_path_factory.mktemp("eight"), collection, documents, 8)
    yield one, eight
    one.close()
    eight.close()


@pytest.mark.parametrize(
    "query",
    [*WORDS, "haus running abc", "+die haus", '"haus die runs"', "bc", "b", "ab*", "runing~1 maße"],
)
def test_eight_shards_score_as_one(query: str, indexes: tuple[SplitIndex, SplitIndex]) -> None:
    """Statistics and average lengths are those of the whole collection, for each analysis."""
    one, eight = indexes
    scores = one.scores(query)
    assert scores
    assert eight.scores(query) == pytest.approx(scores, rel=5e-4)
    typing = Typing(edits=2, is_last_unfinished=True)
    assert eight.scores(query, typing) == pytest.approx(one.scores(query, typing), rel=5e-4)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_ngrams_find_what_is_part_of_a_word(size: int, tmp_path: Path) -> None:
    """A word of any length matches exactly the documents with a word that contains it."""
    rng = random.Random(size)

    def word(longest: int) -> str:
        return "".join(rng.choices("abü", k=rng.randint(1, longest)))

    documents = [
        {"id": f"{n:02}", "text": " ".join(word(8) for _ in range(rng.randint(1, 3)))}
        for n in range(60)
    ]
    fields = {"text": {"type": "text", "ngrams": size, "folding": False}}
    shard = OneShard.of(tmp_path, fields, documents)
    with shard.searching() as search:
        for part in {word(6) for _ in range(60)}:
            expected = [one["id"] for one in documents if part in one["text"]]
            payload = SearchPayload("u1", part, 60, "bm25", "", False)
            assert sorted(search(payload, EndlessBudget()).ids) == expected, part


def test_a_part_of_a_word_weighs_as_one_word(tmp_path: Path) -> None:
    """A longer part of a word has no higher weight only because it has more parts itself."""
    documents = [{"id": str(n), "text": "pandas" if n < 3 else f"other{n}"} for n in range(50)]
    fields = {"text": {"type": "text", "ngrams": 3}}
    indexes = SplitIndex.build(tmp_path, define("c", {"fields": fields}), documents)
    (short,) = {round(score, 3) for score in indexes.scores("pan").values()}
    (long,) = {round(score, 3) for score in indexes.scores("panda").values()}
    assert long == pytest.approx(short, rel=0.01)
    indexes.close()
