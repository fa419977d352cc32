"""Which fields of a load are warned about, and from which line on."""

from typing import Any

from hedgerow.common.collection import define
from hedgerow.gateway.shapes.collection import FieldWarning, InferredField
from hedgerow.gateway.writes.field_inference import FieldInference
from hedgerow.gateway.writes.field_warnings import MAX_WARNINGS, FieldWarnings

BOOKS = define("books", {"fields": {"title": "text", "year": "integer"}})


def test_each_field_is_named_once_with_its_first_line() -> None:
    """Fields that the collection lacks, values that do not fit, and those that cost a document."""
    warnings = FieldWarnings(BOOKS)
    documents: list[dict[str, Any]] = [
        {"id": "1", "title": "x", "year": 5},
        {"id": "2", "extra": None},
        {"id": "3", "extra": {"a": 1}, "b": 2},
        {"id": "4", "extra": {"a": 1}},
    ]
    for line, document in enumerate(documents, 1):
        warnings.see(document, line, {})
    warnings.see({"id": "5", "year": "?"}, 5, {"year": "is a number"})
    warnings.see({"id": "6", "year": "?"}, 6, {"year": "is a number"})
    warnings.reject("title", "is a text", 7)
    warnings.reject("id", "is missing", 8)
    warnings.reject("the line", "is not JSON", 9)
    unknown = "is not a field of the collection"
    assert warnings.result() == [
        FieldWarning("b", "stored_only", unknown, 3),
        FieldWarning("extra", "stored_only", unknown, 3),
        FieldWarning("year", "not_indexed", "is a number", 5, 2),
        FieldWarning("title", "rejected", "is a text", 7, 1),
    ]


def test_a_field_that_was_not_inferred_says_why() -> None:
    """The reason is that of the inference."""
    inferred = [
        InferredField("title", "text", "strings", None),
        InferredField("vector", None, "a list without strings", 4),
    ]
    warnings = FieldWarnings(BOOKS, inferred)
    warnings.see({"id": "1", "vector": [1, 2]}, 4, {})
    (warning,) = warnings.result()
    assert warning.reason == "has a list without strings"


def test_ever_new_fields_take_bounded_memory() -> None:
    """Only the first are kept."""
    warnings = FieldWarnings(BOOKS)
    for line in range(1, 50):
        warnings.see({f"f{line}_{n}": n for n in range(1000)}, line, {})
    assert len(warnings.result()) == MAX_WARNINGS
    assert len(warnings._known) <= MAX_WARNINGS + 3


def test_names_of_any_length_take_bounded_memory() -> None:
    """A document's names may be as long as the document; a report names their beginning."""
    warnings = FieldWarnings(BOOKS)
    for line in range(1, 50):
        warnings.see({"x" * 500_000 + str(line): 1, f"{line}{'y' * 500_000}": 1}, line, {})
    result = warnings.result()
    assert result[0].field in {"x" * 100 + "…", "1" + "y" * 99 + "…"}
    assert len(result) == 50  # those that begin alike are one
    assert sum(map(len, warnings._known)) < 100
    assert max(len(name) for name, _ in warnings._noted) <= 101


def test_a_long_name_has_the_reason_of_its_inference() -> None:
    """Both cut it alike."""
    inference = FieldInference()
    inference.add({"id": "1", "z" * 300: 1}, 1)
    (inferred,) = inference.explained()
    assert inferred.field == "z" * 100 + "…"
    warnings = FieldWarnings(BOOKS, [inferred])
    warnings.see({"id": "1", "z" * 300: 1}, 1, {})
    assert warnings.result()[0].reason == "has a name that a query cannot contain"
