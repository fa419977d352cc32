"""Words without a field name score as if all text fields were one, each as often as it weighs."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.query.searched import ALL_TEXT, text_fields
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.unit.support.shards import OneShard

K1, B = 1.2, 0.75
WORDS = ("lamp", "desk", "reading", "light")


def random_documents(num: int) -> list[dict[str, Any]]:
    """Documents of two fields; lengths up to 40 words in all are exact in an index."""
    rng = random.Random(7)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randrange(7)))

    return [{"id": str(number), "title": text(), "text": text()} for number in range(num)]


def bm25f(documents: list[dict[str, Any]], weights: dict[str, int], word: str) -> dict[str, float]:
    """BM25F's simple textbook form: counts and lengths are weighted sums over the fields."""

    def weighted(document: dict[str, Any], count: Any) -> int:
        return sum(weight * count(document[name].split()) for name, weight in weights.items())

    counts = {one["id"]: weighted(one, lambda words: words.count(word)) for one in documents}
    lengths = {one["id"]: weighted(one, len) for one in documents}
    average = sum(lengths.values()) / len(documents)
    frequency = sum(1 for count in counts.values() if count)
    idf = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
    return {
        name: idf * (K1 + 1) * count / (count + K1 * (1 - B + B * lengths[name] / average))
        for name, count in counts.items()
        if count
    }


@pytest.mark.parametrize(("title_weight", "text_weight"), [(1, 1), (3, 1), (2, 4), (3, 0)])
def test_scores_are_those_of_bm25f(tmp_path: Path, title_weight: int, text_weight: int) -> None:
    """A word's score is that of the formula, whatever the fields' weights are."""
    weights = {"title": title_weight, "text": text_weight}
    documents = random_documents(60)
    fields = {name: {"type": "text", "weight": weight} for name, weight in weights.items()}
    shard = OneShard.of(tmp_path, fields, documents)
    if not text_weight:  # what is searched alone has nothing to weigh more than
        weights = {"title": 1}
    for word in WORDS:
        found = shard.search(word, k=60)
        scores = dict(zip(found.ids, found.scores, strict=True))
        expected = bm25f(documents, weights, word)
        # A text that is the word as a whole comes first, whatever else it scores.
        whole = {one["id"] for one in documents if word in (one["title"], one["text"])}
        for one in whole & expected.keys():
            del scores[one], expected[one]
        assert scores == pytest.approx(expected, rel=1e-4)


def test_a_field_that_is_named_scores_by_itself_alone(tmp_path: Path) -> None:
    """What another field holds, and what either weighs, changes nothing in `title:lamp`."""
    documents = [
        {"id": "1", "title": "lamp", "text": "lamp lamp desk light"},
        {"id": "2", "title": "desk lamp lamp", "text": ""},
        {"id": "3", "title": "light", "text": "lamp"},
    ]
    alone = OneShard.of(tmp_path / "alone", {"title": "text"}, documents)
    weighted = OneShard.of(
        tmp_path / "weighted", {"title": {"type": "text", "weight": 3}, "text": "text"}, documents
    )
    expected, found = alone.search("title:lamp"), weighted.search("title:lamp")
    assert found.ids == expected.ids == ["1", "2"]
    assert found.scores == expected.scores


ACROSS = {"id": "across", "title": "reading", "text": "lamp of oak"}
STOPPED = {"id": "stopped", "title": "reading the", "text": "lamp"}
WITHIN = {"id": "within", "title": "oak", "text": "reading a lamp"}
ADJACENT = {"id": "adjacent", "title": "oak", "text": "reading lamp"}


@pytest.mark.parametrize("weight", [1, 3])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('"reading lamp"', {"adjacent"}),
        ('"reading a lamp"', {"within"}),
        ('"reading lamp"~1', {"adjacent", "within"}),
        ('"reading lamp"~5', {"adjacent", "within"}),
        ('"reading la"*', {"adjacent"}),
        ('"reading the la"*', {"within"}),
        ("reading lamp", {"across", "stopped", "within", "adjacent"}),
    ],
)
def test_a_phrase_lies_within_one_field(
    tmp_path: Path, weight: int, query: str, expected: set[str]
) -> None:
    """A phrase whose words are in two fields is no match, with stop words and slop neither."""
    fields = {"title": {"type": "text", "weight": weight}, "text": "text"}
    shard = OneShard.of(tmp_path, fields, [ACROSS, STOPPED, WITHIN, ADJACENT])
    assert set(shard.search(query).ids) == expected


def test_a_field_of_weight_0_is_found_by_its_name_alone(tmp_path: Path) -> None:
    """Words, prefixes, fuzzy words and phrases look into it only where they name it."""
    fields = {"title": "text", "text": "text", "notes": {"type": "text", "weight": 0}}
    documents = [
        {"id": "1", "title": "lamp", "text": "desk", "notes": "reading light"},
        {"id": "2", "title": "reading", "text": "light", "notes": "lamp"},
    ]
    shard = OneShard.of(tmp_path, fields, documents)
    for query in ("lamp", "lam*", "lamq~1"):
        assert shard.search(query).ids == ["1"]
    assert shard.search('"reading light"').ids == []
    assert shard.search('notes:"reading light"').ids == ["1"]


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "text"},
        {"title": "text", "year": "integer"},
        {"title": {"type": "text", "weight": 5}},
        {"title": "text", "notes": {"type": "text", "weight": 0}},
    ],
)
def test_one_searched_field_pays_for_no_second(fields: dict[str, Any]) -> None:
    """A collection of one text field, or with one that weighs anything, has no joined field."""
    assert ALL_TEXT not in text_fields(define("c", {"fields": fields}))


def test_an_index_of_other_weights_is_made_again(tmp_path: Path) -> None:
    """An index serves the weights that it was made with, and no others."""
    path = tmp_path / "index"
    plain = define("c", {"fields": {"title": "text", "text": "text"}}, uid="u")
    heavy = define(
        "c", {"fields": {"title": {"type": "text", "weight": 3}, "text": "text"}}, uid="u"
    )
    for definition, is_new in ((plain, True), (plain, False), (heavy, True), (heavy, False)):
        writer = TextIndexWriter.open(path, definition)
        assert writer.is_new is is_new
        writer.commit()
        writer.close()
        assert TextIndex.open(path).collection.weights == definition.weights
