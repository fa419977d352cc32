"""Vector fields: their definitions, and the values that they take."""

import json
from array import array
from base64 import b64encode
from typing import Any

import pytest

from hedgerow.common.collection import Collection, define, with_added_fields
from hedgerow.common.documents.document_check import check_document, with_stored_vectors
from hedgerow.common.errors import BadRequestError, ConflictError
from hedgerow.common.fields.vectors import VectorField, shown_form

PLACE = {"type": "vector", "dimensions": 3, "metric": "l2", "quantisation": "int8"}


def collection_of(**members: Any) -> Collection:
    """A collection with one vector field."""
    return define("c", {"fields": {"title": "text", "place": {**PLACE, **members}}})


def test_a_definition_survives_json() -> None:
    """What a worker reads from the log is what the gateway wrote."""
    collection = collection_of()
    assert Collection.from_json(collection.to_json()) == collection
    assert collection.defined_fields == {"title": "text", "place": PLACE}


@pytest.mark.parametrize(
    ("definition", "member"),
    [
        ("vector", "fields.v.dimensions"),
        ({"type": "vector", "dimensions": 0}, "fields.v.dimensions"),
        ({"type": "vector", "dimensions": 5000}, "fields.v.dimensions"),
        ({"type": "vector", "dimensions": True}, "fields.v.dimensions"),
        ({"type": "vector", "dimensions": 3, "metric": "manhattan"}, "fields.v.metric"),
        ({"type": "vector", "dimensions": 3, "quantisation": "int4"}, "fields.v.quantisation"),
        ({"type": "vector", "dimensions": 3, "weight": 2}, "fields.v.weight"),
    ],
)
def test_a_bad_definition_is_refused(definition: Any, member: str) -> None:
    """The error names the member that is wrong."""
    with pytest.raises(BadRequestError) as refused:
        define("c", {"fields": {"v": definition}})
    assert refused.value.field == member


def test_a_vector_field_can_be_added_and_not_changed() -> None:
    """Adding the same field again changes nothing; adding another of its name is a conflict."""
    plain = define("c", {"fields": {"title": "text"}})
    wider = with_added_fields(plain, {"place": PLACE})
    assert wider.extends(plain)
    assert not plain.extends(wider)
    assert with_added_fields(wider, {"place": PLACE}) is wider
    with pytest.raises(ConflictError, match="place"):
        with_added_fields(wider, {"place": {**PLACE, "dimensions": 4}})
    with pytest.raises(ConflictError, match="title"):
        with_added_fields(wider, {"title": PLACE})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1, 2], "has 2 numbers; the field has 3 dimensions"),
        ([], "has 0 numbers"),
        ("AAAA", "there is a part of one left"),
        ("?", "is not Base64"),
        ([1, "2", 3], "is not a list of 3 numbers"),
        ([1, True, 3], "is not a list of 3 numbers"),
        ([1, None, 3], "is not a list of 3 numbers"),
        ({"x": 1}, "is not a list of 3 numbers"),
        ([1, 2, 1e39], "not finite in 32 bits"),
        ([1, 2, 10**400], "not finite in 32 bits"),
        (b64encode(array("f", [1, float("nan"), 0]).tobytes()).decode(), "not finite"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value: Any, reason: str) -> None:
    """The error names the field and the reason."""
    with pytest.raises(BadRequestError, match=reason) as refused:
        check_document(collection_of(), {"id": "a", "place": value})
    assert refused.value.field == "place"


def test_zero_has_no_direction() -> None:
    """With cosine, a vector of zeros is refused, and one that is zero in 32 bits; not with l2."""
    zero = {"id": "a", "place": [0, 0, 0]}
    assert check_document(collection_of(), zero) == {}
    for value in ([0, 0.0, 0], [1e-60, 0, 0]):
        with pytest.raises(BadRequestError, match="no direction"):
            check_document(collection_of(metric="cosine"), {"id": "a", "place": value})


def test_a_stored_vector_is_what_was_given() -> None:
    """A vector is stored as Base64 of 32-bit floats, which is accepted and shown as numbers."""
    collection = collection_of()
    document = {"id": "a", "place": [1, -2.5, 0.125]}
    assert with_stored_vectors(collection, document)
    assert document["place"] == b64encode(array("f", [1, -2.5, 0.125]).tobytes()).decode()
    assert shown_form(document["place"]) == [1, -2.5, 0.125]
    assert check_document(collection, document) == {}
    assert not with_stored_vectors(collection, document)  # it is the same already
    assert json.loads(json.dumps(document)) == document


def test_a_document_may_lack_its_vector() -> None:
    """Null and nothing are the same, as for other fields."""
    collection = collection_of()
    for document in ({"id": "a"}, {"id": "a", "place": None}):
        assert check_document(collection, document) == {}
        assert not with_stored_vectors(collection, document)


def test_size_of_a_packed_vector() -> None:
    """A number takes four bytes."""
    assert VectorField(3).num_bytes == 12
