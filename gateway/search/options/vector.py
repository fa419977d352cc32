"""A search by a vector: checks it, and says what the shards are asked for."""

from typing import Final

from msgspec import UNSET

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.vectors import VectorField
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.wire.search_options import WantedVector
from hedgerow.gateway.search.options.facets import type_of
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.vector import VectorQuery

LEAST_EF: Final = 128  # unless the search says another


def check_vector(
    query: SearchQuery, vector: VectorQuery, collection: Collection, limits: QuerySettings
) -> WantedVector:
    """Check a search by a vector.

    Args:
        query: the search.
        vector: its vector.
        collection: what is searched.
        limits: what a search may ask for.

    Raises:
        BadRequestError: names the member and the reason.
    """
    _check_others(query)
    field = field_of(vector, collection)
    if vector.value is UNSET:
        raise BadRequestError("vector.value", "is missing")
    try:
        value = field.pack(vector.value)
    except ValueError as error:
        raise BadRequestError("vector.value", str(error)) from None
    k = max(vector.k or 0, query.num_ranked)
    _check_limit("k", k, limits.max_vector_k)
    ef = vector.ef or LEAST_EF
    _check_limit("ef", ef, limits.max_vector_ef)
    return WantedVector(vector.field, value, k, ef)


def field_of(vector: VectorQuery, collection: Collection) -> VectorField:
    """The definition of the field that a search names.

    Raises:
        BadRequestError: it is no vector field.
    """
    kind = type_of(vector.field, collection, "vector.field")
    if kind is not FieldType.VECTOR:
        raise BadRequestError(
            "vector.field", f"names {vector.field}, which is of type {kind}, not a vector"
        )
    return collection.vectors[vector.field]


def _check_others(query: SearchQuery) -> None:
    """Refuse members that say how a query's matches are found or ordered."""
    others = {
        "query": bool(query.query),
        "sort": bool(query.sort),
        "search_after": query.search_after is not None,
        "group_by": bool(query.group_by),
        "typos": query.typos != "off",
        "prefix": query.prefix,
    }
    for name, is_given in others.items():
        if is_given:
            raise BadRequestError(
                name, "does not apply with vector, which ranks by distance; use filter to restrict"
            )


def _check_limit(name: str, value: int, most: int) -> None:
    if value > most:
        raise BadRequestError(
            f"vector.{name}", f"is {value}; the limit is {most} (query.max_vector_{name})"
        )
