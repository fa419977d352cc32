"""How values look as text."""

import json
from typing import Any

import pytest

from hedgerow.common.fields.field_types import FieldType, mismatch, texts_of


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a b", ["a b"]),
        (1984, ["1984"]),
        (-0.5, ["-0.5"]),
        (True, ["true"]),
        ([], []),
        (["a", 7, False], ["a", "7", "false"]),
    ],
)
def test_a_value_has_the_text_that_json_has(value: Any, texts: list[str]) -> None:
    """A string is itself; numbers and booleans are as they are written in the document."""
    assert not mismatch(FieldType.TEXT, value)
    assert texts_of(value) == texts
    items = value if isinstance(value, list) else [value]
    assert [one if isinstance(one, str) else json.dumps(one) for one in items] == texts
