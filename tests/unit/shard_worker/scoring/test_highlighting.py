"""Highlights mark what the index has found, cost a bounded time, and are safe as HTML."""

import json
import re
from collections.abc import Sequence
from html import unescape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import Collection, define
from hedgerow.common.fields.word_analysis import FIELD_TEXTS, PLAIN_TEXTS
from hedgerow.common.query.analysers import analyser_of
from hedgerow.common.query.as_typed import Typing
from hedgerow.common.query.tokens import of_document
from hedgerow.common.wire.search_options import (
    Highlighting,
    SearchOptions,
    Synonym,
    WantedHighlights,
)
from hedgerow.shard_worker.scoring.highlighting import Highlighter
from hedgerow.shard_worker.scoring.text_tokens import chunks_of, read_chunk
from tests.unit.support.split_index import SplitIndex

TEXT = define("c", {"fields": {"text": "text"}}, uid="u")
WHOLE = WantedHighlights(("text",), 0, 100, 100_000, "<em>", "</em>")


def highlights(
    query: str,
    document: dict[str, Any],
    collection: Collection = TEXT,
    typing: Typing | None = None,
    **wanted: Any,
) -> dict[str, list[str]]:
    """The highlights of one document."""
    how: dict[str, Any] = {
        "fields": collection.text_fields,
        "snippets": 0,
        "snippet_chars": 100,
        "max_chars": 100_000,
        "pre": "<em>",
        "post": "</em>",
    }
    options = None if typing is None else SearchOptions(typos=typing[0], prefix=typing[1])
    asked = WantedHighlights(**how | wanted)
    highlighter = Highlighter(collection, Highlighting(query, False, options, asked))
    body = highlighter.highlights(json.dumps(document).encode(), lambda: False)
    assert body is not None
    found: dict[str, list[str]] = json.loads(body)
    return found


def marked(query: str, text: str, typing: Typing | None = None, **definition: Any) -> str:
    """A text as a whole, with what matches in brackets; "" if nothing does."""
    collection = define("c", {"fields": {"text": "text"}, **definition}, uid="u")
    found = highlights(query, {"text": text}, collection, typing, pre="[", post="]")
    return unescape(found.get("text", [""])[0])


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("run", "He runs, running.", "He [runs], [running]."),
        ("the run", "The run", "The [run]"),  # a stop word is not in the index
        ("RUN", "run-time", "[run]-time"),
        ("cafe", "Café, cafés, cafe\u0301!", "[Café], [cafés], [cafe\u0301]!"),
        ("café", "a cafe", "a [cafe]"),
        ("office", "the oﬃce", "the [oﬃce]"),
        ("strasse", "Straße 1", "[Straße] 1"),
        ("東京", "東京都のホテル", "[東京]都のホテル"),
        ("東京都", "東京都のホテル", "[東京都]のホテル"),
        ("京", "東京都と京", "東[京]都と[京]"),
        ('"東京都"', "京都 東京都", "京都 [東京都]"),
        ("ガス", "ｶﾞｽと水", "[ｶﾞｽ]と水"),
        ("한국", "한국어", "[한국]어"),
        ("pand*", "pandas, pandoc and spandex", "[pandas], [pandoc] and spandex"),
        ("pandsa~1", "pandas and pandora", "[pandas] and pandora"),
        ('"high seas"', "seas high, high seas", "seas high, [high] [seas]"),
        ('"high seas"~2', "high and wild seas", "[high] and wild [seas]"),
        ('"high se"*', "high sea, high tide", "[high] [sea], high tide"),
        ("rock NOT roll", "rock and roll", "[rock] and roll"),
        ("text:rock^3 OR (wild AND seas)", "rock the wild seas", "[rock] the [wild] [seas]"),
        ("other", "no match", ""),
        ("a.c", "abc a c", "abc a [c]"),
        (".*", "anything", ""),
    ],
)
def test_what_matches_is_marked(query: str, text: str, expected: str) -> None:
    """Stems, accents, beginnings, slips, phrases and pairs, and nothing else."""
    assert marked(query, text) == expected


@pytest.mark.parametrize(
    ("query", "typing", "text", "expected"),
    [
        ("pandsa", Typing(2), "pandas, panda", "[pandas], [panda]"),
        ("data ana", Typing(0, True), "data analysis of dates", "[data] [analysis] of dates"),
        ("the", Typing(0, True), "theory", "[theory]"),
    ],
)
def test_words_as_typed_are_marked(query: str, typing: Typing, text: str, expected: str) -> None:
    """With typos and an unfinished last word."""
    assert marked(query, text, typing) == expected


def test_other_analyses_are_followed() -> None:
    """Without folding, of another language, and of a collection of an earlier version."""
    assert marked("rené", "René Rene", folding=False, language="none") == "[René] Rene"
    assert marked("eleve", "les élèves", language="french") == "les [élèves]"
    old = Collection("c", "u", TEXT.fields, texts=PLAIN_TEXTS)
    assert highlights("cafés", {"text": "café cafe"}, old) == {"text": ["<em>café</em> cafe"]}


FIELDS = {"fields": {"title": "text", "body": "text", "notes": {"type": "text", "weight": 0}}}


def test_words_are_marked_where_they_are_searched() -> None:
    """A word with a field's name in that field, others in all fields whose weight is not 0."""
    collection = define("c", FIELDS, uid="u")
    document = {"title": "red", "body": ["red", "blue", "red"], "notes": "red blue"}
    assert highlights("red", document, collection) == {
        "title": ["<em>red</em>"],
        "body": ["<em>red</em>", "<em>red</em>"],
    }
    assert highlights("title:red notes:blue", document, collection) == {
        "title": ["<em>red</em>"],
        "notes": ["red <em>blue</em>"],
    }


def test_each_field_is_read_in_its_own_way() -> None:
    """A field of another language, and one in which words are found within others."""
    fields = {
        "en": "text",
        "fr": {"type": "text", "language": "french"},
        "part": {"type": "text", "ngrams": 3},
    }
    collection = define("c", {"fields": fields}, uid="u", texts=FIELD_TEXTS)
    document = {"en": "chevaux pandas", "fr": "chevaux panda", "part": "GeoPándas, spandex"}
    assert highlights("panda cheval", document, collection) == {
        "en": ["chevaux <em>pandas</em>"],
        "fr": ["<em>chevaux</em> <em>panda</em>"],
        "part": ["Geo<em>Pánda</em>s, spandex"],
    }
    assert highlights("part:pa", document, collection) == {
        "part": ["Geo<em>Pá</em>ndas, s<em>pa</em>ndex"]
    }


def test_synonyms_are_marked() -> None:
    """As what was typed is."""
    options = SearchOptions(synonyms=(Synonym("sofa", ("couch", "chaise longue")),))
    highlighter = Highlighter(TEXT, Highlighting("sofa", False, options, WHOLE))
    body = json.dumps({"text": "couches, a sofa, one chaise longue, longue"}).encode()
    assert json.loads(highlighter.highlights(body, lambda: False) or b"") == {
        "text": ["<em>couches</em>, a <em>sofa</em>, one <em>chaise</em> <em>longue</em>, longue"]
    }


words = st.sampled_from(
    "run running café cafe\u0301 straße panda pandas pandsa the of high seas sea x<b> a&b ½ Ⅷ ™ "  # noqa: SIM905 - one on each line would fill a page
    "東京 東京都 京 ホテル ﾎﾃﾙ 한국 \u0301 द्वि —".split()
)
texts = st.lists(st.tuples(words, st.sampled_from([" ", "", "-", "、", "_"])), max_size=7).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)
QUERIES = (
    "run|cafe|strasse|panda|pandas|東京|東京都|京|都|ホテル|high seas|pand*|pandsa~1|pandasx~2|"  # noqa: SIM905 - as above
    '"high seas"|"high sea"~1|"seas high"~2|"東京都"|"run of pandas"|"high se"*|ｶﾞ|한*|tm|viii|'
    "1|द्वि|द|b".split("|")
)


@settings(max_examples=6, deadline=None)
@given(st.lists(texts, min_size=20, max_size=40))
def test_a_text_has_marks_if_it_is_found(tmp_path_factory: Any, written: Sequence[str]) -> None:
    """The index and the highlights agree on every text, and unmarked it is the same text."""
    documents = [{"id": f"d{number}", "text": text} for number, text in enumerate(written)]
    built = SplitIndex.build(tmp_path_factory.mktemp("texts"), TEXT, documents)
    for query in QUERIES:
        found = built.scores(query)
        for document in documents:
            shown = highlights(query, document)
            assert (document["id"] in found) == bool(shown), (query, document["text"])
            for snippet in shown.get("text", []):
                assert unescape(re.sub("</?em>", "", snippet)) == document["text"]
    built.close()


of_asia = st.characters(min_codepoint=0x2000, max_codepoint=0xFFFF, exclude_categories=["Cs"])


@given(
    st.text() | st.text(of_asia) | texts,
    st.sampled_from(["english", "french", "none"]),
)
def test_the_words_of_a_text_are_those_of_the_index(text: str, language: str) -> None:
    """Chunk by chunk, they and their positions are what analysis makes of the whole text."""
    analysis = define("c", {"language": language}).word_analysis
    is_folded = analysis.is_folded_first
    whole = analyser_of(analysis).pre_tokenize(of_document(text, is_folded=is_folded)).tokens
    position, found = 0, []
    for match in chunks_of(text):
        chunk = read_chunk(analysis, match[0])
        for token in chunk.tokens:
            assert 0 <= token.start < token.end <= len(match[0])
            found.append((position + token.position, token.text))
        position += chunk.num_positions
    assert found == [(token.position, token.text) for token in whole]


markup = st.lists(st.sampled_from(["ab", "b", " ", "<", ">", "&", '"', "'", "é", "</em>"]))


@given(markup.map("".join), st.integers(0, 3), st.integers(1, 30))
def test_snippets_are_safe_as_html(text: str, snippets: int, chars: int) -> None:
    """Whatever the document has, the only tags are those of the highlights, and they are paired."""
    found = highlights("b ab", {"text": text}, snippets=snippets, snippet_chars=chars)
    for snippet in found.get("text", []):
        parts = re.split("(</?em>)", snippet)
        assert parts[1::4] == ["<em>"] * len(parts[1::4])
        assert len(parts[1::4]) == len(parts[3::4]) >= 1
        for part in parts[::2]:
            assert not re.search("[<>\"']|&(?!amp;|lt;|gt;|quot;|#x27;)", part)
    json.dumps(found).encode()


def test_snippets_are_the_best_parts_in_their_order() -> None:
    """Two snippets have the part with both words, and are cut at white space."""
    filler = "lorem ipsum dolor sit amet " * 10
    text = f"red {filler}red blue {filler}red red red {filler}"
    shown = highlights("red blue", {"text": text}, snippets=2, snippet_chars=40)["text"]
    assert shown == [
        "…dolor sit amet <em>red</em> <em>blue</em> lorem ipsum…",
        "…sit amet <em>red</em> <em>red</em> <em>red</em> lorem ipsum…",
    ]


def test_a_short_text_is_shown_as_a_whole() -> None:
    """It needs no cut."""
    assert highlights("red", {"text": "a red hat"}, snippets=5)["text"] == ["a <em>red</em> hat"]


def test_what_is_beyond_the_limit_has_no_marks() -> None:
    """A text is looked at up to the limit, and a word that it cuts is none."""
    text = "red " * 50
    shown = highlights("red", {"text": text}, max_chars=22)["text"]
    assert shown == ["<em>red</em> <em>red</em> <em>red</em> <em>red</em> <em>red</em> re…"]
    assert highlights("re", {"text": "x red"}, max_chars=4) == {}


@pytest.mark.parametrize("value", [None, 7, {"a": 1}, ["red", {"a": 1}], "red \ud800", [[]]])
def test_what_was_not_indexed_is_not_marked(value: Any) -> None:
    """A value that does not fit a text field is stored, and nothing matches in it."""
    assert highlights("red", {"text": value}) == {}


def test_numbers_in_a_text_field_are_marked_as_written() -> None:
    """As the index has them."""
    assert highlights("1984", {"text": [1984, True, 1.5]}) == {"text": ["<em>1984</em>"]}


def test_a_late_document_has_none() -> None:
    """The caller hears that there was no time, not that nothing matched."""
    highlighter = Highlighter(TEXT, Highlighting("red", False, None, WHOLE))
    assert highlighter.highlights(b'{"text": "red"}', lambda: True) is None


@pytest.mark.parametrize("text", ["red " * 50_000, "東京" * 50_000, "é" * 200_000, "<" * 200_000])
@pytest.mark.parametrize("snippets", [0, 100])
def test_a_huge_text_makes_a_bounded_answer(text: str, snippets: int) -> None:
    """Thousands of matches are marked up to a limit."""
    shown = highlights("red 東京 é", {"text": text}, snippets=snippets)
    assert len(json.dumps(shown, ensure_ascii=False)) < 1_000_000
