"""Shapes as /openapi.json describes them, and what they say that other parts define."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.fields.field_definitions import MAX_WEIGHT
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.word_analysis import MAX_NGRAMS, MIN_NGRAMS, TEXTS
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.search.batch_body import batch_shapes
from hedgerow.gateway.search.search_body import search_body
from hedgerow.gateway.shapes import collection
from hedgerow.gateway.shapes.alias import AliasBody, AliasChanges
from hedgerow.gateway.shapes.answer import Shards
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryBody
from hedgerow.gateway.shapes.operations import BreakerBody
from hedgerow.gateway.shapes.reindex import ReindexBody
from hedgerow.gateway.shapes.synonyms import SynonymsBody
from tests.support.openapi import OPENAPI

SCHEMAS = OPENAPI["components"]["schemas"]
SEARCH_BODY = search_body(GatewaySettings())
BATCH = batch_shapes(GatewaySettings(), SEARCH_BODY)
# Name of a request's shape → the shape, and a body of no more than it must have.
REQUESTS: dict[str, tuple[type[msgspec.Struct], dict[str, Any]]] = {
    "SearchBody": (SEARCH_BODY, {}),
    "BatchBody": (BATCH.body, {"searches": []}),
    "BatchSearch": (BATCH.search, {"collection": "films"}),
    "CollectionBody": (collection.CollectionBody, {}),
    "CollectionPatch": (collection.CollectionPatch, {"fields": {}}),
    "BreakerBody": (BreakerBody, {"state": "closed"}),
    "DeleteByQueryBody": (DeleteByQueryBody, {"query": "wing"}),
    "ExpiryBody": (ExpiryBody, {"field": "day"}),
    "SynonymsBody": (SynonymsBody, {}),
    "AliasBody": (AliasBody, {"collection": "films"}),
    "AliasChanges": (AliasChanges, {"changes": []}),
    "ReindexBody": (ReindexBody, {"from": "films-1", "to": "films-2", "alias": "films"}),
}
PARTS = {  # of a search's body
    "Facet",
    "FacetRange",
    "SortBy",
    "VectorQuery",
    "Hybrid",
    "LegMinimum",
    "LegWait",
    "LegWeights",
    "Highlight",
    "MoreLike",
}
MAY_LACK = {
    "SearchAnswer": {"facets", "next_page", "legs", "did_you_mean"},
    "BatchResult": {"answer", "problem"},
    "Coverage": {"exact", "bound"},
    "Hit": {"sort", "group", "legs", "highlights"},
    "Leg": {"embed_ms", "left_out"},
    "FacetAnswer": {"buckets", "stats", "other", "unlisted_at_most", "not_searched"},
    "FacetBucket": {"value", "from", "to", "error"},
    "LoadAnswer": {
        "inferred_fields",
        "inference",
        "field_warnings",
        "trace_id",
        "version",
        "set_aside",
        "set_aside_total",
    },
    "WeightedField": {"weight", "language", "folding", "ngrams"},
    "DefinedVector": {"metric", "quantisation", "embed", "from"},
}


@pytest.mark.parametrize(
    "name", sorted(SCHEMAS.keys() - REQUESTS.keys() - PARTS - {"Problem", "Outcome"})
)
def test_an_answer_is_described_whole(name: str) -> None:
    """A gateway sends exactly the members of an answer, except those that may be missing."""
    shape = SCHEMAS[name]
    assert set(shape["required"]) == set(shape["properties"]) - MAY_LACK.get(name, set())
    assert shape["additionalProperties"] is False


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_has_no_member_that_is_not_described(name: str) -> None:
    """Members that are not known are refused; what must be there is said."""
    shape, body = REQUESTS[name]
    assert SCHEMAS[name]["additionalProperties"] is False
    assert SCHEMAS[name]["required"] == list(body)
    msgspec.convert(body, shape)
    with pytest.raises(msgspec.ValidationError, match="unknown"):
        msgspec.convert({**body, "kk": 1}, shape)


def test_shapes_of_collections_are_as_collections_are_defined() -> None:
    """Types of fields, the largest weight and the defaults are those of the definition."""
    assert [*FieldType] == [*get_args(collection.FieldType), "vector"]
    weighted = SCHEMAS["WeightedField"]["properties"]["weight"]
    assert (weighted["minimum"], weighted["maximum"]) == (0, MAX_WEIGHT)
    (ngrams, _) = SCHEMAS["WeightedField"]["properties"]["ngrams"]["anyOf"]
    assert (ngrams["minimum"], ngrams["maximum"]) == (MIN_NGRAMS, MAX_NGRAMS)
    body = collection.CollectionBody()
    defined = Collection("a", "u", texts=TEXTS, folding=True)
    assert define("a", msgspec.to_builtins(body), "u") == defined
    assert (body.rank_profile, body.language) == (Collection("a", "u").rank_profile, "english")


def test_the_counts_of_outcomes_are_in_the_order_of_the_outcomes() -> None:
    """Every outcome has its count, where answers are encoded by place."""
    assert Shards.__struct_fields__ == ("total", *Outcome, "detail")


def operations() -> list[dict[str, Any]]:
    """All operations of the document."""
    return [one for path in OPENAPI["paths"].values() for one in path.values()]


def test_each_operation_has_a_short_name_of_its_own() -> None:
    """Generated clients name their methods by it."""
    names = [one["operationId"] for one in operations()]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and len(name) < 24 for name in names), names


def test_each_answer_with_a_content_describes_it() -> None:
    """A generated client would otherwise give its callers nothing."""
    for one in operations():
        for status, answer in one["responses"].items():
            assert bool(answer.get("content")) == (status != "204"), (one["operationId"], status)


def test_an_object_of_any_members_is_not_described_as_empty() -> None:
    """A document's fields are such an object; without a word about members it would be `{}`."""

    def check(part: Any) -> None:
        if isinstance(part, dict):
            if part.get("type") == "object":
                assert {"properties", "additionalProperties"} & part.keys(), part
            for inner in part.values():
                check(inner)
        elif isinstance(part, list):
            for inner in part:
                check(inner)

    check(OPENAPI)
    fields = SCHEMAS["Hit"]["properties"]["fields"]["anyOf"]
    assert {"type": "object", "additionalProperties": True} in fields


def test_each_choice_is_of_the_type_that_is_described() -> None:
    """A list of values stands beside the JSON type that they have."""
    types = {"string": str, "boolean": bool}
    described = list(_with_choices(OPENAPI))
    assert len(described) > 5
    for part in described:
        assert all(isinstance(choice, types[part["type"]]) for choice in part["enum"]), part


def _with_choices(part: Any) -> Iterator[dict[str, Any]]:
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for value in inner:
        yield from _with_choices(value)
    if isinstance(part, dict) and isinstance(part.get("enum"), list):
        yield part
