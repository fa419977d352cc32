"""The order by fields: what the shards are asked for, and the hits of all of them in that order."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.wire.messages import SearchBody
from hedgerow.common.wire.search_options import SCORE, SortKey, Value
from hedgerow.gateway.search.merge import merge
from hedgerow.gateway.search.options.facets import type_of
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.shapes.sorting import SortBy
from hedgerow.gateway.shapes.sorting import SortKey as GivenKey


def check_sort(
    sort: Sequence[GivenKey], collection: Collection, limits: QuerySettings
) -> tuple[SortKey, ...]:
    """Check an order, and say what to ask the shards for.

    Raises:
        BadRequestError: names the key and the reason.
    """
    if len(sort) > limits.max_sort_keys:
        raise BadRequestError(
            "sort",
            f"has {len(sort)} keys; the limit is {limits.max_sort_keys} (query.max_sort_keys)",
        )
    keys: list[SortKey] = []
    for given in sort:
        key = _key(given)
        if any(key.field == other.field for other in keys):
            raise BadRequestError("sort", f"names {key.field} twice")
        if keys and keys[-1].field == SCORE:
            raise BadRequestError("sort", f"has {SCORE} before {key.field}; it can only be last")
        if key.field != SCORE:
            kind = type_of(key.field, collection, "sort")
            if kind in (FieldType.TEXT, FieldType.VECTOR):
                raise BadRequestError(
                    "sort",
                    f"names {key.field}, which is a {kind}; hits are sorted by fields of other "
                    "types",
                )
        keys.append(key)
    return tuple(keys)


def _key(given: GivenKey) -> SortKey:
    if isinstance(given, str):
        return SortKey(given, is_descending=given == SCORE)
    if len(given) != 1:
        raise BadRequestError("sort", f"has a key of {len(given)} fields; each key has one")
    ((field, how),) = given.items()
    if not isinstance(how, SortBy):
        how = SortBy(how)
    if field == SCORE and how != SortBy("desc"):
        raise BadRequestError("sort", f"has {SCORE}, which is always descending and never missing")
    return SortKey(field, how.order == "desc", how.missing == "first")


def check_group(name: str, collection: Collection) -> None:
    """Check the field by which hits are grouped.

    Raises:
        BadRequestError: it is not a keyword.
    """
    kind = type_of(name, collection, "group_by")
    if kind is not FieldType.KEYWORD:
        raise BadRequestError("group_by", f"names {name}, which is of type {kind}, not a keyword")


class _Row(NamedTuple):
    values: tuple[Any, ...]
    id: str
    shard: int
    score: float
    group: Value


def merge_ordered(
    parts: Sequence[tuple[int, SearchBody]], k: int, keys: Sequence[SortKey], *, is_grouped: bool
) -> list[Hit]:
    """Return the first k hits of all shards.

    Args:
        parts: shard and its hits in the order, for each shard that answered.
        k: how many hits are wanted, at least 1.
        keys: the order; by score without any.
        is_grouped: whether to return only the first of each group.
    """
    if not is_grouped and not keys:
        return merge(parts, k)
    rows: list[_Row] = []
    for shard, body in parts:
        extras = body.extras
        if extras is None:
            continue
        for number, one in enumerate(body.ids):
            values = extras.sort_values[number] if keys else ()
            group = extras.groups[number] if is_grouped else None
            rows.append(_Row(values, one, shard, body.scores[number], group))
    rows = _sorted(rows, keys)
    if is_grouped:
        first: dict[Value, _Row] = {}
        for row in rows:
            first.setdefault(row.group, row)
        rows = list(first.values())
    hits = []
    for row in rows[:k]:
        hit = Hit(row.id, row.score, row.shard)
        if keys:
            hit.sort = row.values
        if is_grouped:
            hit.group = row.group
        hits.append(hit)
    return hits


def _sorted(rows: list[_Row], keys: Sequence[SortKey]) -> list[_Row]:
    # Stable sorts by one column at a time need no comparison in Python.
    rows.sort(key=itemgetter(1))
    if not keys:
        rows.sort(key=itemgetter(3), reverse=True)
    for at in reversed(range(len(keys))):
        present = [row for row in rows if row.values[at] is not None]
        missing = [row for row in rows if row.values[at] is None]
        present.sort(key=lambda row, at=at: row.values[at], reverse=keys[at].is_descending)  # type: ignore[misc]
        rows = [*missing, *present] if keys[at].is_missing_first else [*present, *missing]
    return rows
