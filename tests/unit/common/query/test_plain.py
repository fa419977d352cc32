"""Plain queries are read without the parser, and as the parser has them read."""

import json
import re
from itertools import starmap
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query import syntax as query_syntax
from hedgerow.common.query.plain import is_plain, read_plain
from hedgerow.common.query.syntax import check_query, parse
from hedgerow.common.query.tree import Node

COLLECTION = define("c", {"fields": {"title": "text", "body": "text", "year": "integer"}})
OPERATORS = {"AND", "OR", "NOT", "IN", "TO"}
CLAIMS = Path(__file__).parents[3] / "data" / "scifact" / "queries.jsonl"


def _read_nothing(_query: str) -> None:
    """Find no query plain."""


def parsed(query: str, *, strict: bool) -> tuple[Node, list[str]] | BadRequestError:
    """What the parser makes of a query, however plain."""
    with patch.object(query_syntax, "read_plain", _read_nothing):  # a mock takes as long as a query
        try:
            return parse(query, COLLECTION, strict=strict)
        except BadRequestError as refused:
            return refused


words = st.one_of(
    st.sampled_from(["a", "b", "title", "_", "5", "é", "ANDa", "INTO", "TOO", "and", "or", "not"]),
    st.text(st.characters(categories=("L", "N", "Mn", "Pc")), min_size=1, max_size=4),
)
phrases = st.lists(words, min_size=1, max_size=3).map(lambda listed: f'"{" ".join(listed)}"')
plain_parts = st.tuples(st.sampled_from(["", "", "+", "-"]), st.one_of(words, phrases)).map("".join)
# What is plain but for one of these, the parser must be left to see.
strays = st.one_of(
    st.sampled_from(["AND", "OR", "NOT", "IN", "TO", '"a AND b"', '"a - b"', '""', '" a"', "a*"]),
    st.sampled_from(["a~1", '"a b"~2', "a^2", "title:a", "it's", "high-speed", "+", "-", "+-a"]),
    st.sampled_from(
        ["\ufdd0", "a\ufdd1", "\u3000", "\xa0", "\x85", "\t", "a\tb", "\n", "*", "\\a"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=3),
)
spaces = st.sampled_from([" ", " ", " ", "  ", ""])


@st.composite
def queries(draw: st.DrawFn) -> str:
    """Plain parts, some repeated, in any order, rarely with stray characters among them."""
    parts = draw(st.lists(plain_parts, max_size=5))
    parts += draw(st.lists(st.sampled_from(parts), max_size=3)) if parts else []
    parts += draw(st.one_of(st.just([]), st.lists(strays, max_size=2)))
    shuffled = draw(st.permutations(parts))
    return "".join(draw(spaces) + part for part in shuffled) + draw(spaces)


@settings(max_examples=300)
@given(queries())
@example("a b a")
@example("+a +a a")
@example("-a -a")
@example('"a b" "a b"')
@example('"x a y" "x a y"')
@example('"a" a')
@example("-a")
@example("+a")
@example("")
@example(" ")
def test_a_plain_query_is_read_as_the_parser_has_it_read(query: str) -> None:
    """The tree is the very same, in strict and lenient syntax, and there is nothing to warn of."""
    if is_plain(query):
        for strict in (True, False):
            assert parsed(query, strict=strict) == (parse(query, COLLECTION, strict=strict)[0], [])
            assert check_query(query, COLLECTION, strict)[1] == []
    else:
        assert read_plain(query) is None


@given(st.lists(plain_parts, min_size=1, max_size=6, unique=True))
@example(["+a", "-_5", '"é 7"', "INTO"])
def test_words_and_phrases_with_signs_are_plain(parts: list[str]) -> None:
    """Letters, digits and underscores make a word, operators aside; the parser is not asked."""
    query = " ".join(parts)
    words = query.translate(str.maketrans('+-"_', "   a")).split()
    assume(all(one.isalnum() and one not in OPERATORS for one in words))
    with patch.object(query_syntax, "QueryReader", side_effect=AssertionError):
        parse(query, COLLECTION, strict=False)


@pytest.mark.parametrize(
    "query",
    [
        "a AND b",
        "NOT a",
        "a IN b",
        "a TO b",
        "a - b",
        "C++",
        "it's",
        "high-speed",
        "*",
        "a* b",
        "a~1",
        "a^2",
        "title:a",
        "(a b)",
        '"a b"~2',
        '"a - b"',
        '"a NOT b"',
        '"a',
        "",
        " ",
        "\ufdd0",
        "a\xa0b",
        '"a"b',
        'a"b"',
    ],
)
def test_what_may_be_syntax_is_left_to_the_parser(query: str) -> None:
    """An operator, a stray character or no word at all is not plain."""
    assert not is_plain(query)
    assert read_plain(query) is None


@pytest.mark.parametrize("form", ["{0} {1}", "+{0} +{1}", '"{0} {1}"', '+"{0} {1}" -{2}'])
def test_words_of_real_texts_are_read_as_the_parser_has_them_read(form: str) -> None:
    """Words that follow each other in a claim, as people ask for them, give the parser's tree."""
    for line in CLAIMS.read_text(encoding="utf-8").splitlines()[::4]:
        found = re.findall(r"\w+", json.loads(line)["text"])
        for query in starmap(form.format, zip(found, found[1:], found[2:], strict=False)):
            assert is_plain(query)
            for strict in (True, False):
                assert parsed(query, strict=strict) == parse(query, COLLECTION, strict=strict)


def test_real_texts_are_read_as_the_parser_has_them_read() -> None:
    """Each claim gives the parser's tree, or is left to the parser; both happen."""
    claims = [json.loads(line)["text"] for line in CLAIMS.read_text(encoding="utf-8").splitlines()]
    plain = [claim for claim in (text.rstrip(".") for text in claims) if is_plain(claim)]
    assert len(claims) / 4 < len(plain) < len(claims)
    for query in plain:
        assert parsed(query, strict=False) == parse(query, COLLECTION, strict=False)
