"""Facets: what the shards are asked to count, and the counts of all of them together.

A shard that has left out values says how many documents any of them may have. Of a value that some
shards have listed, the others may therefore hold that many more: the sum of that is the bucket's
`error`. A value that is in no bucket has at most the largest sum of what was counted and what may
have been left out: that is `unlisted_at_most`.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from itertools import accumulate
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import FieldType, parse_date
from hedgerow.common.fields.nearest_name import suggestion
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.wire.search_options import FacetKind, FacetPart, Value, WantedFacet
from hedgerow.gateway.search.options.calendar import next_start
from hedgerow.gateway.shapes.facets import (
    DEFAULT_SIZE,
    Bound,
    Facet,
    FacetAnswer,
    FacetBucket,
    FacetRange,
    FacetStats,
)

_MOST_EXACT: Final = 2**53  # whole numbers above it have no exact floating-point number
_MOST_AT_ONCE: Final = 4_000  # values that are merged on the event loop, which takes some 2 ms
NO_VALUES: Final = frozenset({FieldType.TEXT, FieldType.VECTOR})
_ORDERED: Final = frozenset({FieldType.INTEGER, FieldType.FLOAT, FieldType.DATE})


class Counted(NamedTuple):
    """One facet that the caller wants, with what the shards are asked for.

    Attributes:
        field: the field's name.
        facet: what the caller wants.
        buckets: what the shards are asked for, for its buckets; None if it has none.
        stats: the same for its statistics.
    """

    field: str
    facet: Facet
    buckets: WantedFacet | None
    stats: WantedFacet | None

    @property
    def wanted(self) -> list[WantedFacet]:
        """What the shards are asked for, in this order."""
        return [one for one in (self.buckets, self.stats) if one is not None]


def check_facets(
    facets: Mapping[str, Facet], collection: Collection, limits: QuerySettings
) -> list[Counted]:
    """Check facets, and say what to ask the shards for.

    Raises:
        BadRequestError: names the facet and the reason.
    """
    if len(facets) > limits.max_facets:
        raise BadRequestError(
            "facets", f"are {len(facets)}; the limit is {limits.max_facets} (query.max_facets)"
        )
    return [_checked(name, facet, collection, limits) for name, facet in facets.items()]


def _checked(name: str, facet: Facet, collection: Collection, limits: QuerySettings) -> Counted:
    where = f"facets.{name}"
    kind = type_of(name, collection, where)
    if kind in NO_VALUES:
        raise BadRequestError(where, f"is a {kind} field; facets count fields of other types")
    ways = [facet.size is not None, bool(facet.ranges), facet.histogram is not None]
    if sum(ways) > 1:
        raise BadRequestError(where, "has more than one of size, ranges and histogram")
    stats = None
    if facet.stats:
        check_ordered(where, "stats", kind)
        stats = WantedFacet(name, FacetKind.STATS)
    if facet.ranges:
        return Counted(name, facet, _ranges(where, name, facet.ranges, kind, limits), stats)
    if facet.histogram is not None:
        return Counted(name, facet, _histogram(where, name, facet.histogram, kind, limits), stats)
    if facet.stats and facet.size is None:
        return Counted(name, facet, None, stats)
    most = limits.max_facet_values
    if facet.size is not None and facet.size > most:
        raise BadRequestError(
            f"{where}.size", f"is {facet.size}; the limit is {most} (query.max_facet_values)"
        )
    return Counted(name, facet, WantedFacet(name, FacetKind.TERMS, most), stats)


def type_of(name: str, collection: Collection, where: str) -> FieldType:
    """The type of a field; a collection without documents may get any fields.

    Raises:
        BadRequestError: the collection has no such field.
    """
    if collection.fields is None:
        return FieldType.KEYWORD
    kind = collection.type_of(name)
    if kind is None:
        nearest = suggestion(name, (ID_FIELD, *collection.fields))
        raise BadRequestError(where, f"{name!r} is not a field of the collection{nearest}")
    return kind


def check_ordered(where: str, what: str, kind: FieldType) -> None:
    """Refuse what only fields of numbers and dates have.

    Raises:
        BadRequestError: names `where`, `what` and the field's type.
    """
    if kind not in _ORDERED:
        raise BadRequestError(
            f"{where}.{what}", f"is for numbers and dates; the field is of type {kind}"
        )


def _ranges(
    where: str, name: str, ranges: Sequence[FacetRange], kind: FieldType, limits: QuerySettings
) -> WantedFacet:
    check_ordered(where, "ranges", kind)
    if len(ranges) > limits.max_facet_values:
        raise BadRequestError(
            f"{where}.ranges",
            f"are {len(ranges)}; the limit is {limits.max_facet_values} (query.max_facet_values)",
        )
    bounds: set[Any] = set()
    for number, one in enumerate(ranges):
        if one.from_ is None and one.to is None:
            raise BadRequestError(f"{where}.ranges", f"{number} has neither from nor to")
        for bound in (one.from_, one.to):
            if bound is not None:
                bounds.add(bound_of(f"{where}.ranges", bound, kind))
    return WantedFacet(name, FacetKind.RANGES, bounds=tuple(sorted(bounds)))


def bound_of(where: str, bound: Bound, kind: FieldType) -> Bound:
    """A bound as the shards compare it: of integers the next whole number, of dates in UTC.

    Raises:
        BadRequestError: names `where` and the reason.
    """
    if kind is FieldType.DATE:
        date = parse_date(bound) if isinstance(bound, str) else None
        if date is None:
            raise BadRequestError(where, f"{bound!r} is not a date of RFC 3339")
        return date.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(bound, str):
        raise BadRequestError(where, f"{bound!r} is not a number")
    if isinstance(bound, float) and not math.isfinite(bound):
        raise BadRequestError(where, f"{bound} is not a finite number")
    if kind is FieldType.FLOAT:
        try:
            return float(bound) + 0.0
        except OverflowError:
            raise BadRequestError(where, f"{bound} does not fit in a float") from None
    whole = math.ceil(bound)
    if abs(whole) > _MOST_EXACT:
        raise BadRequestError(where, f"{bound} is beyond {_MOST_EXACT}, where ranges are not exact")
    return whole


def _histogram(
    where: str, name: str, histogram: float | str, kind: FieldType, limits: QuerySettings
) -> WantedFacet:
    check_ordered(where, "histogram", kind)
    if isinstance(histogram, str):
        if kind is not FieldType.DATE:
            raise BadRequestError(
                f"{where}.histogram", f"is a unit of time; the field is of type {kind}"
            )
        return WantedFacet(name, FacetKind.CALENDAR, limits.max_facet_values, unit=histogram)
    if kind is FieldType.DATE:
        raise BadRequestError(f"{where}.histogram", "of dates is year, month, day, hour or minute")
    if not (math.isfinite(histogram) and histogram > 0):
        raise BadRequestError(f"{where}.histogram", f"is {histogram:g}; it must be above 0")
    return WantedFacet(
        name, FacetKind.HISTOGRAM, limits.max_facet_values, interval=float(histogram)
    )


async def merge_facets(
    facets: Sequence[Counted], parts: Sequence[Sequence[FacetPart]]
) -> dict[str, FacetAnswer]:
    """As `facet_answers`, without keeping other searches from the event loop."""
    if sum(len(part.values) for shard in parts for part in shard) <= _MOST_AT_ONCE:
        return facet_answers(facets, parts)
    return await asyncio.to_thread(facet_answers, facets, parts)


def facet_answers(
    facets: Sequence[Counted], parts: Sequence[Sequence[FacetPart]]
) -> dict[str, FacetAnswer]:
    """The counts of all shards that have answered together.

    Args:
        facets: what was asked for.
        parts: of each of these shards, one for each facet wanted, in their order.

    Raises:
        BadRequestError: a histogram has too many intervals.
    """
    columns = iter(zip(*parts, strict=True)) if parts else iter(())
    answers = {}
    for one in facets:
        buckets = stats = None
        if one.buckets is not None:
            buckets = next(columns, ())
        if one.stats is not None:
            stats = _stats(next(columns, ()))
        answer = FacetAnswer(is_exact=True, buckets=None, stats=stats)
        if one.buckets is not None and buckets is not None:
            answer = _answer(one, one.buckets, buckets, answer)
        answers[one.field] = answer
    return answers


def without(not_searched: int, answers: dict[str, FacetAnswer]) -> dict[str, FacetAnswer]:
    """Say of the counts how many documents were not searched, as the other shards last reported."""
    if not not_searched:
        return answers
    return {
        field: replace(answer, is_exact=False, not_searched=not_searched)
        for field, answer in answers.items()
    }


def _answer(
    one: Counted, wanted: WantedFacet, parts: Sequence[FacetPart], answer: FacetAnswer
) -> FacetAnswer:
    match wanted.kind:
        case FacetKind.TERMS:
            size = DEFAULT_SIZE if one.facet.size is None else one.facet.size
            return _terms(parts, size, answer)
        case FacetKind.RANGES:
            buckets = _counted_ranges(one.facet.ranges, wanted.bounds, parts)
        case _:
            buckets = _intervals(f"facets.{one.field}.histogram", wanted, parts)
    return replace(answer, buckets=buckets)


def _terms(parts: Sequence[FacetPart], size: int, answer: FacetAnswer) -> FacetAnswer:
    counts: dict[Any, int] = {}
    errors: dict[Any, int] = {}
    unlisted = sum(part.unlisted for part in parts)
    for part in parts:
        listed_here = part.error - part.unlisted
        for value, count in zip(part.values, part.counts, strict=True):
            counts[value] = counts.get(value, 0) + count
            if listed_here:
                errors[value] = errors.get(value, 0) + listed_here
    # Of many values, only the first few need an order.
    listed = nsmallest(size, counts.items(), key=lambda item: (-item[1], item[0]))
    for value, _ in listed:
        del counts[value]
    rest = counts.items()
    buckets = [
        FacetBucket(count, value, error=unlisted + errors.get(value, 0)) for value, count in listed
    ]
    others = [count + unlisted + errors.get(value, 0) for value, count in rest]
    return replace(
        answer,
        is_exact=not unlisted and not errors,
        buckets=buckets,
        other=sum(count for _, count in rest) + sum(part.other for part in parts),
        unlisted_at_most=max(others, default=unlisted),
    )


def _counted_ranges(
    ranges: Sequence[FacetRange], bounds: Sequence[Value], parts: Sequence[FacetPart]
) -> list[FacetBucket]:
    """Ranges may overlap, so the shards count between all bounds, and these counts are added."""
    between = [0] * (len(bounds) + 1)
    for part in parts:
        for number, count in enumerate(part.counts):
            between[number] += count
    below = list(accumulate(between))  # number of a bound → documents below it
    places = {bound: number for number, bound in enumerate(bounds)}
    is_dates = bool(bounds) and isinstance(bounds[0], str)
    is_whole = bool(bounds) and isinstance(bounds[0], int)
    kind = FieldType.DATE if is_dates else FieldType.INTEGER if is_whole else FieldType.FLOAT
    buckets = []
    for one in ranges:
        before = 0 if one.from_ is None else below[places[bound_of("", one.from_, kind)]]
        until = below[-1] if one.to is None else below[places[bound_of("", one.to, kind)]]
        # A range that ends before it begins is empty.
        buckets.append(FacetBucket(max(0, until - before), from_=one.from_, to=one.to))
    return buckets


def _intervals(where: str, wanted: WantedFacet, parts: Sequence[FacetPart]) -> list[FacetBucket]:
    counts: dict[Any, int] = {}
    for part in parts:
        for value, count in zip(part.values, part.counts, strict=True):
            counts[value] = counts.get(value, 0) + count
    if len(counts) > wanted.size:
        raise BadRequestError(
            where,
            f"would have {len(counts)} intervals; the limit is {wanted.size} "
            "(query.max_facet_values)",
        )
    if wanted.kind == FacetKind.CALENDAR:
        return [
            FacetBucket(counts[start], from_=start, to=next_start(start, wanted.unit))
            for start in sorted(counts)
        ]
    return [
        FacetBucket(counts[start], from_=_number(start), to=_number(start + wanted.interval))
        for start in sorted(counts)
    ]


def _number(value: float) -> int | float:
    """A number as people write it: 1990, not 1990.0."""
    return int(value) if value.is_integer() and abs(value) <= _MOST_EXACT else value


def _stats(parts: Sequence[FacetPart]) -> FacetStats:
    found = [part.stats for part in parts if part.stats is not None and part.stats[0]]
    if not found:
        return FacetStats(0, None, None, None, None)
    count = sum(one[0] for one in found)
    least: Any = min(one[2] for one in found)  # type: ignore[type-var]
    most: Any = max(one[3] for one in found)  # type: ignore[type-var]
    total = math.nan if isinstance(least, str) else _sum(one[1] for one in found)
    if not math.isfinite(total):
        return FacetStats(count, least, most, None, None)
    return FacetStats(count, least, most, total, total / count)


def _sum(numbers: Iterable[float]) -> float:
    """The sum of numbers; not finite if it is too large for a float."""
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # on the way; or of infinities with different signs
        return math.nan
