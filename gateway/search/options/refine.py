"""Values that a caller has chosen, as the shards are asked for them."""

import math
from collections.abc import Mapping, Sequence

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import FieldType, parse_date
from hedgerow.common.query.cost import Cost
from hedgerow.common.wire import search_options
from hedgerow.common.wire.search_options import Value
from hedgerow.gateway.search.options.facets import (
    NO_VALUES,
    Counted,
    bound_of,
    check_ordered,
    type_of,
)
from hedgerow.gateway.shapes.facets import Choice, FacetRange

_INTEGERS = range(-(2**63), 2**63)


def check_refine(
    refine: Mapping[str, Sequence[Choice]], collection: Collection
) -> tuple[search_options.Choice, ...]:
    """Check choices; an empty list chooses nothing, and so restricts nothing.

    Returns:
        In the order of the fields' names, so that it does not matter who has written them.

    Raises:
        BadRequestError: names the field and the reason.
    """
    return tuple(
        _checked(name, choices, collection) for name, choices in sorted(refine.items()) if choices
    )


def _checked(name: str, choices: Sequence[Choice], collection: Collection) -> search_options.Choice:
    where = f"refine.{name}"
    kind = type_of(name, collection, where)
    if kind in NO_VALUES:
        raise BadRequestError(where, f"is a {kind} field; choices are values of other types")
    values: dict[Value, None] = {}
    ranges: dict[tuple[Value, Value], None] = {}
    for one in choices:
        if isinstance(one, FacetRange):
            start, end = _range(where, one, kind)
            if start is None or end is None or start < end:  # type: ignore[operator]
                ranges[start, end] = None
        else:
            values[_value(where, one, kind)] = None
    return search_options.Choice(name, tuple(values), tuple(ranges))


def _range(where: str, one: FacetRange, kind: FieldType) -> tuple[Value, Value]:
    check_ordered(where, "from and to", kind)
    if one.from_ is None and one.to is None:
        raise BadRequestError(where, "has a range with neither from nor to")
    start, end = (
        None if end is None else bound_of(where, end, kind) for end in (one.from_, one.to)
    )
    return start, end


def _value(where: str, value: bool | float | str, kind: FieldType) -> Value:
    """A value as the shards compare it: of dates, in UTC, the whole second."""
    found: Value = None
    match kind, value:
        case (FieldType.BOOLEAN, bool()) | (FieldType.KEYWORD, str()):
            found = value
        case FieldType.DATE, str() if (date := parse_date(value)) is not None:
            found = date.replace(microsecond=0).isoformat().replace("+00:00", "Z")
        case ((FieldType.INTEGER | FieldType.FLOAT), int() | float()) if type(value) is not bool:
            found = _number(value, kind)
    if found is None:
        raise BadRequestError(where, f"{value!r} is not a value of a {kind} field")
    return found


def _number(value: float, kind: FieldType) -> Value:
    """A number of the field's type; None if it is none."""
    if kind is FieldType.FLOAT:
        try:
            number = float(value)
        except OverflowError:
            return None
        return number + 0.0 if math.isfinite(number) else None  # 0.0 for -0.0, which is equal
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if int(value) in _INTEGERS else None


def cost_of(choices: Sequence[search_options.Choice]) -> Cost:
    """What choices add to the cost of a search, each time that it looks for matches."""
    return Cost(
        clauses=sum(len(one.values) for one in choices),
        scans=sum(len(one.ranges) for one in choices),
    )


def num_widened(choices: Sequence[search_options.Choice], facets: Sequence[Counted]) -> int:
    """How many times a shard has to look for matches again, for facets that leave a choice out."""
    return len({one.field for one in choices} & {one.field for one in facets})
