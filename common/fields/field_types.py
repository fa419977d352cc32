"""The types of fields: which values each holds, and how a value looks as text."""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d))?\Z", re.ASCII
)
# tantivy keeps dates as 64-bit counts of nanoseconds.
_FIRST_DATE = datetime(1678, 1, 1, tzinfo=UTC)
_LAST_DATE = datetime(2262, 1, 1, tzinfo=UTC)
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1


# The types of values that have a text; a list of such values has several texts.
_WRITTEN: dict[type, Callable[[Any], str]] = {
    str: str,
    int: str,
    float: repr,
    bool: lambda value: "true" if value else "false",
}
_TEXTUAL = frozenset(_WRITTEN)


class FieldType(StrEnum):
    """What a declared field holds, and therefore how it can be searched.

    A text is analysed (split, lowercased, stemmed) and counts in the score; a keyword is matched
    whole; the others by equality and range. Texts and keywords may be lists, and hold numbers and
    booleans too, as `texts_of` writes them. A vector has further members (`vectors.VectorField`),
    which decide what it holds.
    """

    TEXT = "text"
    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    VECTOR = "vector"


# Python 3.11 looks up an enum's member through a descriptor, which takes five times as long as a
# global.
TEXTUAL_TYPES = frozenset({FieldType.TEXT, FieldType.KEYWORD})


def mismatch(kind: FieldType, value: Any) -> str:
    """Return why a value cannot be indexed as its field's type, as a clause; "" if it can.

    Of vectors, only the field's definition says (`VectorField.pack`).
    """
    if kind in TEXTUAL_TYPES:
        if type(value) is str:
            return "" if value.isascii() else _bad_unicode(value)
        items = value if type(value) is list else (value,)
        # For a list of strings, these are passes in C, however many there are.
        kinds = set(map(type, items))
        if not _TEXTUAL.issuperset(kinds):
            return f"is not a {kind}: a string, a number, true or false, or a list of those"
        is_all_strings = len(kinds) == 1 and str in kinds
        return _bad_unicode("".join(items if is_all_strings else filter(_is_string, items)))
    fits, reason = _CHECKS[kind]
    if fits(value):
        return ""
    if kind is FieldType.DATE and lacks_zone(value):
        return "has a time without a time zone, so that it is no date of RFC 3339: add Z for UTC"
    return reason


def texts_of(value: Any) -> list[str]:
    """The texts of a value that fits a text or keyword field.

    A string is itself. A number or boolean, which may stand among strings, is as Python writes it
    in JSON: `1984`, `1.5`, `true`.
    """
    if type(value) is str:
        return [value]
    items = value if type(value) is list else [value]
    return [item if type(item) is str else _WRITTEN[type(item)](item) for item in items]


def _bad_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    return ""


def _is_string(value: Any) -> bool:
    return type(value) is str


def _is_integer(value: Any) -> bool:
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and _MIN_INTEGER <= value <= _MAX_INTEGER
    )


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and parse_date(value) is not None


_CHECKS: dict[FieldType, tuple[Callable[[Any], bool], str]] = {
    FieldType.INTEGER: (_is_integer, "is not an integer of at most 64 bits"),
    FieldType.FLOAT: (_is_number, "is not a finite number"),
    FieldType.BOOLEAN: (lambda value: isinstance(value, bool), "is not true or false"),
    FieldType.DATE: (
        _is_date,
        "is not a date of RFC 3339 between 1678 and 2261, or is a leap second",
    ),
    FieldType.VECTOR: (lambda _: True, ""),
}


def lacks_zone(value: Any) -> bool:
    """Whether it is the text of a time without a time zone, and would be a date with one."""
    return _is_date(f"{value}Z")


def parse_date(text: str) -> datetime | None:
    """The instant of an RFC 3339 date-time, or the first instant (in UTC) of a full-date.

    Returns:
        None if the text is neither, a leap second, or outside of the years 1678 to 2261.
    """
    if not _RFC3339.match(text):
        return None
    try:
        if len(text) == len("2020-01-01"):
            instant = datetime.combine(date.fromisoformat(text), time(), UTC)
        else:
            instant = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return instant if _FIRST_DATE <= instant < _LAST_DATE else None
