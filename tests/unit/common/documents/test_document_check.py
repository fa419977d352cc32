"""Documents that pass can be indexed; the others are refused by the name of the field."""

from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.documents.document_check import check_document
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import FieldType

SIMPLE_TYPES = [kind for kind in FieldType if kind is not FieldType.VECTOR]
EVERY_TYPE = define("c", {"fields": {str(kind): str(kind) for kind in SIMPLE_TYPES}})


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            "text",
            ["", "a", ["a", "b"], [], 1, 1.5, True, ["a", 1], [1, 2]],
            [["a", None], {"a": 1}, [["a"]], "\ud800", ["\ud800", 1]],
        ),
        ("keyword", ["", "a", ["a", "b"], 7, False], [[None], {"a": 1}, "\udc00"]),
        ("integer", [0, -1, 2**63 - 1, -(2**63)], [1.5, 1.0, "1", True, 2**63, [1]]),
        (
            "float",
            [0, 1.5, -2, 1e300, 2**63, -(2**63) - 1, 2**64, 10**308, -(10**308)],
            ["1", True, float("nan"), float("inf"), 10**309, -(10**309), 10**4000, [1.0]],
        ),
        ("boolean", [True, False], [0, 1, "true", [True]]),
        (
            "date",
            ["2020-02-29", "2020-02-29T23:59:59Z", "2020-02-29t00:00:00.5+05:30"],
            [
                "2021-02-29",
                "2020",
                "yesterday",
                0,
                "2020-01-01T00:00",
                "1500-01-01",
                ["2020-01-01"],
            ],
        ),
    ],
)
def test_a_document_is_refused_for_a_value_of_another_type(
    kind: str, good: list[Any], bad: list[Any]
) -> None:
    """Every type takes its own values, and names the field that holds any other."""
    for value in [*good, None]:
        check_document(EVERY_TYPE, {"id": "1", kind: value})
    for value in bad:
        with pytest.raises(BadRequestError) as refused:
            check_document(EVERY_TYPE, {"id": "1", kind: value})
        assert refused.value.field == kind


def test_a_value_that_does_not_fit_an_inferred_type_is_named_and_not_refused() -> None:
    """The inference may have been wrong; a declared type is the caller's word."""
    collection = define("c", {"fields": {"year": "integer", "day": "date"}})
    inferred = collection.with_fields(collection.fields or {}, inferred=["year"])
    assert list(check_document(inferred, {"id": "1", "year": "?", "day": None})) == ["year"]
    assert not check_document(inferred, {"id": "1", "year": 5})
    with pytest.raises(BadRequestError) as refused:
        check_document(inferred, {"id": "1", "year": "?", "day": "?"})
    assert refused.value.field == "day"


def test_what_is_not_declared_may_be_anything() -> None:
    """Undeclared fields are stored whatever they hold."""
    check_document(EVERY_TYPE, {"id": "1", "nested": {"a": [1, None, {"b": 2}]}})
    check_document(define("c", {}), {"id": 7, "text": 5})


@pytest.mark.parametrize("document", [None, [], "id", 3])
def test_a_document_is_an_object(document: Any) -> None:
    """Other JSON is refused as a whole."""
    with pytest.raises(BadRequestError, match="JSON object"):
        check_document(EVERY_TYPE, document)
