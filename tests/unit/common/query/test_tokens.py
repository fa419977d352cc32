"""How texts are split into words before the analyser sees them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.query.cost import estimate, plain_cost
from hedgerow.common.query.plain import is_plain
from hedgerow.common.query.syntax import parse
from hedgerow.common.query.tokens import (
    MAX_WHOLE_CHARS,
    MAX_WHOLE_WORDS,
    has_cjk,
    of_document,
    of_query,
    whole_text,
)

COLLECTION = define("c", {"fields": {"title": "text", "body": "text"}}, uid="u")
CJK = st.text(st.sampled_from("日本語の本東京都한국어テレビ々ー"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("日本語", "日本 本語 語"),
        ("本", "本"),
        ("iPhone用ケース、黒", "iPhone 用ケ ケー ース ス 、 黒"),
        ("한국어 책", "한국 국어 어 책"),
        ("ｱｲｳ", "アイ イウ ウ"),  # half-width
        ("\uff21\uff22\uff23 caf\u00e9", "ABC café"),  # full-width
        ("cafe\u0301", "café"),
    ],
)
def test_a_document_s_text_has_pairs_instead_of_runs(text: str, words: str) -> None:
    """Pairs of neighbours, and the last character of each run; other words stay as they are."""
    assert of_document(text).split() == words.split()


def test_a_query_s_last_run_may_go_on() -> None:
    """A run that ends within the query ends in the document too, so its last character is there."""
    assert of_query("日本語").split() == ["日本", "本語"]
    assert of_query("日本tower").split() == ["日本", "本", "tower"]


@given(CJK, CJK, CJK)
def test_a_text_has_all_words_of_each_of_its_parts(before: str, part: str, after: str) -> None:
    """So it is found by any part of a run, of two or more characters."""
    document = of_document(before + part + after).split()
    if len(part) > 1:
        assert set(of_query(part).split()) <= set(document)
    else:
        assert any(word.startswith(part) for word in document)


@given(st.text(max_size=30))
def test_texts_without_such_characters_keep_their_words(text: str) -> None:
    """Only Unicode's compatible forms are joined."""
    if text.isascii():
        assert of_document(text) == of_query(text) == text


@given(st.text(max_size=80))
def test_a_whole_text_is_short_and_the_same_in_any_case(text: str) -> None:
    """It is bounded, and does not depend on case, punctuation or white space."""
    whole = whole_text(text)
    assert len(whole.split()) <= MAX_WHOLE_WORDS
    if whole and text.isascii():
        assert whole == whole_text(f" {text.upper().strip()}. ") or len(text) > MAX_WHOLE_CHARS - 3


def test_long_texts_are_not_whole_texts() -> None:
    """Neither many words nor long ones."""
    assert whole_text("The Lamp-Shade") == "the lamp shade"
    assert whole_text("a " * (MAX_WHOLE_WORDS + 1)) == ""
    assert whole_text("a" * (MAX_WHOLE_CHARS + 1)) == ""


@given(st.lists(CJK, min_size=1, max_size=5).map(" ".join))
def test_the_cost_of_a_query_counts_its_pairs(query: str) -> None:
    """A run is not one word, neither in a plain query nor in another."""
    tree = parse(query, COLLECTION, strict=False)[0]
    cost = estimate(tree, COLLECTION)
    assert cost.clauses >= sum(len(of_query(word).split()) for word in query.split())
    if is_plain(query):
        assert plain_cost(query, COLLECTION) == cost


def test_scripts_are_told_apart() -> None:
    """Only Chinese, Japanese and Korean are paired."""
    assert all(has_cjk(one) for one in ("日", "か", "カ", "한", "a日"))
    assert not any(has_cjk(one) for one in ("a", "é", "ж", "ع", "。", "ไทย"))
