"""A stream of JSON is cut into its documents, wherever it is cut into pieces."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.cli.loading import json_values as module
from hedgerow.gateway.cli.loading.json_values import Value, json_values

TEXT = st.text(st.sampled_from('ab"\\[]{},:\n é\ud7ff'), max_size=6)
VALUES: Any = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=5)


def values_of(text: str, max_bytes: int = 10_000) -> list[Value]:
    """The values in a file that holds this text."""
    return list(json_values(io.BytesIO(text.encode()), max_bytes))


@given(
    documents=DOCUMENTS,
    indent=st.sampled_from([None, 1]),
    read_bytes=st.integers(4, 40),
    is_array=st.booleans(),
    mark=st.sampled_from(["", "\ufeff", " \n"]),
)
def test_documents_are_those_of_the_array_or_of_the_row_of_objects(
    documents: list[Any], indent: int | None, read_bytes: int, is_array: bool, mark: str
) -> None:
    """Whatever strings hold, and wherever a piece ends, each document comes whole, in one line."""
    whole = json.dumps(documents, indent=indent, ensure_ascii=False)
    row = "\n".join(json.dumps(one, indent=indent, ensure_ascii=False) for one in documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_READ_BYTES", read_bytes)
        found = values_of(mark + (whole if is_array else row))
    assert [json.loads(one.text) for one in found] == documents
    assert [one.number for one in found] == list(range(1, len(documents) + 1))
    assert all(one.is_whole and not one.is_long and b"\n" not in one.text for one in found)


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1}, {"b": "x', '[{"a": 1}, {"b": 2}', '{"a": 1}{"b": ', '[{"a": 1},', '[{"a": 1},\n'],
)
def test_a_file_that_is_cut_off_says_so(text: str) -> None:
    """The last document is marked; those before it are whole."""
    assert [one.is_whole for one in values_of(text)] == [True, False]
    assert [one.is_whole for one in values_of("[ ")] == [False]


def test_a_long_document_is_not_kept() -> None:
    """Its beginning is left, and the next document is found all the same."""
    long, short = values_of('[{"a": "' + "x" * 5000 + '"}, {"b": 2}]', max_bytes=100)
    assert long.is_long
    assert len(long.text) <= 101
    assert short == Value(2, b'{"b": 2}')


@pytest.mark.parametrize("text", ["", " \n", "[]", " [ ] ", "\ufeff[\n]"])
def test_nothing_holds_no_document(text: str) -> None:
    """An empty file, and an empty array."""
    assert values_of(text) == []


def test_what_is_no_object_comes_as_it_is() -> None:
    """The gateway says what is wrong with it, by its number."""
    assert [one.text for one in values_of('[1, "a, b", null, [2]]')] == [
        b"1",
        b'"a, b"',
        b"null",
        b"[2]",
    ]
