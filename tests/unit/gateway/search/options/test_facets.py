"""Facets count all matches, in all shards together, and their bounds are never violated."""

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hedgerow.common.errors import BadQueryError, BadRequestError
from hedgerow.common.fields.field_types import parse_date
from hedgerow.common.query.syntax import parse
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.wire.search_options import FacetKind, FacetPart, WantedFacet
from hedgerow.gateway.search.options import facets as facets_module
from hedgerow.gateway.search.options.facets import (
    Counted,
    check_facets,
    facet_answers,
    merge_facets,
)
from hedgerow.gateway.shapes.facets import Facet, FacetAnswer, FacetBucket, FacetRange, FacetStats
from hedgerow.shard_worker.scoring.facets import count_facets
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from tests.unit.gateway.search.options.corpus import COLLECTION, matches
from tests.unit.support.real_shards import RealShards

words = st.sampled_from(("*", "red", "blue", "old", "none"))
numbers = st.sampled_from([-5, -2.25, -0.0, 0, 0.5, 1, 1.5, 2, 1990, 2005, 2020.5, 10**12])
dates = st.sampled_from(
    ["1969-12-31", "1970-01-01", "2015-06-01T12:00:00Z", "2020-02-29T12:00:00.5Z", "2261-12-31"]
)


def facet_of(found: RealShards, word: str, field: str, facet: Facet) -> FacetAnswer:
    """The answer to a search with one facet."""
    result = found.search(word, facets={field: facet}, k=1)
    assert result.coverage.is_full, result.detail
    answers = result.facets
    assert isinstance(answers, dict)
    return answers[field]


def values_in(found: RealShards, word: str, field: str) -> list[Any]:
    """The field's values in all matches, each once a document."""
    values: list[Any] = []
    for row in found.documents.values():
        value = row.get(field)
        if value is None or not matches(row, word):
            continue
        values += set(value) if isinstance(value, list) else [value]
    return values


def count_everywhere(
    found: RealShards, query: str, wanted: WantedFacet
) -> list[tuple[FacetPart, ...]]:
    """Each shard's part of a facet."""
    node = parse(query, COLLECTION, strict=True)[0]
    indexes = [found.index(shard) for shard in range(found.num_shards)]
    return [
        count_facets(index, QueryBuilder(index, None).build(node), [wanted]) for index in indexes
    ]


@cache
def second_of(text: str) -> Any:
    """A date as indexes keep it."""
    date = parse_date(text)
    assert date is not None
    return date.replace(microsecond=0)


def shown(value: Any, field: str) -> Any:
    """A value as answers have it."""
    if field == "sold":
        return second_of(value).isoformat().replace("+00:00", "Z")
    return float(value) + 0.0 if field == "price" else value


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    word=words,
    field=st.sampled_from(("brand", "tags", "code", "year", "price", "new", "sold", "id")),
    size=st.integers(1, 400),
)
def test_values_are_counted_exactly(
    goods_shards: RealShards, word: str, field: str, size: int
) -> None:
    """A facet has the most frequent values, ties in their order, and says how many others."""
    counts = Counter(shown(value, field) for value in values_in(goods_shards, word, field))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = [count for _, count in ranked[size:]]
    assert facet_of(goods_shards, word, field, Facet(size)) == FacetAnswer(
        True,
        [FacetBucket(count, value) for value, count in ranked[:size]],
        other=sum(rest),
        unlisted_at_most=max(rest, default=0),
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    word=words,
    field=st.sampled_from(("year", "price")),
    bounds=st.lists(st.tuples(st.none() | numbers, st.none() | numbers), min_size=1, max_size=5),
)
def test_ranges_of_numbers_are_counted(
    goods_shards: RealShards, word: str, field: str, bounds: list[tuple[Any, Any]]
) -> None:
    """Ranges hold their first value and not their end, overlap or not, and keep their order."""
    ranges = tuple(FacetRange(*both) for both in bounds if both != (None, None))
    if not ranges:
        return
    values = values_in(goods_shards, word, field)
    answer = facet_of(goods_shards, word, field, Facet(ranges=ranges))
    assert answer.buckets == [
        FacetBucket(
            sum(
                (one.from_ is None or one.from_ <= value) and (one.to is None or value < one.to)
                for value in values
            ),
            from_=one.from_,
            to=one.to,
        )
        for one in ranges
    ]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(word=words, bounds=st.lists(st.tuples(dates, dates), min_size=1, max_size=4))
def test_ranges_of_dates_are_counted(
    goods_shards: RealShards, word: str, bounds: list[tuple[str, str]]
) -> None:
    """Dates are compared by the second."""
    ranges = tuple(FacetRange(*both) for both in bounds)
    values = [second_of(value) for value in values_in(goods_shards, word, "sold")]
    answer = facet_of(goods_shards, word, "sold", Facet(ranges=ranges))
    assert [bucket.count for bucket in answer.buckets or ()] == [
        sum(parse_date(first) <= value < parse_date(end) for value in values)
        for first, end in bounds
    ]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(word=words, interval=st.sampled_from([0.5, 1, 3, 10, 1e300]))
def test_histograms_count_by_intervals(
    goods_shards: RealShards, word: str, interval: float
) -> None:
    """An interval holds its first value and not its end; those without documents are left out."""
    values = [float(value) for value in values_in(goods_shards, word, "price")]
    numbers = [math.floor(value / interval) for value in values]
    if any(abs(number) > 2**53 for number in numbers):
        wanted = WantedFacet("price", FacetKind.HISTOGRAM, 99, interval=interval)
        with pytest.raises(BadQueryError, match=r"more than 2\^53 intervals from 0"):
            count_everywhere(goods_shards, "price:>1000", wanted)
        return
    counts = Counter(float(number) * interval + 0.0 for number in numbers)
    answer = facet_of(goods_shards, word, "price", Facet(histogram=interval))
    found = {bucket.from_: bucket.count for bucket in answer.buckets or ()}
    assert found == dict(counts)
    starts: list[Any] = list(found)
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("unit", "length"), [("year", 4), ("month", 7), ("day", 10), ("hour", 13), ("minute", 16)]
)
def test_dates_are_counted_by_the_calendar(
    goods_shards: RealShards, unit: Any, length: int
) -> None:
    """A unit of the calendar is a beginning of the date as it is written, in UTC."""
    values = [shown(value, "sold") for value in values_in(goods_shards, "*", "sold")]
    counts = Counter(value[:length] for value in values)
    answer = facet_of(goods_shards, "*", "sold", Facet(histogram=unit))
    assert {str(one.from_)[:length]: one.count for one in answer.buckets or ()} == dict(counts)
    for one in answer.buckets or ():
        assert str(one.from_) < str(one.to)


@pytest.mark.parametrize("word", ["*", "red", "none"])
@pytest.mark.parametrize("field", ["year", "price", "sold"])
def test_statistics_are_of_all_values(goods_shards: RealShards, word: str, field: str) -> None:
    """Count, minimum, maximum, sum and mean; beside buckets, if these are asked for too."""
    values = [shown(value, field) for value in values_in(goods_shards, word, field)]
    answer = facet_of(goods_shards, word, field, Facet(stats=True))
    assert answer.buckets is None
    stats = answer.stats
    assert stats is not None
    assert stats.count == len(values)
    assert (stats.min, stats.max) == (min(values, default=None), max(values, default=None))
    if values and field != "sold":
        assert stats.sum == pytest.approx(math.fsum(values))
        assert stats.mean == pytest.approx(math.fsum(values) / len(values))
    both = facet_of(goods_shards, word, field, Facet(size=2, stats=True))
    assert both.stats == stats
    assert both.buckets is not None


@pytest.mark.parametrize("sums", [(1.5e308, 1.5e308), (math.inf, -math.inf), (math.inf, 1.0)])
def test_a_sum_beyond_all_floats_is_left_out(sums: tuple[float, float]) -> None:
    """Count, minimum and maximum are as always; the answer is no error."""
    counted = Counted("price", Facet(stats=True), None, WantedFacet("price", FacetKind.STATS))
    parts = [(FacetPart(stats=(2, one, -1.5e308, 1.7e308)),) for one in sums]
    answer = facet_answers([counted], parts)["price"]
    assert answer.stats == FacetStats(4, -1.5e308, 1.7e308, None, None)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    word=words,
    field=st.sampled_from(("code", "brand", "tags", "year")),
    kept=st.integers(1, 12),
    size=st.integers(1, 12),
)
def test_bounds_hold_when_values_are_left_out(
    goods_shards: RealShards, word: str, field: str, kept: int, size: int
) -> None:
    """However few values a shard returns, no true count is above its bound, or below its count."""
    wanted = WantedFacet(field, FacetKind.TERMS, kept)
    parts = count_everywhere(goods_shards, word, wanted)
    counted = [Counted(field, Facet(size), wanted, None)]
    answer = facet_answers(counted, parts)[field]
    true = Counter(shown(value, field) for value in values_in(goods_shards, word, field))
    listed = {bucket.value: bucket for bucket in answer.buckets or ()}
    for value, bucket in listed.items():
        assert bucket.count <= true[value] <= bucket.count + bucket.error
    rest = [count for value, count in true.items() if value not in listed]
    assert max(rest, default=0) <= answer.unlisted_at_most
    assert sum(rest) <= answer.other <= sum(true.values())
    if answer.is_exact:
        assert [one.count for one in listed.values()] == [n for _, n in true.most_common(size)]


@given(
    st.lists(st.lists(st.integers(0, 12), max_size=60), min_size=1, max_size=5),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_merged_bounds_hold_for_any_distribution(
    shards_values: list[list[int]], kept: int, size: int
) -> None:
    """The merge's bounds follow from those of the shards, whatever they left out."""
    parts = [(_part_of(values, kept),) for values in shards_values]
    counted = [Counted("n", Facet(size), WantedFacet("n", FacetKind.TERMS, kept), None)]
    answer = facet_answers(counted, parts)["n"]
    true = Counter(value for values in shards_values for value in values)
    listed: dict[Any, FacetBucket] = {bucket.value: bucket for bucket in answer.buckets or ()}
    for value, bucket in listed.items():
        assert bucket.count <= true[value] <= bucket.count + bucket.error
    rest = [count for value, count in true.items() if value not in listed]
    assert max(rest, default=0) <= answer.unlisted_at_most


def _part_of(values: Sequence[int], kept: int) -> FacetPart:
    """What a shard of one segment returns if it keeps at most that many values."""
    ranked = Counter(values).most_common()
    listed, rest = ranked[:kept], ranked[kept:]
    return FacetPart(
        tuple(value for value, _ in listed),
        tuple(count for _, count in listed),
        unlisted=max((count for _, count in rest), default=0),
        other=sum(count for _, count in rest),
    )


def test_bounds_hold_when_many_facets_share_a_reply(goods_shards: RealShards) -> None:
    """Values for which a reply has no room are counted in the bounds."""
    fields = ("code", "brand", "id")
    facets = [WantedFacet(field, FacetKind.TERMS, 10_000) for field in fields]
    node = parse("*", COLLECTION, strict=True)[0]
    parts = []
    with patch("hedgerow.shard_worker.scoring.facets.MOST_VALUES", 30):
        for shard in range(goods_shards.num_shards):
            index = goods_shards.index(shard)
            parts.append(count_facets(index, QueryBuilder(index, None).build(node), facets))
    assert all(len(part.values) <= 10 for one in parts for part in one)
    counted = [Counted(one.field, Facet(5), one, None) for one in facets]
    for field, answer in facet_answers(counted, parts).items():
        true = Counter(values_in(goods_shards, "*", field))
        listed = {str(bucket.value): bucket for bucket in answer.buckets or ()}
        for value, bucket in listed.items():
            assert bucket.count <= true[value] <= bucket.count + bucket.error
        rest = [count for value, count in true.items() if value not in listed]
        assert max(rest) <= answer.unlisted_at_most
        assert sum(rest) <= answer.other


def test_a_missing_shard_bounds_what_is_missing(goods_shards: RealShards) -> None:
    """No true count is above a bucket's count, its error and the documents not searched."""
    if goods_shards.num_shards == 1:
        return
    goods_shards.down = {3}
    try:
        result = goods_shards.search("*", facets={"brand": Facet()}, k=1)
    finally:
        goods_shards.down = set()
    answers = result.facets
    assert isinstance(answers, dict)
    answer = answers["brand"]
    assert not answer.is_exact
    assert answer.not_searched == goods_shards.index(3).num_documents
    true = Counter(values_in(goods_shards, "*", "brand"))
    for bucket in answer.buckets or ():
        assert bucket.count <= true[str(bucket.value)] <= bucket.count + answer.not_searched


def test_a_filter_narrows_and_pages_do_not(goods_shards: RealShards) -> None:
    """Facets are of all matches of query and filter, whichever page is asked for."""
    whole = goods_shards.search("*", filter="new:true", facets={"tags": Facet()}, k=1)
    later = goods_shards.search(
        "*", filter="new:true", facets={"tags": Facet()}, k=1, offset=9, sort=("year",)
    )
    assert whole.facets == later.facets
    counts = Counter(
        tag
        for row in goods_shards.documents.values()
        if row.get("new")
        for tag in set(row.get("tags", ()))
    )
    assert isinstance(whole.facets, dict)
    assert {one.value: one.count for one in whole.facets["tags"].buckets or ()} == counts


@pytest.mark.parametrize(
    ("field", "facet", "match"),
    [
        ("title", Facet(), "facets.title: is a text field"),
        ("brant", Facet(), "not a field of the collection .nearest: brand"),
        ("brand", Facet(ranges=(FacetRange(1),)), "is for numbers and dates"),
        ("brand", Facet(histogram=3.0), "is for numbers and dates"),
        ("brand", Facet(stats=True), "is for numbers and dates"),
        ("new", Facet(stats=True), "is for numbers and dates"),
        ("year", Facet(ranges=(FacetRange("2020"),)), "'2020' is not a number"),
        ("year", Facet(ranges=(FacetRange(2**60),)), "where ranges are not exact"),
        ("year", Facet(ranges=(FacetRange(),)), "0 has neither from nor to"),
        ("sold", Facet(ranges=(FacetRange(2020),)), "2020 is not a date"),
        ("year", Facet(histogram="year"), "is a unit of time"),
        ("sold", Facet(histogram=10.0), "of dates is year, month"),
        ("price", Facet(histogram=0.0), "must be above 0"),
        ("price", Facet(size=3, histogram=1.0), "more than one of size, ranges and histogram"),
        ("price", Facet(size=10_001), r"the limit is 10000 \(query.max_facet_values\)"),
    ],
)
def test_bad_facets_are_refused_by_name(field: str, facet: Facet, match: str) -> None:
    """The error names the facet, and why."""
    with pytest.raises(BadRequestError, match=match):
        check_facets({field: facet}, COLLECTION, QuerySettings())


def test_too_many_facets_are_refused() -> None:
    """The setting bounds them."""
    facets: Mapping[str, Facet] = {f"f{number}": Facet() for number in range(17)}
    with pytest.raises(BadRequestError, match=r"query\.max_facets"):
        check_facets(facets, COLLECTION, QuerySettings())


@pytest.mark.parametrize("unit", ["year", "month", "day"])
def test_a_histogram_of_too_many_intervals_is_refused(goods_shards: RealShards, unit: str) -> None:
    """The query is at fault, not the shard."""
    index = goods_shards.index(0)
    query = QueryBuilder(index, None).build(parse("*", COLLECTION, strict=True)[0])
    calendar = WantedFacet("sold", FacetKind.CALENDAR, 3, unit=unit)
    with pytest.raises(BadQueryError, match="more than 3 intervals"):
        count_facets(index, query, [calendar])
    with pytest.raises(BadQueryError, match="more than 3 intervals"):
        count_facets(index, query, [WantedFacet("year", FacetKind.HISTOGRAM, 3, interval=2000)])


@pytest.mark.parametrize(("num_values", "is_on_the_loop"), [(100, True), (20_000, False)])
async def test_only_few_values_are_merged_on_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, num_values: int, is_on_the_loop: bool
) -> None:
    """Other searches go on while many values are merged, and the counts are the same."""
    threads = []

    def noted(*given: Any) -> dict[str, Any]:
        threads.append(threading.current_thread())
        return facet_answers(*given)

    monkeypatch.setattr(facets_module, "facet_answers", noted)
    values = tuple(range(num_values))
    parts = [(FacetPart(values, (1,) * num_values),)] * 8
    counted = [Counted("n", Facet(3), WantedFacet("n", FacetKind.TERMS, num_values), None)]
    answer = (await merge_facets(counted, parts))["n"]
    assert [(bucket.value, bucket.count) for bucket in answer.buckets or ()] == [
        (0, 8),
        (1, 8),
        (2, 8),
    ]
    assert (threads == [threading.current_thread()]) is is_on_the_loop


def test_a_histogram_of_too_many_intervals_of_all_shards_is_refused() -> None:
    """Each shard may have as many as are allowed, and all together more."""
    wanted = WantedFacet("price", FacetKind.HISTOGRAM, 2, interval=1.0)
    parts = [(FacetPart((float(n), n + 1.0), (1, 1)),) for n in (0, 5)]
    with pytest.raises(BadRequestError, match="would have 4 intervals"):
        facet_answers([Counted("price", Facet(histogram=1.0), wanted, None)], parts)
