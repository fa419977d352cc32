"""Prefixes, fuzzy words and words as typed: what they match, in which order, on any shards."""

import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.query.as_typed import Typing
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import retrieve
from hedgerow.shard_worker.storage import dictionary
from tests.unit.support.split_index import SplitIndex

COLLECTION = define("c", {"fields": {"text": "text"}, "language": "none"}, uid="u")
LETTERS = "abc"


def words_of(rng: random.Random, count: int) -> list[str]:
    """Words of few letters, so that many are near each other."""
    return ["".join(rng.choices(LETTERS, k=rng.randint(3, 7))) for _ in range(count)]


def corpus(seed: int, count: int = 300) -> list[dict[str, Any]]:
    """Texts of a small vocabulary with a steep distribution, of one word to thirty."""
    rng = random.Random(seed)
    vocabulary = words_of(rng, 120)
    weights = [1 / (rank + 1) for rank in range(len(vocabulary))]
    return [
        {
            "id": f"d{number}",
            "text": " ".join(rng.choices(vocabulary, weights, k=rng.choice([1, 2, 5, 30]))),
        }
        for number in range(count)
    ]


DOCUMENTS = corpus(seed=5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SplitIndex]:
    """The documents in one index."""
    built = SplitIndex.build(tmp_path_factory.mktemp("whole"), COLLECTION, DOCUMENTS)
    yield built
    built.close()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SplitIndex]:
    """The documents in eight indexes."""
    built = SplitIndex.build(tmp_path_factory.mktemp("split"), COLLECTION, DOCUMENTS, 8)
    yield built
    built.close()


def edits_between(one: str, other: str) -> int:
    """The fewest insertions, deletions, replacements and swaps of neighbours (OSA), by its rows."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, opposite in enumerate(other, 1):
            best = min(rows[-1][j] + 1, row[j - 1] + 1, rows[-1][j - 1] + (letter != opposite))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == opposite:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


@cache
def rank_of(word: str, typed: str, distance: int, *, is_prefix: bool) -> int | None:
    """0 for the word itself, 1 if it begins with it, 2 and 3 for edits; None if it is not meant."""
    if word == typed:
        return 0
    if is_prefix and word.startswith(typed):
        return 1
    edits = edits_between(word, typed)
    return 1 + edits if edits <= distance else None


def best_ranks(typed: str, distance: int, *, is_prefix: bool) -> dict[str, int]:
    """Document → the best rank of its words, by looking at each."""
    found = {}
    for document in DOCUMENTS:
        ranks = [
            rank
            for word in document["text"].split()
            if (rank := rank_of(word, typed, distance, is_prefix=is_prefix)) is not None
        ]
        if ranks:
            found[document["id"]] = min(ranks)
    return found


# Words that occur, the most frequent and others, and words that do not.
OCCURRING = Counter(word for one in DOCUMENTS for word in one["text"].split())
FREQUENT = [word for word, _ in OCCURRING.most_common(5)]
TYPED = [*FREQUENT, *sorted(OCCURRING)[::9], *words_of(random.Random(9), 6), "zzz", "ab"]
QUERIES = [f"{word}{mark}" for word in TYPED for mark in ("*", "~1", "~2")]


@pytest.mark.parametrize("query", QUERIES)
def test_words_match_and_rank_as_a_look_at_each_says(query: str, whole: SplitIndex) -> None:
    """Exact over prefix over one edit over two, whatever lengths and frequencies are."""
    typed, mark, distance = query.partition("*") if "*" in query else query.partition("~")
    expected = best_ranks(typed, int(distance or 0), is_prefix=mark == "*")
    scores = whole.scores(query)
    assert scores.keys() == expected.keys()
    ranks = [expected[one] for one in scores]  # best first
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("query", [*QUERIES, "abc* bca~1", "aab~2 -abc", "+ab* ca*", '"abc a"*'])
def test_eight_shards_score_as_one(query: str, whole: SplitIndex, split: SplitIndex) -> None:
    """A shard that lacks the better words does not take its own for the best."""
    assert split.scores(query) == pytest.approx(whole.scores(query), rel=1e-4)


@pytest.mark.parametrize("word", [word for word in TYPED if len(word) >= 5])
def test_words_as_typed_match_what_fuzzy_words_and_prefixes_do(
    word: str, whole: SplitIndex, split: SplitIndex
) -> None:
    """`typos` and `prefix` together rank as one list: exact, prefix, one edit."""
    typing = Typing(edits=4, is_last_unfinished=True)
    expected = best_ranks(word, 1, is_prefix=True)
    scores = whole.scores(word, typing)
    assert scores.keys() == expected.keys()
    ranks = [expected[one] for one in scores]
    assert ranks == sorted(ranks)
    assert split.scores(word, typing) == pytest.approx(scores, rel=1e-4)


def test_within_a_rank_bm25_decides(tmp_path: Path) -> None:
    """A short text before a long one, and two occurrences before one."""
    padding = " ".join(f"w{number}" for number in range(30))
    documents = [
        {"id": "a-long", "text": f"pandas {padding}"},
        {"id": "b-short", "text": "pandas library"},
        {"id": "c-twice", "text": "pandas pandas"},
        {"id": "d-other", "text": "something else"},
    ]
    built = SplitIndex.build(tmp_path, COLLECTION, documents)
    for query in ("pand*", "pandaz~1", "pandsa~1"):
        assert list(built.scores(query)) == ["c-twice", "b-short", "a-long"]
    built.close()


def test_the_best_rank_that_there_is_counts_in_full(tmp_path: Path) -> None:
    """A slip that the collection does not have counts as much as the word that was meant."""
    documents = [
        {"id": f"d{number}", "text": text}
        for number, text in enumerate(["pandas"] * 3 + ["tutorial"] * 3 + ["pandas tutorial"])
    ]
    built = SplitIndex.build(tmp_path, COLLECTION, documents)
    right, slip = built.scores("pandas~1 tutorial"), built.scores("pandaz~1 tutorial")
    assert slip == right
    assert next(iter(slip)) == "d6"
    built.close()


def test_a_word_that_is_newer_than_the_statistics_is_found(tmp_path: Path) -> None:
    """It scores least, since its frequency in the collection is not known."""
    built = SplitIndex.build(tmp_path, COLLECTION, [{"id": "old", "text": "pandas"}])
    newer = SplitIndex.build(
        tmp_path / "newer",
        COLLECTION,
        [{"id": "old", "text": "pandas"}, {"id": "new", "text": "pandoc"}],
    )
    tree = QueryAnalysis(COLLECTION).read("pand*", strict=False)
    query = QueryBuilder(newer.indexes[0], built.statistics).build(tree)
    assert [one for _, one in retrieve(newer.indexes[0], query, 10).hits] == ["old", "new"]
    built.close()
    newer.close()


def test_more_words_than_are_scored_one_by_one_are_found(
    whole: SplitIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The words beyond the limit count less than those within, and none is lost."""
    monkeypatch.setattr(dictionary, "MAX_LIKE", 2)
    few = SplitIndex.build(tmp_path, COLLECTION, DOCUMENTS)
    assert few.scores("a*").keys() == whole.scores("a*").keys()
    assert few.scores("abc~2").keys() == whole.scores("abc~2").keys()
    few.close()


def test_a_prefix_may_be_a_stop_word(tmp_path: Path) -> None:
    """`the*` finds theory, although `the` alone is not searched for."""
    english = define("c", {"fields": {"text": "text"}}, uid="u")
    built = SplitIndex.build(tmp_path, english, [{"id": "a", "text": "theory of the game"}])
    assert list(built.scores("the*")) == ["a"]
    assert list(built.scores("the", Typing(is_last_unfinished=True))) == ["a"]
    assert list(built.scores("the")) == []
    built.close()


def test_words_of_other_scripts_are_near_each_other_by_letters(tmp_path: Path) -> None:
    """An edit is of a letter, not of a byte."""
    documents = [{"id": "a", "text": "привет"}, {"id": "b", "text": "ελλάδα"}]
    built = SplitIndex.build(tmp_path, COLLECTION, documents)
    assert list(built.scores("превет~1")) == ["a"]
    assert list(built.scores("ελλαδα~1")) == ["b"]
    built.close()
