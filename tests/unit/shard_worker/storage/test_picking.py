"""The wanted fields of a document, taken out of its JSON."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.shard_worker.storage.picking import pick_of

# A value with more leaves is drawn again, as most are where lists are longer.
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.text(max_size=3) | st.sampled_from(("id", "título", 'q"', "\\", "\n", "f0"))


@settings(max_examples=50)
@given(st.dictionaries(names, values), st.lists(names, max_size=20), st.booleans())
def test_the_wanted_fields_are_taken_as_they_are(
    document: dict[str, Any], fields: list[str], is_ascii: bool
) -> None:
    """Those that the document has, in the order asked for, whatever they are called."""
    body = json.dumps(document, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    pick = pick_of(fields)
    assert pick is not None
    wanted = {name: document[name] for name in fields if name in document}
    assert list(json.loads(pick(body)).items()) == list(wanted.items())


@pytest.mark.parametrize("num_fields", [1, 16, 17, 400])
def test_any_number_of_fields_can_be_wanted(num_fields: int) -> None:
    """Few are looked for as members of a struct, many in a dict."""
    document = {f"n{at}": at for at in range(500)}
    pick = pick_of([f"n{at}" for at in range(num_fields)])
    assert pick is not None
    assert json.loads(pick(json.dumps(document).encode())) == dict(
        list(document.items())[:num_fields]
    )


def test_a_value_is_not_read() -> None:
    """It is carried to the byte: a number with more digits than a float has keeps them."""
    pick = pick_of(["n"])
    assert pick is not None
    assert pick(b'{"m":[1,{}],"n":0.10000000000000000000001,"o":1e999}') == (
        b'{"n":0.10000000000000000000001}'
    )


def test_all_fields_need_no_picking() -> None:
    """None is the wish for all, and an empty list for none."""
    assert pick_of(None) is None
    none = pick_of([])
    assert none is not None
    assert none(b'{"a":1}') == b"{}"


def test_vectors_are_left_out_or_shown_as_numbers() -> None:
    """A vector is extracted only if it is named, and then as a list; the rest as it is stored."""
    body = b'{"id":"a","v":"AACAPwAAIEA=","w":[1],"n":{"v":1}}'
    whole = pick_of(None, ("v",))
    assert whole is not None
    assert whole(body) == b'{"id":"a","w":[1],"n":{"v":1}}'
    named = pick_of(["v", "n", "gone"], ("v", "gone"))
    assert named is not None
    assert named(body) == b'{"v":[1.0,2.5],"n":{"v":1}}'
    stored = pick_of(["v"], ())
    assert stored is not None
    assert stored(body) == b'{"v":"AACAPwAAIEA="}'
