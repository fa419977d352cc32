"""Checks of queries and filters that are remembered: the same results, as long as they hold."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.query import syntax
from hedgerow.common.query.cost import Cost
from hedgerow.gateway.search import checked_queries
from hedgerow.gateway.search.checked_queries import LONGEST, MOST, check_filter, check_query

BOOKS = Collection(
    name="books", uid="u1", fields={"title": FieldType.TEXT, "year": FieldType.INTEGER}
)
QUERIES = ("desk lamp", "lamp, desk", "+lamp titel:x", "wing~1 year:[1990 TO 2000]", '"', "NOT")


@pytest.fixture
def num_checked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many queries and filters were really checked."""
    checked: list[str] = []
    for name in ("check_query", "check_filter"):
        real = getattr(syntax, name)

        def counted(text: str, *rest: object, real: Callable[..., object] = real) -> object:
            checked.append(text)
            return real(text, *rest)

        monkeypatch.setattr(syntax, name, counted)
    monkeypatch.setattr(checked_queries, "_queries", checked_queries.Checked())
    monkeypatch.setattr(checked_queries, "_filters", checked_queries.Checked())
    return lambda: len(checked)


def outcome(
    check: Callable[[str, Collection, bool], tuple[Cost, list[str]]], query: str, strict: bool
) -> tuple[Cost, list[str]] | str:
    """What a check finds, or why it refuses."""
    try:
        return check(query, BOOKS, strict)
    except BadRequestError as error:
        return str(error)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_remembered_is_what_the_check_finds(query: str, strict: bool) -> None:
    """Cost and repairs, the first and the second time; errors too, and the list is the caller's."""
    expected = outcome(syntax.check_query, query, strict)
    for _ in range(3):
        found = outcome(check_query, query, strict)
        assert found == expected
        if isinstance(found, tuple):
            found[1].append("another")


def test_a_query_is_parsed_once(num_checked: Callable[[], int]) -> None:
    """Filters likewise; the same text is another query in another syntax."""
    for _ in range(3):
        check_query("title:lamp", BOOKS, strict=False)
        check_filter("year:[1990 TO 2000]", BOOKS)
    assert num_checked() == 2
    check_query("title:lamp", BOOKS, strict=True)
    assert num_checked() == 3


def test_a_collection_that_changes_has_its_queries_checked_again() -> None:
    """A field that is added is no longer unknown; another collection knows nothing of it."""
    assert check_query("author:x", BOOKS, strict=False)[1]
    with pytest.raises(BadRequestError):
        check_filter("author:x", BOOKS)
    more = replace(BOOKS, fields={**(BOOKS.fields or {}), "author": FieldType.TEXT}, revision=1)
    for _ in range(2):
        assert not check_query("author:x", more, strict=False)[1]
        check_filter("author:x", more)
    assert check_query("author:x", BOOKS, strict=False)[1]
    assert check_query("author:x", replace(BOOKS, uid="u2"), strict=False)[1]


def test_few_and_short_ones_are_remembered(num_checked: Callable[[], int]) -> None:
    """What was not asked for the longest time is forgotten first; long ones at once."""
    for number in range(2 * MOST):
        check_query(f"title:w{number}", BOOKS, strict=False)
        check_query("title:often", BOOKS, strict=False)
    assert num_checked() == 2 * MOST + 1
    assert len(checked_queries._queries) == MOST
    long = "title:" + "x" * LONGEST
    for _ in range(2):
        check_query(long, BOOKS, strict=False)
    assert num_checked() == 2 * MOST + 3
