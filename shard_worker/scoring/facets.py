"""Counts the matches of a search by the values of their fields, in one shard, by tantivy.

Values are counted exactly if a shard has at most as many as the facet may return. Beyond, tantivy
keeps the most frequent values of each segment and says how many documents of a value it may have
left out (`doc_count_error_upper_bound`): from that follows how far a count may be off, and how many
documents any value that is not returned may have.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import tantivy

from hedgerow.common.errors import BadQueryError
from hedgerow.common.fields.field_types import FieldType, parse_date
from hedgerow.common.wire.search_options import FacetKind, FacetPart, Value, WantedFacet
from hedgerow.shard_worker.scoring.field_queries import EPOCH, has_lists, seconds_of, shown_date
from hedgerow.shard_worker.storage.text_index import TextIndex

MOST_VALUES: Final = 20_000  # of all facets of a search; merging these of 8 shards takes some 50 ms
_MOST_BUCKETS: Final = 60_000  # of one aggregation; tantivy refuses more than 65,000
_NS: Final = 1_000_000_000
_MOST_INTERVALS: Final = 2.0**53  # whole numbers up to here have exact floating-point numbers
_FIXED_UNITS: Final = {"day": "1d", "hour": "1h", "minute": "1m"}


def count_facets(
    index: TextIndex,
    query: tantivy.Query,
    facets: Sequence[WantedFacet],
    widened: Mapping[str, tantivy.Query] | None = None,
) -> tuple[FacetPart, ...]:
    """Count all matches of a query for each facet.

    Args:
        index: the index to search.
        query: whose matches are counted.
        facets: what is counted.
        widened: field → the query for the facets of this field instead.

    Raises:
        BadQueryError: a histogram would have too many intervals, or a field cannot be counted.
        ValueError: the index is damaged.
    """
    widened = widened or {}
    for facet in facets:
        if index.collection.type_of(facet.field) is FieldType.KEYWORD:
            has_lists(index, facet.field)
    queries = {"": query, **widened}
    parts: dict[int, FacetPart] = {}
    for field, one in queries.items():
        places = [
            place
            for place, facet in enumerate(facets)
            if field == (facet.field if facet.field in widened else "")
        ]
        found = _count(index, one, [facets[place] for place in places])
        parts.update(zip(places, found, strict=True))
    return _shortened([parts[place] for place in range(len(facets))])


def _count(
    index: TextIndex, query: tantivy.Query, facets: Sequence[WantedFacet]
) -> Iterator[FacetPart]:
    """Count the matches of one query."""
    for batch in _batches(facets):
        found = _aggregate(index, query, [_wanted(index, query, one) for one in batch], batch)
        for facet, one in zip(batch, found, strict=True):
            yield _part(facet, index.collection.type_of(facet.field), one)


def _shortened(parts: Sequence[FacetPart]) -> tuple[FacetPart, ...]:
    """Leave out the rarest values of facets that together have too many for one reply."""
    lists = [part for part in parts if part.values]
    if sum(len(part.values) for part in lists) <= MOST_VALUES:
        return tuple(parts)
    most = MOST_VALUES // len(lists)
    return tuple(part if len(part.values) <= most else _cut(part, most) for part in parts)


def _cut(part: FacetPart, num: int) -> FacetPart:
    return FacetPart(
        part.values[:num],
        part.counts[:num],
        error=part.error,
        unlisted=max(part.unlisted, part.counts[num] + part.error),
        other=part.other + sum(part.counts[num:]),
    )


def _batches(facets: Sequence[WantedFacet]) -> Iterator[list[WantedFacet]]:
    """Split the facets so that one pass over the matches counts as many as tantivy allows."""
    batch: list[WantedFacet] = []
    num_buckets = 0
    for facet in facets:
        size = _most_buckets(facet)
        if batch and num_buckets + size > _MOST_BUCKETS:
            yield batch
            batch, num_buckets = [], 0
        batch.append(facet)
        num_buckets += size
    if batch:
        yield batch


def _most_buckets(facet: WantedFacet) -> int:
    match facet.kind:
        case FacetKind.TERMS:
            return facet.size
        case FacetKind.RANGES:
            return len(facet.bounds) + 1
        case FacetKind.STATS:
            return 1
        case _:  # as many intervals as there are
            return _MOST_BUCKETS


def _aggregate(
    index: TextIndex,
    query: tantivy.Query,
    wanted: Sequence[Mapping[str, Any]],
    facets: Sequence[WantedFacet],
) -> list[dict[str, Any]]:
    try:
        found = index.searcher.aggregate(
            query, {str(number): dict(one) for number, one in enumerate(wanted)}
        )
    except ValueError as error:
        if "bucket limit" in str(error):
            raise _too_many(facets[0]) from error
        raise
    return [found[str(number)] for number in range(len(wanted))]


def _too_many(facet: WantedFacet) -> BadQueryError:
    return BadQueryError(
        f"the histogram of {facet.field} would have more than {facet.size} intervals; take longer "
        "ones, or a filter"
    )


def _wanted(index: TextIndex, query: tantivy.Query, facet: WantedFacet) -> dict[str, Any]:
    """The aggregation of a facet, in tantivy's terms."""
    field = {"field": facet.field}
    match facet.kind:
        case FacetKind.TERMS:
            return {"terms": {**field, "size": facet.size, "segment_size": facet.size}}
        case FacetKind.RANGES:
            return {"range": {**field, "ranges": _ranges(_bounds(facet.bounds))}}
        case FacetKind.HISTOGRAM:
            return {"histogram": {**field, "interval": facet.interval, "min_doc_count": 1}}
        case FacetKind.CALENDAR if facet.unit in _FIXED_UNITS:
            interval = _FIXED_UNITS[facet.unit]
            return {"date_histogram": {**field, "fixed_interval": interval, "min_doc_count": 1}}
        case FacetKind.CALENDAR:
            stats = index.searcher.aggregate(query, {"s": {"stats": field}})["s"]
            starts = _starts(facet, stats["min"], stats["max"])
            return {"range": {**field, "ranges": _ranges([_instant(one) for one in starts])}}
        case _:
            return {"stats": field}


def _bounds(bounds: Iterable[Value]) -> list[float]:
    """Bounds as tantivy compares them with a column: numbers, dates in ns."""
    # Zero is -0.0, which is the least of the numbers that equal it.
    return [_instant(_date(one)) if isinstance(one, str) else float(one or -0.0) for one in bounds]


def _instant(date: datetime) -> float:
    # Half a second earlier, where no date is, so that the number need not be exact.
    return float(seconds_of(date) * _NS - _NS // 2)


def _date(text: str) -> datetime:
    date = parse_date(text)
    if date is None:
        raise BadQueryError(f"{text} is not a date")
    return date


def _ranges(bounds: Sequence[float]) -> list[dict[str, float]]:
    """The ranges between the bounds; tantivy adds the one before, and the one after."""
    if len(bounds) == 1:
        return [{"to": bounds[0]}]
    return [{"from": start, "to": end} for start, end in pairwise(bounds)]


def _starts(facet: WantedFacet, least: float | None, most: float | None) -> list[datetime]:
    """Where the years or months begin that hold the dates from `least` to `most`, in ns."""
    if least is None or most is None:
        return [EPOCH]
    first, last = (EPOCH + timedelta(seconds=round(one / _NS)) for one in (least, most))
    step = 12 if facet.unit == "year" else 1
    begin = first.year * 12 + (first.month - 1 if step == 1 else 0)
    end = last.year * 12 + last.month - 1
    if (end - begin) // step >= facet.size:
        raise _too_many(facet)
    months = range(begin, end + step + 1, step)
    return [datetime(one // 12, one % 12 + 1, 1, tzinfo=UTC) for one in months]


def _part(facet: WantedFacet, kind: FieldType | None, found: Mapping[str, Any]) -> FacetPart:
    match facet.kind:
        case FacetKind.TERMS:
            return _terms(kind, found)
        case FacetKind.RANGES:
            return FacetPart(counts=tuple(one["doc_count"] for one in found["buckets"]))
        case FacetKind.STATS:
            return _stats(kind, found)
        case _:
            return _histogram(facet, found["buckets"])


def _terms(kind: FieldType | None, found: Mapping[str, Any]) -> FacetPart:
    buckets, error = found["buckets"], found["doc_count_error_upper_bound"]
    counts: dict[Value, int] = {}
    for one in buckets:
        value = _value(kind, one["key"])
        counts[value] = counts.get(value, 0) + one["doc_count"]  # -0.0 and 0.0 are equal
    other = found["sum_other_doc_count"]
    least = buckets[-1]["doc_count"] if other else 0
    return FacetPart(
        tuple(counts),
        tuple(counts.values()),
        error=min(error, other),
        # A value that is not among these has at most as many as the last of them, and what its
        # segments left out.
        unlisted=min(least + error, other),
        other=other,
    )


def _value(kind: FieldType | None, key: Any) -> Value:
    match kind:
        case FieldType.BOOLEAN:
            return bool(key)
        case FieldType.FLOAT:
            return float(key) + 0.0
        case _:
            return key  # type: ignore[no-any-return]  # a text, an integer, or a date as a text


def _histogram(facet: WantedFacet, buckets: Sequence[Mapping[str, Any]]) -> FacetPart:
    if facet.kind == FacetKind.HISTOGRAM:
        found = [(one["key"] + 0.0, one["doc_count"]) for one in buckets]
        if any(abs(key) > _MOST_INTERVALS * facet.interval for key, _ in found):
            raise BadQueryError(
                f"the histogram of {facet.field} has numbers that are more than 2^53 intervals "
                "from 0; take longer ones, or a filter"
            )
    elif facet.unit in _FIXED_UNITS:
        found = [(one["key_as_string"], one["doc_count"]) for one in buckets]
    else:
        found = [
            (_shown(one["from"] + _NS / 2), one["doc_count"]) for one in buckets if one["doc_count"]
        ]
    if len(found) > facet.size:
        raise _too_many(facet)
    return FacetPart(tuple(key for key, _ in found), tuple(count for _, count in found))


def _stats(kind: FieldType | None, found: Mapping[str, Any]) -> FacetPart:
    least, most, total = found["min"], found["max"], found["sum"]
    if least is None or most is None:
        return FacetPart(stats=(0, 0.0, None, None))
    if kind is FieldType.DATE:
        return FacetPart(stats=(found["count"], 0.0, _shown(least), _shown(most)))
    if kind is FieldType.INTEGER:
        least, most = int(least), int(most)
    return FacetPart(stats=(found["count"], total, least, most))


def _shown(nanoseconds: float) -> str:
    return shown_date(round(nanoseconds / _NS) * _NS)
