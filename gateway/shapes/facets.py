"""Facets: which counts a search asks for, and how they are answered."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from hedgerow.gateway.shapes.doc import doc

Bound: TypeAlias = int | float | str
FieldValue: TypeAlias = bool | int | float | str | None
Unit: TypeAlias = Literal["year", "month", "day", "hour", "minute"]

DEFAULT_SIZE = 10


class FacetRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Values from `from`, inclusive, to `to`, exclusive; without one of them, without a bound."""

    from_: Annotated[Bound | None, doc("A number, or a date.")] = None
    to: Bound | None = None


# A value of a field, or values between bounds.
Choice: TypeAlias = bool | int | float | str | FacetRange


class Facet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the matches are counted by a field: by value unless it says otherwise."""

    size: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        doc("The most values to return, the most frequent first; 10 if null."),
    ] = None
    ranges: Annotated[
        tuple[FacetRange, ...], doc("Count by these ranges of numbers or dates instead.")
    ] = ()
    histogram: Annotated[
        float | Unit | None,
        doc("Count by intervals of this length instead, or by this unit of the calendar."),
    ] = None
    stats: Annotated[
        bool, doc("Whether to return the count, sum, mean, minimum and maximum of all values.")
    ] = False


class FacetBucket(msgspec.Struct, frozen=True, omit_defaults=True, rename={"from_": "from"}):
    """Documents with one value, or with a value of one range or interval."""

    count: Annotated[int, doc("Documents that were counted.")]
    value: Annotated[bool | int | float | str | None, doc("By value: the value.")] = None
    from_: Annotated[Bound | None, doc("The first value of the range or interval.")] = None
    to: Annotated[Bound | None, doc("The end of the range or interval, exclusive.")] = None
    error: Annotated[
        int, doc("How many documents more may have the value, at most; absent if 0.")
    ] = 0


class FacetStats(msgspec.Struct, frozen=True):
    """Statistics of all values of a field of numbers or dates."""

    count: Annotated[int, doc("Documents with a value.")]
    min: int | float | str | None
    max: int | float | str | None
    sum: Annotated[float | None, doc("null for dates, and if it is not a finite number.")]
    mean: float | None


class FacetAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The counts of one facet, over all matches of query and filter."""

    is_exact: Annotated[
        bool, doc("Whether every count is exact and no value is left out that belongs here.")
    ]
    buckets: Annotated[
        list[FacetBucket] | None,
        doc(
            "By value, the most frequent first; ranges as asked for; intervals in order; absent "
            "with `stats` alone."
        ),
    ] = None
    stats: Annotated[FacetStats | None, doc("With `stats`.")] = None
    other: Annotated[
        int, doc("By value: values that were counted and are in no bucket; absent if 0.")
    ] = 0
    unlisted_at_most: Annotated[
        int,
        doc(
            "By value: the most documents, of those searched, that a value in no bucket may have; "
            "absent if 0."
        ),
    ] = 0
    not_searched: Annotated[
        int,
        doc(
            "Documents of shards that have not answered: the most by which each number may be "
            "higher. As last reported; if that was before a load, as many as the other shards have "
            "on average. Absent if 0."
        ),
    ] = 0
