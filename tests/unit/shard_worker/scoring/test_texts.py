"""Accents, scripts without spaces, and whole texts: what is found, and in which order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.fields.word_analysis import PLAIN_TEXTS
from hedgerow.common.query.as_typed import Typing
from tests.unit.support.split_index import SplitIndex

FIELDS = {"fields": {"name": "text", "summary": "text"}}


Found = Callable[..., list[str]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """The texts that a query finds, best first, over three shards: each list is indexed once."""
    built: dict[str, SplitIndex] = {}

    def find(texts: list[str], query: str, **definition: Any) -> list[str]:
        key = repr((texts, definition))
        if key not in built:
            collection = define("c", {"fields": {"text": "text"}, **definition}, uid="u")
            documents = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
            root = tmp_path_factory.mktemp("texts")
            built[key] = SplitIndex.build(root, collection, documents, 3)
        return [texts[int(one)] for one in built[key].scores(query)]

    yield find
    for one in built.values():
        one.close()


@pytest.mark.parametrize("query", ["cafe", "café", "CAFÉ", "cafe\u0301", '"cafe creme"', "caf*"])
def test_accents_make_no_difference(query: str, found: Found) -> None:
    """Neither in the document nor in the query, however they are encoded."""
    texts = ["Café Crème", "cafe creme", "CAFE\u0301 CRE\u0300ME"]
    assert sorted(found([*texts, "tea"], query)) == sorted(texts)


def test_accents_make_a_difference_without_folding(found: Found) -> None:
    """A collection may be defined to tell them apart."""
    assert found(["café", "cafe"], "café", folding=False, language="none") == ["café"]


@pytest.mark.parametrize(
    ("language", "document", "query"),
    [
        ("french", "les élèves étudient", "eleve"),
        ("french", "un cafe noir", "café"),
        ("german", "die Äpfel", "apfel"),
        ("german", "Straße", "strasse"),
        ("spanish", "canciones de corazón", "corazon"),
        ("swedish", "högt", "hogt"),
    ],
)
def test_languages_fold_after_stemming(
    language: str, document: str, query: str, found: Found
) -> None:
    """Words without their accents find those that have them, and the reverse."""
    assert found([document, "x"], query, language=language) == [document]


JAPANESE = [
    "日本語",
    "日本語の本",
    "これは日本語です",
    "日本語、英語",
    "新しい日本語辞典",
    "日本語入門",
    "Python日本語処理",
    "「日本語」",
    "外国人のための日本語",
]


@pytest.mark.parametrize("query", ["日本語", '"日本語"', "+日本語", "日本", "語"])
def test_words_are_found_within_a_run(query: str, found: Found) -> None:
    """All nine texts with 日本語, whatever is before and behind it."""
    assert sorted(found([*JAPANESE, "英国", "本日"], query)) == sorted(JAPANESE)


def test_an_unfinished_word_of_japanese_is_found(tmp_path: Path) -> None:
    """The last word may be the beginning of another, as in other scripts."""
    collection = define("c", {"fields": {"text": "text"}}, uid="u")
    documents = [{"id": one, "text": one} for one in JAPANESE]
    built = SplitIndex.build(tmp_path, collection, documents)
    scores = built.scores("日本語辞", Typing(is_last_unfinished=True, edits=9))
    assert list(scores) == ["新しい日本語辞典"]
    built.close()


@pytest.mark.parametrize("query", ["东京", "서울", "東京 ホテル"])
def test_other_texts_are_found_too(query: str, found: Found) -> None:
    """Chinese and Korean, and several words."""
    texts = ["我爱东京塔", "서울특별시 관광", "東京のホテル一覧"]
    assert len(found(texts, query)) == 1


@pytest.fixture(scope="module", params=[1, 8])
def pandas(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SplitIndex]:
    """Texts of which a few are a query as a whole, and more have its words more often."""
    documents = [
        {"id": f"a{number}", "name": f"pandas-{number}", "summary": "pandas pandas data frames"}
        for number in range(30)
    ]
    documents += [
        {"id": "z1", "name": "pandas", "summary": "a long summary of what can be done with it"},
        {"id": "z2", "name": "other", "summary": "Data frames."},
        {"id": "z3", "name": "the who", "summary": "a band"},
        {"id": "z4", "name": "who", "summary": "the the"},
    ]
    root, collection = tmp_path_factory.mktemp("pandas"), define("c", FIELDS, uid="u")
    built = SplitIndex.build(root, collection, documents, request.param)
    yield built
    built.close()


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("pandas", "z1"),
        ("Pandas!", "z1"),
        ("+pandas", "z1"),
        ("data frames", "z2"),
        ("The Who", "z3"),
    ],
)
def test_a_text_that_equals_the_query_comes_first(
    query: str, best: str, pandas: SplitIndex
) -> None:
    """Whatever else has the words more often, or is shorter; also if they are all stop words."""
    assert next(iter(pandas.scores(query))) == best


def test_a_whole_text_comes_first_among_words_as_typed(tmp_path: Path) -> None:
    """With typos and an unfinished word too, which score by more than BM25."""
    documents = [{"id": f"a{n}", "name": "panda pandas panda", "summary": ""} for n in range(5)]
    documents += [{"id": "z", "name": "pandas", "summary": "word " * 200}]
    built = SplitIndex.build(tmp_path, define("c", FIELDS, uid="u"), documents)
    assert next(iter(built.scores("pandas", Typing(9, is_last_unfinished=True)))) == "z"
    built.close()


def test_a_field_of_weight_0_does_not_count_as_a_whole(tmp_path: Path) -> None:
    """It is searched only if it is named."""
    collection = define(
        "c", {"fields": {"name": "text", "tag": {"type": "text", "weight": 0}}}, uid="u"
    )
    documents = [
        {"id": "a", "name": "pandas and more", "tag": "x"},
        {"id": "b", "name": "something long that is not only pandas", "tag": "pandas"},
    ]
    built = SplitIndex.build(tmp_path, collection, documents)
    assert list(built.scores("pandas")) == ["a", "b"]
    built.close()


def test_collections_of_earlier_versions_keep_their_analysis(tmp_path: Path) -> None:
    """Their definition says nothing of texts, and their documents are found as before."""
    old = define("c", FIELDS, uid="u", texts=PLAIN_TEXTS)
    assert "texts" not in old.to_json()
    documents = [
        {"id": "a", "name": "café", "summary": "pandas pandas"},
        {"id": "b", "name": "pandas", "summary": "cafe " * 50},
    ]
    built = SplitIndex.build(tmp_path, old, documents)
    assert list(built.scores("café")) == ["a"]
    assert list(built.scores("pandas")) == ["a", "b"]
    built.close()
