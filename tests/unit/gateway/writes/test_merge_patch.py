"""JSON Merge Patch, by the examples and the rules of RFC 7396."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError, TooLargeError
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.gateway.writes.document_line import parse_changes
from hedgerow.gateway.writes.merge_patch import merge_patch

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
names = st.sampled_from(["a", "b", "c"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(names, values, max_size=3)


# Appendix A of the RFC.
@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_standard(target: Any, patch: Any, merged: Any) -> None:
    """Each gives what the RFC says."""
    assert merge_patch(target, patch) == merged


@given(objects, objects)
def test_a_patch_says_what_its_members_become(target: Any, patch: Any) -> None:
    """Members that it does not name stay, null removes, and doing it twice changes nothing more.

    Neither the document nor the patch is changed.
    """
    before = copy.deepcopy((target, patch))
    merged = merge_patch(target, patch)
    assert (target, patch) == before
    assert merge_patch(merged, patch) == merged
    assert {name: merged.get(name) for name in target.keys() - patch} == {
        name: target[name] for name in target.keys() - patch
    }
    for name, value in patch.items():
        if value is None:
            assert name not in merged
        elif isinstance(value, dict):
            inner = target.get(name)
            assert merged[name] == merge_patch(inner, value)
            assert isinstance(inner, dict) or None not in merged[name].values()
        else:
            assert merged[name] == value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[1]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b"", "not JSON"),
        (b'{"a":', "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1e999}', "does not fit"),
        (b'{"a": 123456789012345678901234567890}', "64 bits"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a":' + b"[" * 120 + b"]" * 120 + b"}", "nested"),
        (b'{"a": [' + b"1," * 160 + b"1]}", "more than 150 values"),
        (b'{"id": null}', "cannot be removed"),
        (b'{"a": "\xff"}', "UTF-8"),
    ],
)
def test_changes_that_no_document_can_have_are_refused(body: bytes, reason: str) -> None:
    """They are refused before the document is read, with the reason."""
    with pytest.raises(BadRequestError, match=reason) as refused:
        parse_changes(body, LimitSettings(max_document_values=150))
    assert isinstance(refused.value, TooLargeError) == ("values" in reason)
    assert refused.value.field in {"the body", "id"}


def test_a_field_of_floats_is_changed_to_an_integer_as_large_as_a_float() -> None:
    """As in a document that is written; in another field, it is refused."""
    body = b'{"a": 123456789012345678901234567890}'
    assert parse_changes(body, LimitSettings(), floats=["a"]) == {
        "a": 123456789012345678901234567890.0
    }
    with pytest.raises(BadRequestError, match="64 bits"):
        parse_changes(body, LimitSettings(), floats=["b"])


def test_changes_are_read_as_they_are() -> None:
    """Nulls and nested values are kept for the merge."""
    changes = parse_changes(b'{"a": null, "b": {"c": [1, null]}}', LimitSettings())
    assert changes == {"a": None, "b": {"c": [1, None]}}
