"""Bodies of searches: those that are read quickly are read as those that are read carefully."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hedgerow.common.settings.settings import GatewaySettings
from hedgerow.gateway.http.search.search_body import search_body, search_reader

SETTINGS = GatewaySettings(default_k=7, max_k=50, max_deadline_ms=900, max_query_chars=20)
MODEL = search_body(SETTINGS)
MEMBERS = list(MODEL.model_fields)
read = search_reader(SETTINGS, MODEL)

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 60),
    st.integers(),
    st.floats(-1, 1000),
    st.floats(),
    st.text(max_size=24),
    st.sampled_from(["lenient", "strict", "interactive", "batch", "", "x" * 20, "é" * 20]),
    st.lists(st.text(max_size=3), max_size=3),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def told(reader: Any, raw: bytes) -> Any:
    """What a body is read as, with the types of its members, or why it is refused."""
    try:
        body = reader(raw)
    except ValidationError as error:
        return error.errors(include_url=False)
    values = [getattr(body, name) for name in MEMBERS]
    return [(type(value), value) for value in values]


def as_told(raw: bytes) -> None:
    """Be sure that a body is read alike in both ways."""
    # As text, since NaN is not equal to itself.
    assert str(told(read, raw)) == str(told(MODEL.model_validate_json, raw))


@given(st.dictionaries(st.sampled_from([*MEMBERS, "kk"]), VALUES), st.booleans())
def test_a_body_is_read_as_the_model_reads_it(members: dict[str, Any], has_query: bool) -> None:
    """Whatever its members are, they are taken for the same, or refused for the same reason."""
    if has_query:
        members = {"query": "wing", **members}
    as_told(json.dumps(members).encode())
    as_told(json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=40), st.integers(0, 30))
def test_damaged_bodies_are_refused_as_the_model_refuses_them(noise: bytes, at: int) -> None:
    """Bytes that stand where none should make both of them stumble, or neither."""
    whole = b'{"query": "wing", "k": 3, "fields": ["a", "b"]}'
    as_told(whole[:at] + noise + whole[at:])
    as_told(whole[:at] + noise)
    as_told(noise)


@pytest.mark.parametrize(
    "member",
    [
        b'"k":10.0',
        b'"k":1e1',
        b'"k":10.5',
        b'"k":-0',
        b'"k":01',
        b'"k":"7"',
        b'"k":true',
        b'"deadline_ms":300',
        b'"deadline_ms":3e2',
        b'"deadline_ms":1e-400',
        b'"deadline_ms":NaN',
        b'"deadline_ms":Infinity',
        b'"deadline_ms":1e999',
        b'"deadline_ms":0',
        b'"deadline_ms":.5',
        b'"minimum_coverage":-0.0',
        b'"minimum_coverage":1',
        b'"wait_for":0',
        b'"wait_for":1.0',
        b'"filter":"\\ud800"',
        b'"filter":"\\ud83d\\ude00"',
        b'"filter":"\\u0000"',
        b'"filter":"\x01"',
        b'"filter":"\xff"',
        b'"filter":"\xed\xa0\x80"',
        b'"filter":"\\/"',
        b'"filter":"\\x"',
        b'"k":1,"k":2',
        b'"k":"x","k":2',
        b'"k":2,"k":"x"',
        b'"\\u006b":3',
        b'"k":3,',
        b'"fields":null',
        b'"fields":["a",1]',
        b'"fields":0',
        b'"fields":"a"',
        b'"syntax":null',
    ],
)
def test_what_json_leaves_open_is_read_alike(member: bytes) -> None:
    """Numbers, escapes and repeated members at the edges of JSON."""
    as_told(b'{"query":"a",%b}' % member)
    as_told(b'{%b,"query":"a"}' % member)


def test_a_body_in_order_is_not_read_twice() -> None:
    """The model, which is slower, reads only what is to be refused."""
    assert not isinstance(read(b'{"query": "a"}'), MODEL)
