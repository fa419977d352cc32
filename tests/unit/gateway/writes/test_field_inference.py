"""Each inferred field comes with the reason, and the line that decided."""

from typing import Any

import pytest

from hedgerow.gateway.shapes.collection import InferredField
from hedgerow.gateway.writes.field_inference import MAX_NAMES, FieldInference


def explained(*values: Any, name: str = "f") -> InferredField:
    """What is said of a field with these values, one a line from line 11."""
    inference = FieldInference()
    for line, value in enumerate(values, 11):
        inference.add({"id": "1", name: value}, line)
    (found,) = inference.explained()
    return found


@pytest.mark.parametrize(
    ("values", "kind", "line", "why"),
    [
        ([1, 2], "integer", None, "whole numbers"),
        ([1, 2.5], "float", None, "numbers"),
        (["a", "b"], "text", None, "strings"),
        (["a", ["b"]], "text", None, "strings"),
        (["a", "b", 7, 8], "text", 13, "a whole number"),
        ([7, 8, "n/a", "n/a"], "text", 13, "a string"),
        ([7, 2.5, True, "x"], "text", 13, "true or false"),
        (["2020-01-01", None, "soon"], "text", 13, "a string that is no date"),
        ([1, 2**63], "text", 12, "2^63 or more"),
        (["a", {"b": 1}, [1]], None, 12, "an object"),
        ([[0.5, 0.25], "a"], None, 11, "a list without strings"),
        ([None, ["a", None]], None, 12, "a list of lists, objects or nulls"),
        ([None, []], None, 12, "no value but empty lists"),
    ],
)
def test_the_line_that_decided_is_named(
    values: list[Any], kind: str | None, line: int | None, why: str
) -> None:
    """The first line with a value that allowed no other type, or none."""
    found = explained(*values)
    assert (found.type, found.line) == (kind, line)
    assert why in found.why


def test_a_name_that_no_query_can_contain_is_a_reason() -> None:
    """Such a field is reported as stored only."""
    found = explained("x", name="first name")
    assert (found.field, found.type, found.line) == ("first name", None, 11)
    assert "name" in found.why


def test_fields_beyond_the_limit_are_stored_only() -> None:
    """The first 256 get a type; the others say why not, up to a bounded number."""
    inference = FieldInference()
    inference.add({f"f{n}": n for n in range(2 * MAX_NAMES)}, 3)
    found = inference.explained()
    assert len(found) == MAX_NAMES
    assert [one.type for one in found] == ["integer"] * 256 + [None] * 256
    assert "256" in found[-1].why
    assert found[-1].line == 3
