"""Hits come in the order of the sort keys, then by id, whatever the number of shards."""

from collections.abc import Mapping
from functools import cache, cmp_to_key
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hedgerow.common.fields.field_types import parse_date
from hedgerow.gateway.shapes.sorting import SortBy
from tests.unit.gateway.search.options.corpus import matches
from tests.unit.support.real_shards import RealShards

FIELDS = ("brand", "tags", "code", "year", "price", "new", "sold", "id")
keys = st.lists(
    st.tuples(st.sampled_from(FIELDS), st.booleans(), st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda key: key[0],
)
words = st.sampled_from(("*", "red", "blue", "old"))
Row = tuple[str, tuple[Any, ...]]  # an id, and what it is sorted by


@cache
def second_of(text: str) -> str:
    """A date as answers have it."""
    date = parse_date(text)
    assert date is not None
    return date.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def value_of(row: Mapping[str, Any], field: str) -> Any:
    """What a document is sorted by; None if it has no value."""
    value = row.get(field)
    if isinstance(value, list):
        return min(value)
    if field == "sold" and value is not None:
        return second_of(value)
    if field == "price" and value is not None:
        return float(value) + 0.0
    return value


def compare(first: Any, second: Any, key: tuple[str, bool, bool]) -> int:
    """Below 0 if the first value comes first."""
    _, is_descending, is_missing_first = key
    if first is None or second is None:
        if first is second:
            return 0
        return -1 if (first is None) == is_missing_first else 1
    sign: int = (first > second) - (first < second)
    return -sign if is_descending else sign


def expected(
    documents: Mapping[str, Mapping[str, Any]], word: str, order: list[tuple[str, bool, bool]]
) -> list[Row]:
    """The ids of all matches in order, with their values, found by comparing documents."""

    def compare_rows(first: Row, second: Row) -> int:
        for one, other, key in zip(first[1], second[1], order, strict=True):
            found = compare(one, other, key)
            if found:
                return found
        by_id: int = (first[0] > second[0]) - (first[0] < second[0])
        return by_id

    found = [
        (row["id"], tuple(value_of(row, field) for field, _, _ in order))
        for row in documents.values()
        if matches(row, word)
    ]
    return sorted(found, key=cmp_to_key(compare_rows))


def as_sort(order: list[tuple[str, bool, bool]]) -> tuple[Any, ...]:
    """The member `sort` of a search."""
    return tuple(
        {field: {"order": "desc" if down else "asc", "missing": "first" if first else "last"}}
        for field, down, first in order
    )


def sorted_search(found: RealShards, word: str, order: Any, **members: Any) -> Any:
    """The hits' ids and values, in order."""
    sort = tuple({field: SortBy(**how)} for one in as_sort(order) for field, how in one.items())
    result = found.search(word, sort=sort, **members)
    assert result.coverage.is_full, result.detail
    return [(hit.id, hit.sort) for hit in result.hits], result


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=keys, word=words, k=st.integers(1, 60), offset=st.integers(0, 60))
def test_hits_come_in_the_order_asked_for(
    goods_shards: RealShards, order: list[tuple[str, bool, bool]], word: str, k: int, offset: int
) -> None:
    """Sorting compares as one would by hand, one document with another."""
    wanted = expected(goods_shards.documents, word, order)
    found, result = sorted_search(goods_shards, word, order, k=k, offset=offset)
    assert found == wanted[offset : offset + k]
    assert result.total_hits.value == len(wanted)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=keys, word=words, k=st.integers(15, 90))
def test_pages_by_fields_have_each_match_once(
    goods_shards: RealShards, order: list[tuple[str, bool, bool]], word: str, k: int
) -> None:
    """The pages one after another are the whole list, cut."""
    wanted = expected(goods_shards.documents, word, order)
    found: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page, result = sorted_search(goods_shards, word, order, k=k, search_after=cursor)
        found += page
        assert result.next_page.is_whole
        cursor = result.next_page.cursor
    assert found == wanted
