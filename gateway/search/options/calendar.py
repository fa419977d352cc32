"""Units of the calendar, by which dates are counted."""

from datetime import UTC, datetime, timedelta
from typing import Final

_LENGTHS: Final = {
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
}


def next_start(start: str, unit: str) -> str:
    """The end of the unit that begins at a date; both in RFC 3339, in UTC."""
    date = datetime.fromisoformat(start)
    if unit in _LENGTHS:
        end = date + _LENGTHS[unit]
    else:
        months = date.year * 12 + date.month - 1 + (12 if unit == "year" else 1)
        end = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return end.isoformat().replace("+00:00", "Z")
