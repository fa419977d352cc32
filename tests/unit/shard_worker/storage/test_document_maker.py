"""How stored documents are read to be indexed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.storage.document_maker import decoded

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _VALUES, max_size=4))
def test_a_document_is_what_json_says(document: dict[str, Any]) -> None:
    """Whatever is stored is read as the standard library reads it: values and their types."""
    body = json.dumps(document).encode()
    assert repr(decoded(body)) == repr(json.loads(body))


@pytest.mark.parametrize(
    "text", ['"\\ud800"', "1e999", "-1e999", "NaN", "36893488147419103232", '{"a":1,"a":2}']
)
def test_what_few_decoders_take_is_taken(text: str) -> None:
    """Documents of earlier versions may have such values, and are indexed all the same."""
    body = f'{{"value":{text}}}'.encode()
    assert repr(decoded(body)) == repr(json.loads(body))


def test_what_is_not_json_is_refused() -> None:
    """By the error that the writer of an index expects."""
    with pytest.raises(ValueError, match="line 1"):
        decoded(b'{"id":')
