"""What is searched for suggestions, and what is made of the hits."""

import msgspec
import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query.syntax import parse
from hedgerow.gateway.access.caller import ANONYMOUS
from hedgerow.gateway.search.result import Hit, SearchQuery
from hedgerow.gateway.search.suggesting import (
    MAX_WORDS,
    check_field,
    suggesting_query,
    suggestions_of,
)
from tests.support.sample_results import make_result

COLLECTION = define("films", {"fields": {"title": "text"}}, uid="u")


def query_for(prefix: str, field: str = "title") -> SearchQuery:
    """The search for what was typed."""
    return suggesting_query(
        "films",
        field,
        prefix,
        k=20,
        deadline_ms=100.0,
        caller=ANONYMOUS,
        peer="",
        traceparent="",
    )


@pytest.mark.parametrize(
    "prefix", ["Wings of de", "NOT this", 'a"b', "or", "a:b*", "日本", "x OR (y"]
)
def test_whatever_is_typed_is_a_valid_query_for_one_field(prefix: str) -> None:
    """Syntax counts as a space, and operators are words."""
    query = query_for(prefix)
    parse(query.query, COLLECTION, strict=True)
    assert (query.fields, query.prefix, query.typos) == (("title",), True, "auto")


@pytest.mark.parametrize(
    ("prefix", "field", "culprit"),
    [
        ("...", "title", "prefix"),
        ("a " * (MAX_WORDS + 1), "title", "prefix"),
        ("a", "a:b", "field"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(prefix: str, field: str, culprit: str) -> None:
    """Nothing typed, too much typed, or a field that would change the query."""
    with pytest.raises(BadRequestError) as caught:
        query_for(prefix, field)
    assert caught.value.field == culprit


def test_texts_are_suggested_once_and_at_most_as_many_as_wanted() -> None:
    """The best document stands for a text; documents without one are passed over."""
    result = msgspec.structs.replace(
        make_result(),
        hits=[
            Hit("1", 3.0, 0, {"title": "Wings"}),
            Hit("2", 2.0, 1, {"title": "WINGS"}),
            Hit("3", 1.5, 1, {}),
            Hit("4", 1.0, 1, None),
            Hit("5", 0.5, 1, {"title": "Wing"}),
            Hit("6", 0.2, 1, {"title": "Winged"}),
        ],
    )
    answer = suggestions_of(result, "title", 2)
    assert [(one.text, one.id) for one in answer.suggestions] == [("Wings", "1"), ("Wing", "5")]
    assert answer.coverage == result.coverage


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("studio", "'studio' is not a text field of the collection"),
        ("id", "'id' is not a text field of the collection"),
        ("titel", "'titel' is not a text field of the collection (nearest: title)"),
    ],
)
def test_a_field_without_texts_is_refused(field: str, reason: str) -> None:
    """A keyword has no beginnings of words, so that nothing would be suggested without a reason."""
    films = define("films", {"fields": {"title": "text", "studio": "keyword"}}, uid="u")
    with pytest.raises(BadRequestError) as caught:
        check_field(field, films)
    assert (caught.value.field, caught.value.reason) == ("field", reason)


def test_any_field_may_be_named_before_the_first_documents() -> None:
    """A collection without fields gets them later; nothing is suggested until then."""
    check_field("title", define("films", {}, uid="u"))
    check_field("title", COLLECTION)
