"""What the parser is given is bounded, whatever the caller sends; what is not given it is words."""

import re
from unittest.mock import patch

import pytest
import tantivy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query import syntax as query_syntax
from hedgerow.common.query.syntax import check_query, parse
from hedgerow.common.query.text import (
    MAX_DEPTH,
    MAX_SLASH_WORK,
    MAX_SYNTAX,
    MAX_WORDS,
    SYNTAX,
    WHITE,
    excess,
    with_spaces,
)
from hedgerow.common.query.tree import Clauses, Words

COLLECTION = define("c", {"fields": {"title": "text", "tag": "keyword", "year": "integer"}})
MOST_CHARS = 4096
# Units that were found to take tantivy's parser long, among what a query is made of.
UNITS = [
    "/",
    "/a/",
    "/a",
    "/a/-",
    "-/",
    "a\n",
    "a\t/",
    "(\n",
    "()",
    "(",
    ")",
    "''",
    '""',
    "a^2 ",
    "{}",
    "a^2^2",
    "a:b:c AND a ",
    "'-a a",
    '"\n"',
    '"a',
    "\\",
    "\\\n",
    "a ",
    "word ",
    "xx~2 ",
    "tag:IN [a b] ",
    "year:[1 TO 2] ",
    "NOT ",
    "AND ",
    "+a ",
    "- ",
    "\u3000+a ",
    "中",
    "||!\xa0",
]
repeated = st.tuples(st.sampled_from(UNITS), st.sampled_from(UNITS), st.integers(1, 3000)).map(
    lambda drawn: ((drawn[0] * drawn[2]) + drawn[1] * 3000)[:MOST_CHARS]
)
mixed = st.lists(st.sampled_from(UNITS), max_size=40).map("".join)


def given_to_the_parser(query: str, *, strict: bool) -> list[str]:
    """The texts that the parser reads for a query."""
    texts: list[str] = []

    def parser(text: str) -> object:
        texts.append(text)
        return tantivy.parse_query_lenient(text)

    with patch.object(query_syntax, "tantivy") as patched:
        patched.parse_query_lenient = parser
        try:
            parse(query, COLLECTION, strict=strict)
        except BadRequestError:
            assert strict
    return texts


@settings(deadline=None, max_examples=300)
@given(query=st.one_of(repeated, mixed), strict=st.booleans())
@example(query="/" * MOST_CHARS, strict=False)
@example(query="a\n" * 2048, strict=True)
@example(query="/a/" * 1365, strict=True)
@example(query="()" * 2048, strict=False)
@example(query="()" * 700, strict=False)
@example(query="/" * 511, strict=False)
def test_the_parser_is_given_what_it_reads_in_some_milliseconds(query: str, strict: bool) -> None:
    """No text that it is given has much of what makes it slow, and all of them are not long."""
    texts = given_to_the_parser(query, strict=strict)
    for text in texts:
        assert len(text.split()) <= MAX_WORDS
        assert sum(character in SYNTAX for character in text) <= MAX_SYNTAX
        assert len(re.findall("[\t-\r\x85\u2028]", text)) * len(text) <= 8 * MOST_CHARS
        assert len(re.findall(r"(?:^|(?<=[\s/+\"'()-]))/", text)) * len(text) <= MAX_SLASH_WORK
    # The query, itself with its repeated words marked, and repairs of as many characters.
    assert sum(map(len, texts)) <= len(query) + 2 * MOST_CHARS


@pytest.mark.parametrize(
    ("query", "position", "reason"),
    [
        ("(a) " * MAX_WORDS + "(b)", 4 * MAX_WORDS, "words"),
        ("()" * MAX_SYNTAX, MAX_SYNTAX, "syntax"),
        ("/aa " * 500, 4 * 131, "slash"),
        ("(" * 30 + "a" + ")" * 30, MAX_DEPTH, "deep"),
        (")" * 30 + "(" * 30, 30 + MAX_DEPTH, "deep"),
        ("(\\) " * 30, 4 * MAX_DEPTH, "deep"),
    ],
)
def test_a_text_that_is_too_much_for_the_parser_is_refused_or_read_as_words(
    query: str, position: int, reason: str
) -> None:
    """Strict syntax names the limit and where it is passed; lenient syntax warns of it."""
    with pytest.raises(BadRequestError, match=reason) as refused:
        check_query(query, COLLECTION, strict=True)
    assert refused.value.position == pytest.approx(position, abs=1)
    tree, (warning,) = parse(query, COLLECTION, strict=False)
    assert reason in warning
    assert "read as plain text" in warning
    assert isinstance(tree, Clauses | Words)


def test_the_limits_are_where_they_say() -> None:
    """A text at each limit passes, and one thing more does not."""
    assert excess("(a) " * MAX_WORDS) is None
    assert excess("(a) " * MAX_WORDS + "b") is not None
    assert excess("a+" * MAX_SYNTAX) is None
    assert excess("a+" * MAX_SYNTAX + "+") is not None
    assert excess("(" * MAX_DEPTH) is None
    assert excess("(" * (MAX_DEPTH + 1)) is not None
    assert excess(("/a " * 64).ljust(MOST_CHARS, "b")) is None
    assert excess(("/a " * 65).ljust(MOST_CHARS, "b")) is not None


@given(st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n\t\"'\\ab\u3000"))))
@example('"a\nb" c\nd')
def test_line_breaks_become_spaces_but_in_quotes(text: str) -> None:
    """Every character stays where it was, and what is between quotes stays as it was."""
    spaced = with_spaces(text)
    assert len(spaced) == len(text)
    for before, after in zip(text, spaced, strict=True):
        assert after == before or (after == " " and re.match(f"[{WHITE}]", before))
    if not set("\"'\\") & set(text):
        assert not re.search("[\n\t\u3000]", spaced)


def test_a_keyword_with_a_line_break_can_be_asked_for() -> None:
    """Quotes keep it."""
    assert "'a\\nb'" in repr(parse('tag:"a\nb"\nc', COLLECTION, strict=True)[0])


def test_the_words_of_a_long_text_with_stray_syntax_are_all_searched() -> None:
    """Prose of the full length, with quotes and brackets that are no syntax, loses no word."""
    prose = " ".join(f"it's w{number} (see" for number in range(300))[:MOST_CHARS]
    tree, warnings = parse(prose, COLLECTION, strict=False)
    assert warnings
    assert isinstance(tree, Clauses)
    found = [word for clause in tree.clauses for word in re.findall(r"\w+", clause.node.text)]  # type: ignore[union-attr]
    assert found == re.findall(r"\w+", prose)


def test_a_tree_that_is_deeper_than_its_brackets_show_is_refused() -> None:
    """Quotes that mislead the count of brackets do not cause unbounded recursion."""
    query = "[' TO b] (" * 200
    with pytest.raises(BadRequestError):
        check_query(query, COLLECTION, strict=True)
    tree, warnings = parse(query, COLLECTION, strict=False)
    assert warnings
    assert isinstance(tree, Clauses)


def test_no_more_than_some_warnings_are_given() -> None:
    """Hundreds of unknown fields are not listed one by one."""
    _, warnings = check_query(" ".join(f"f{number}:x" for number in range(400)), COLLECTION, False)
    assert 2 < len(warnings) < 20
    assert "more" in warnings[-1]


def test_a_warning_quotes_no_more_than_the_beginning_of_a_query() -> None:
    """Thousands of characters that are no number do not come back once more."""
    _, (warning,) = check_query(f"year:{'9' * 4000}", COLLECTION, strict=False)
    assert len(warning) < 300
    with pytest.raises(BadRequestError) as refused:
        check_query(f"year:{'9' * 4000}", COLLECTION, strict=True)
    assert len(refused.value.reason) < 300


def test_an_operator_right_behind_a_boost_is_refused() -> None:
    """The parser takes it for a word, though none stands there by itself."""
    with pytest.raises(BadRequestError, match="space"):
        check_query("a^2OR", COLLECTION, strict=True)
    assert check_query("a^2OR", COLLECTION, strict=False)[1]
