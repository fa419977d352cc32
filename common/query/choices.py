"""Choices of values, as parts of a query that documents must match."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from hedgerow.common.collection import Collection
from hedgerow.common.fields.field_types import FieldType, parse_date
from hedgerow.common.query.tree import Clause, Clauses, Node, Occur, OneOf, Range, Value
from hedgerow.common.wire import search_options


def chosen(choice: search_options.Choice, collection: Collection) -> Node:
    """What a document must match: any of the values, or of the ranges."""
    kind = collection.type_of(choice.field)
    nodes = [*_values(choice, kind), *_ranges(choice, kind)]
    if len(nodes) == 1:
        return nodes[0]
    return Clauses(tuple(Clause(Occur.SHOULD, node) for node in nodes))


def restricted(
    node: Node | None, choices: Iterable[search_options.Choice], collection: Collection
) -> Node | None:
    """What a document must match in order to match a filter and all choices; None for nothing."""
    nodes = [] if node is None else [node]
    nodes += [chosen(choice, collection) for choice in choices]
    if len(nodes) < 2:
        return nodes[0] if nodes else None
    return Clauses(tuple(Clause(Occur.MUST, one) for one in nodes))


def _values(choice: search_options.Choice, kind: FieldType | None) -> Iterator[Node]:
    values = tuple(_indexed(value, kind) for value in choice.values)
    if kind is FieldType.FLOAT and 0.0 in values:  # which an index tells from -0.0
        yield Range(choice.field, -0.0, 0.0)
        values = tuple(value for value in values if value != 0)
        if not values:
            return
    if values or not choice.ranges:
        yield OneOf(choice.field, values)


def _ranges(choice: search_options.Choice, kind: FieldType | None) -> Iterator[Node]:
    for start, end in choice.ranges:
        lower, upper = (None if one is None else _bound(one, kind) for one in (start, end))
        # Without a bound there is nothing to exclude.
        yield Range(choice.field, lower, upper, include_upper=upper is None)


def _bound(value: search_options.Value, kind: FieldType | None) -> Value:
    if kind is FieldType.FLOAT and value == 0:
        return -0.0  # the least of the numbers that equal it
    return _indexed(value, kind)


def _indexed(value: search_options.Value, kind: FieldType | None) -> Value:
    """A value as queries have it; dates are kept to the second, so their bounds are rounded up."""
    if kind is FieldType.DATE:
        date = parse_date(str(value))
        if date is not None:
            whole = date.replace(microsecond=0)
            return whole if whole == date else whole + timedelta(seconds=1)
    return "" if value is None else value
