"""What a query costs is counted before it is sent, and never below what the scorer will do."""

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query.as_typed import MAX_FUZZY_CHARS
from hedgerow.common.query.cost import Cost, check_cost, estimate
from hedgerow.common.query.syntax import check_query, parse
from hedgerow.common.settings.query_limits import QuerySettings

COLLECTION = define(
    "c",
    {
        "fields": {
            "title": "text",
            "body": "text",
            "tag": "keyword",
            "year": "integer",
            "day": "date",
        }
    },
)


def cost(query: str) -> Cost:
    """The cost of a query in strict syntax."""
    return check_query(query, COLLECTION, strict=True)[0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a", Cost(clauses=1)),
        ("+a -b c", Cost(clauses=3)),
        ('"a b c"', Cost(clauses=5)),
        ('title:"a b c"', Cost(clauses=3)),
        ('"a b c"*', Cost(clauses=5, prefix_terms=3)),
        ("a_b c", Cost(clauses=3)),
        ("high-speed", Cost(clauses=2)),
        ("title:(a b) AND c", Cost(clauses=3)),
        ("a~1", Cost(fuzzy_edits=1, longest_fuzzy=1)),
        ("abc~2 title:d~1", Cost(fuzzy_edits=3, longest_fuzzy=3)),
        ("a_b~2", Cost(fuzzy_edits=4, longest_fuzzy=3)),
        ("tag:a-b~2", Cost(fuzzy_edits=2, longest_fuzzy=3)),
        ("a* title:b*", Cost(prefix_terms=2)),
        ("tag:a*", Cost(scans=1)),
        ('"a b"*', Cost(clauses=2, prefix_terms=1)),
        ('"a b"~5', Cost(clauses=4, sloppy_words=2)),
        ('body:"a b"~5', Cost(clauses=2, sloppy_words=2)),
        ('"a"~5', Cost(clauses=1)),
        ("year:1", Cost(clauses=1)),
        ("tag:IN [a b c]", Cost(clauses=3)),
        ("year:[1 TO 2] tag:>x", Cost(scans=2)),
        ("day:2020-01-01", Cost(scans=1)),
        ("title:* *", Cost(scans=2)),
        ("NOT a", Cost(clauses=1, scans=1)),
        ("+x -b", Cost(clauses=2)),
        ("+a -b", Cost(clauses=2, scans=1)),  # a stop word
        ("(.~ the a* -b) -c", Cost(clauses=3, fuzzy_edits=1, prefix_terms=1, longest_fuzzy=1)),
        ("(.~ the -b) -c", Cost(clauses=3, fuzzy_edits=1, scans=1, longest_fuzzy=1)),
        ("(a OR (b AND c^2))^3", Cost(clauses=3)),
    ],
)
def test_each_kind_is_counted(query: str, expected: Cost) -> None:
    """Words and values, edits, beginnings, scans, and words of loose phrases, each on its own."""
    assert cost(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "a b",
        "+a -b",
        "-a b",
        "-a",
        "-a -b",
        '"a b" c',
        '"a b c" +"d e_f"',
        "a_b c",
        "x" * 99,
        "中文 字",
        "a " * 9,
    ],
)
def test_a_plain_query_is_counted_without_its_tree(query: str) -> None:
    """The short cut gives the cost of the tree, or a little more."""
    of_tree = estimate(parse(query, COLLECTION, strict=True)[0], COLLECTION)
    for counted, needed in zip(cost(query), of_tree, strict=True):
        assert needed <= counted <= needed + 1


def test_costs_add_up() -> None:
    """A query and its filter cost together what both do; the longest word is the longer one."""
    both = Cost(1, 2, 3, 4, 5, 6).plus(Cost(10, 20, 30, 40, 50, 60))
    assert both == Cost(11, 22, 33, 44, 55, 60)


def test_time_grows_with_the_documents_and_with_each_kind() -> None:
    """No kind of query is free, and twice the documents take twice the time."""
    for kind in range(5):
        one = Cost(*(int(place == kind) for place in range(5)))
        assert 0 < one.cpu_s(1000) < one.plus(one).cpu_s(1000)
        assert one.cpu_s(2000) == pytest.approx(2 * one.cpu_s(1000))


def test_a_long_fuzzy_word_is_refused() -> None:
    """An automaton of thousands of characters takes a scorer as long as a hundred words."""
    check_cost(cost("a" * MAX_FUZZY_CHARS + "~2"), QuerySettings(), "query")
    with pytest.raises(BadRequestError, match=str(MAX_FUZZY_CHARS)):
        check_cost(cost("a" * (MAX_FUZZY_CHARS + 1) + "~2"), QuerySettings(), "query")


def test_the_most_that_the_defaults_let_in_is_some_tens_of_milliseconds() -> None:
    """All limits at once, on 20,000 documents."""
    limits = QuerySettings()
    most = Cost(
        limits.max_clauses,
        limits.max_fuzzy_edits,
        limits.max_prefix_terms,
        limits.max_scans,
        limits.max_sloppy_words,
    )
    assert most.cpu_s(20_000) < 0.1
