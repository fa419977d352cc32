"""Strict syntax says where; lenient syntax reads anything and loses no word of it."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query.syntax import check_filter, check_query, parse
from hedgerow.common.query.text import MAX_DEPTH
from hedgerow.common.query.tree import (
    Boosted,
    Clauses,
    Fuzzy,
    Node,
    Occur,
    OneOf,
    Prefix,
    Present,
    Range,
    Words,
)

COLLECTION = define(
    "c",
    {
        "fields": {
            "title": "text",
            "body": "text",
            "tag": "keyword",
            "year": "integer",
            "price": "float",
            "new": "boolean",
            "day": "date",
        }
    },
)


def leaves(node: Node) -> Iterator[Node]:
    """The leaves of a tree."""
    match node:
        case Clauses():
            for clause in node.clauses:
                yield from leaves(clause.node)
        case Boosted():
            yield from leaves(node.node)
        case _:
            yield node


def words_of(node: Node) -> list[str]:
    """The words that a tree searches in texts."""
    found = []
    for leaf in leaves(node):
        if isinstance(leaf, Words | Fuzzy | Prefix):
            found += re.findall(r"\w+", leaf.text)
    return found


def strict(query: str) -> Node:
    """The tree of a query in strict syntax."""
    return parse(query, COLLECTION, strict=True)[0]


def lenient(query: str) -> Node:
    """The tree of a query in lenient syntax."""
    return parse(query, COLLECTION, strict=False)[0]


@pytest.mark.parametrize(
    ("query", "position"),
    [
        ("a AND", 2),
        ("AND", 0),
        ("a NOT", 2),
        ("a - b", 2),
        ("a + b", 2),
        ("(a b", 4),
        ("a) b", 1),
        ('"a b', 4),
        ("nope:x", 0),
        ("a nope:x", 2),
        ("é nope:x", 2),
        ("é (a", 4),
        ("a year:soon", 2),
        ("price:[1 TO much]", 0),
        ("title:[a TO b]", 0),
        ("new:>true", 0),
        ("a /b.*/", 2),
        ("a >5", 2),
        ("day:2020-02-30", 0),
        ("(" * 30 + "a" + ")" * 30, MAX_DEPTH),
        ("_text:a", 0),
        ("_present:title", 0),
        ('tag:>="a b', 6),
        ("a tag:['a TO b]", 7),
        ('é tag:[a TO "b]', 12),
    ],
)
def test_strict_syntax_says_where_a_query_goes_wrong(query: str, position: int) -> None:
    """The refusal names the field of the request, and the character at which it went wrong."""
    with pytest.raises(BadRequestError) as refused:
        check_query(query, COLLECTION, strict=True, field="q")
    assert refused.value.field == "q"
    assert refused.value.position == position


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a b",
        "+a -b",
        "a AND (b OR NOT c)",
        '"a b"~2',
        "title:a^2",
        "title:(a b)",
        "year:1990",
        "year:-5",
        "year:>=1990",
        "year:[1 TO *]",
        "year:{1 TO 5}",
        "tag:IN [a b]",
        "tag:x*",
        "tag:a:b",
        "price:<1e3",
        "new:TRUE",
        "day:2020-01-01",
        "day:2020-01-01T00:00:00Z",
        "day:[2020-01-01 TO 2020-12-31T23:59:59Z]",
        "id:7",
        "title:*",
        "*",
        "it's",
        "C++",
        "smyth~1",
    ],
)
def test_strict_syntax_takes_what_the_language_has(query: str) -> None:
    """No warning, and the lenient reading is the same."""
    assert check_query(query, COLLECTION, strict=True)[1] == []
    assert lenient(query) == strict(query)


def test_values_have_their_fields_types() -> None:
    """The tree holds numbers, instants and truth values, not their spelling."""
    assert strict("year:-5") == OneOf("year", (-5,))
    assert strict("price:5") == OneOf("price", (5.0,))
    assert strict("new:False") == OneOf("new", (False,))
    assert strict("tag:IN [a b]") == OneOf("tag", ("a", "b"))
    assert strict("year:{1 TO 5]") == Range("year", 1, 5, include_lower=False)
    assert strict("tag:a*") == Prefix("tag", "a")
    assert strict('tag:"a*"') == OneOf("tag", ("a*",))
    assert strict("jon~2") == Fuzzy(None, "jon", 2)
    assert strict("title:*") == Present("title")


quotable = st.text(st.characters(codec="utf-8", exclude_categories=["Cn"]), max_size=12)


@settings(deadline=None)
@given(lower=quotable, upper=quotable, quote=st.sampled_from("\"'"))
@example("two words", "[(a]", '"').via("what ends a bare bound")
@example("a - b", "\x85", "'").via("what is repaired elsewhere")
@example("", "TO", '"').via("nothing, and an operator")
@example("*", "don't", "'").via("what means no bound, and the quote itself")
@example('"', "\\", '"').via("what must be escaped")
@example("2024-05-17", "\t\u3000\n", '"').via("white space other than spaces")
def test_a_bound_may_be_quoted(lower: str, upper: str, quote: str) -> None:
    """A range is between the texts in the quotes, whatever they hold, and beside anything else."""

    def quoted(text: str) -> str:
        return quote + re.sub(rf"([\\{quote}])", r"\\\1", text) + quote

    low, high = quoted(lower), quoted(upper)
    both = Range("tag", lower, upper)
    assert strict(f"tag:[{low} TO {high}]") == lenient(f"tag:[{low} TO {high}]") == both
    assert strict(f"tag:>={low}") == lenient(f"tag: >= {low}") == Range("tag", lower, None)
    assert strict(f"tag:<{low}") == Range("tag", None, lower, include_upper=False)
    tree = strict(f'don\'t (+"tag:>" -tag:{{{low} TO x}} AND year:>"5") it\'s')
    assert [leaf for leaf in leaves(tree) if isinstance(leaf, Range)] == [
        Range("tag", lower, "x", include_lower=False, include_upper=False),
        Range("year", 5, None, include_lower=False),
    ]
    assert words_of(tree) == ["don", "t", "tag", "it", "s"]


@pytest.mark.parametrize("sign", list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ "))
def test_any_sign_may_be_escaped(sign: str) -> None:
    """It is a part of the value, wherever it stands, and has no meaning of its own."""
    for value in (f"a{sign}b", f"{sign}a", f"a{sign}", f"a{sign}1", sign * 2):
        escaped = value.replace(sign, f"\\{sign}")
        for read in (strict, lenient):
            assert read(f"tag:{escaped}") == OneOf("tag", (value,))
            assert read(f"tag:IN [{escaped} x]") == OneOf("tag", (value, "x"))
            assert read(f"tag:[{escaped} TO *]") == read(f"tag:>={escaped}")
            assert read(f"tag:>={escaped}") == Range("tag", value, None)
            assert read(f"tag:{escaped}*") == Prefix("tag", value)
            assert read(escaped) == Words(None, value)


def test_a_backslash_before_a_letter_is_one() -> None:
    """The path of a file has all of its words."""
    assert words_of(lenient("C:\\temp\\new")) == ["C", "temp", "new"]
    assert strict("tag:a\\n") == OneOf("tag", ("a\\n",))


def test_a_date_with_a_fraction_equals_its_second() -> None:
    """Indexes keep dates to the second, so that is what a value is compared with."""
    assert strict("day:2024-05-17T10:00:00.75Z") == strict("day:2024-05-17T10:00:00Z")
    assert strict("day:1969-12-31T23:59:59.9Z") == strict('day:"1969-12-31T23:59:59Z"')


@pytest.mark.parametrize(
    ("text", "is_named"), [("2024-05-17T12:00:00", True), ("2024-05-17T25:00:00", False)]
)
def test_a_time_without_a_zone_is_refused_for_what_it_lacks(text: str, is_named: bool) -> None:
    """As `datetime` writes it by default."""
    for query in (f"day:{text}", f"day:>{text}", f"day:[{text} TO *]"):
        with pytest.raises(BadRequestError, match=f"'{text}' is not a value of the date") as raised:
            strict(query)
        assert ("time zone" in raised.value.reason) == is_named


def test_a_day_is_the_whole_day() -> None:
    """A date without a time matches every instant of it."""
    day = strict("day:2020-02-28")
    assert isinstance(day, Range)
    assert str(day.lower) == "2020-02-28 00:00:00+00:00"
    assert str(day.upper) == "2020-02-29 00:00:00+00:00"
    assert (day.include_lower, day.include_upper) == (True, False)


def test_a_range_of_days_takes_them_whole() -> None:
    """What is up to a day includes it, what is after it begins with the next; quoted or not."""
    first, after = strict("day:2024-02-28"), strict("day:2024-02-29")
    assert isinstance(first, Range)
    assert isinstance(after, Range)
    start, end, behind = first.lower, first.upper, after.upper
    assert strict("day:[2024-02-28 TO 2024-02-29]") == Range("day", start, behind, True, False)
    assert strict("day:{2024-02-28 TO 2024-02-29}") == Range("day", end, end, True, False)
    assert strict("day:>=2024-02-28") == Range("day", start, None)
    assert strict("day:>2024-02-28") == strict('day:>"2024-02-28"') == Range("day", end, None)
    assert strict("day:<2024-02-28") == Range("day", None, start, include_upper=False)
    assert strict("day:<=2024-02-28") == Range("day", None, end, include_upper=False)
    time = "2024-02-28T00:00:00Z"
    assert strict(f"day:<={time}") == Range("day", None, start)
    assert strict(f"day:>{time}") == Range("day", start, None, include_lower=False)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("f(x) of y", ["f", "x", "of", "y"]),
        ("note: see [3], p. 4", ["note", "see", "3", "p", "4"]),
        ('a 5" pipe "of steel', ["a", "5", "pipe", "of", "steel"]),
        ("http://example.org/x y", ["http", "example", "org", "x", "y"]),
        ("/usr/bin x", ["usr", "bin", "x"]),
        ("a :", ["a"]),
        ("values >5 and <10", ["values", "5", "and", "10"]),
        ("year: unknown", ["year", "unknown"]),
        ("[a TO b]", ["a", "b"]),
        ("2 * 3", ["2", "3"]),
        ("C++ is - not", ["C", "is", "not"]),
        ("AND b", ["and", "b"]),
        ("(" * 200 + "deep", ["deep"]),
    ],
)
def test_lenient_syntax_reads_plain_text_as_its_words(query: str, words: list[str]) -> None:
    """An operator without meaning in its place is a space; no word is excluded or required."""
    tree = lenient(query)
    assert words_of(tree) == words
    assert "MUST" not in repr(tree)


def test_what_was_repaired_is_said() -> None:
    """A repaired query comes with a warning, one in order with none."""
    assert check_query("f(x", COLLECTION, strict=False)[1] == []
    assert check_query("f(x) of y", COLLECTION, strict=False)[1] != []
    _, (warning,) = check_query("a nope:x", COLLECTION, strict=False)
    assert "nope" in warning


plain_words = st.from_regex(r"[b-mé]{1,5}", fullmatch=True)
punctuation = st.text(st.sampled_from(" +-(){}[]^\"'~*:\\/<>=`.,;?!&|#"), max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(plain_words, punctuation), max_size=10))
@example([("b", "/"), ("c", "/ ")])
@example([("b", '" ('), ("c", "^")])
def test_no_word_of_any_text_is_lost(parts: list[tuple[str, str]]) -> None:
    """Lenient syntax never raises, and searches or excludes every word that is written."""
    text = "".join(word + mark + " " for word, mark in parts)
    tree = lenient(text)
    values = [str(leaf.values) for leaf in leaves(tree) if isinstance(leaf, OneOf)]
    found = set(words_of(tree)) | set(re.findall(r"\w+", " ".join(values)))
    assert {word for word, _ in parts} <= found


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_text_at_all_breaks_the_reading(text: str) -> None:
    """Any Unicode gives a tree, or in strict syntax a refusal whose position lies in the text."""
    lenient(text)
    refusals: list[BadRequestError] = []
    try:
        strict(text)
    except BadRequestError as refused:
        refusals.append(refused)
    assert all(one.position is None or 0 <= one.position <= len(text) for one in refusals)


def test_a_repeated_word_is_kept_as_often_as_it_is_written() -> None:
    """BM25 counts a word of the query each time; an operator is none."""
    assert words_of(lenient("ring of ring or ring")) == ["ring", "of", "ring", "or", "ring"]
    assert words_of(strict("ring ring ring ring")) == ["ring"] * 4
    assert words_of(lenient("+to +be +or +not +to +be")) == ["to", "be", "or", "not", "to", "be"]
    assert strict("a AND b AND c") == strict("(a AND b AND c)")
    assert "MUST_NOT" in repr(strict("a NOT b NOT c"))


def test_operators_say_what_is_demanded() -> None:
    """Signs and the words AND, OR and NOT give the clauses their occurrence."""
    tree = strict("+a -b c")
    assert isinstance(tree, Clauses)
    assert [clause.occur for clause in tree.clauses] == [Occur.MUST, Occur.MUST_NOT, Occur.SHOULD]
    tree = strict("a AND b")
    assert isinstance(tree, Clauses)
    assert [clause.occur for clause in tree.clauses] == [Occur.MUST, Occur.MUST]


@pytest.mark.parametrize("lone", ["+東京都", "+high-speed", "+title:a-b", "(+a-b)", " +a-b^2"])
def test_a_lone_word_keeps_its_sign(lone: str) -> None:
    """It is required, as beside others: of a word that is split, all parts have to match."""
    for tree in (strict(lone), lenient(lone)):
        assert isinstance(tree, Clauses)
        assert [clause.occur for clause in tree.clauses] == [Occur.MUST]
    assert not isinstance(strict(lone.replace("+", "")), Clauses)


def test_a_filter_is_strict_and_may_be_empty() -> None:
    """A field that does not exist is refused under the name `filter`."""
    check_filter("", COLLECTION)
    check_filter("year:>=1990 AND tag:x", COLLECTION)
    with pytest.raises(BadRequestError) as refused:
        check_filter("yaer:>=1990", COLLECTION)
    assert refused.value.field == "filter"


def test_fields_that_are_not_inferred_yet_are_unknown() -> None:
    """A collection that has seen no document takes words, and `id`, and no other field."""
    empty = define("c", {})
    check_query("a id:1", empty, strict=True)
    with pytest.raises(BadRequestError):
        check_query("title:a", empty, strict=True)
