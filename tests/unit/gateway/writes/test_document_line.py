"""Which lines are documents, and what a document may hold."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError, TooLargeError
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.gateway.writes.document_line import MAX_DEPTH, parse_document, parse_steps

LIMITS = LimitSettings()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"id":"a"', "not JSON"),
        (b'{"id":"a"} {}', "not JSON"),
        (b'{"title":"no id"}', "missing"),
        (b'{"id":null}', "missing"),
        (b'{"id":""}', "at least one character"),
        (b'{"id":true}', "string"),
        (b'{"id":1.5}', "string"),
        (b'{"id":"a","x":NaN}', "NaN"),
        (b'{"id":"a","x":-Infinity}', "Infinity"),
        (b'{"id":"a","x":1e999}', "1e999"),
        (b'{"id":"a","x":123456789012345678901234567890}', "64 bits"),
        (b'{"id":"a","x":-9223372036854775809}', "64 bits"),
        (b'{"id":"a","x":' + b"9" * 10_000 + b"}", "64 bits"),
        (b'{"id":"a","x":"\xff"}', "UTF-8"),
        (b'{"id":"a","x":"\\ud800"}', "surrogate"),
        (b'{"id":"a","x":' + b"[" * 101 + b"]" * 101 + b"}", "nested"),
        (b'{"id":"a","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested"),
        (b'{"id":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "values"),
    ],
)
def test_what_is_no_document(line: bytes, reason: str) -> None:
    """Each line that cannot be taken is refused with a reason that says why."""
    with pytest.raises(BadRequestError, match=reason):
        parse_document(line, LIMITS)


def test_limits() -> None:
    """A document, or an id, over its limit is refused as too large; one at it is not."""
    limits = LimitSettings(max_id_bytes=4, max_document_bytes=22)
    with pytest.raises(TooLargeError, match="id"):
        parse_document(b'{"id":"aaaaa"}', limits)
    with pytest.raises(TooLargeError, match="document"):
        parse_document(b'{"id":"a","x":"yyyyyy"}', limits)
    assert parse_document(b'{"id":"aaaa","x":"yy"}', limits).id == "aaaa"


def test_whole_numbers_are_ids() -> None:
    """An integer id counts as its digits, and the document is kept with them as its id."""
    parsed = parse_document(b'{"id":184,"n":5}', LIMITS)
    assert parsed.id == "184"
    assert parsed.document == json.loads(parsed.body) == {"id": "184", "n": 5}


# A value with more leaves is drawn again, as most are where lists are longer.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), json_values), st.booleans())
def test_an_accepted_document_survives(document: dict[str, Any], is_spaced: bool) -> None:
    """What is accepted is stored as JSON of the same value, in as few bytes, and can be packed."""
    document["id"] = "a"
    line = json.dumps(document, ensure_ascii=is_spaced, indent=None if is_spaced else 0)
    parsed = parse_document(line.replace("\n", " ").encode(), LIMITS)
    assert parsed.document == document
    assert json.loads(parsed.body) == document
    assert len(parsed.body) <= len(line.encode())
    msgpack.packb(parsed.document)


@given(st.integers(2**64, 10**308) | st.integers(-(10**308), -(2**63) - 1), st.booleans())
def test_a_field_of_floats_holds_integers_as_large_as_floats(number: int, is_put: bool) -> None:
    """It becomes the nearest float; what is kept can be packed, and is what is found again."""
    line = b'{"id":"a","n":%d,"x":%d}' % (7, number)
    if is_put:
        line = parse_document(line, LIMITS, own_id="a").body
    parsed = parse_document(line, LIMITS, floats=["x"])
    assert parsed.document == json.loads(parsed.body) == {"id": "a", "n": 7, "x": float(number)}
    msgpack.packb(parsed.document)


@pytest.mark.parametrize(
    "members",
    [
        '"x":{}'.format("9" * 400),
        '"x":-{}'.format("9" * 400),
        f'"n":{2**64}',
        f'"x":[{2**64}]',
        f'"x":{2**64},"n":{{"x":{2**64}}}',
    ],
)
def test_an_integer_that_no_field_of_floats_holds_is_refused(members: str) -> None:
    """It is beyond all floats, in another field, or nested."""
    line = b'{"id":"a",%b}' % members.encode()
    with pytest.raises(BadRequestError, match="which has more than 64 bits"):
        parse_document(line, LIMITS, floats=["x"])
    with pytest.raises(BadRequestError, match="which has more than 64 bits"):
        parse_document(parse_document(line, LIMITS, own_id="a").body, LIMITS, floats=["x"])


@pytest.mark.parametrize("own_id", [None, "1" + "0" * 20])
def test_an_id_is_no_float(own_id: str | None) -> None:
    """Not even if there is a field of that name: its digits would change."""
    with pytest.raises(BadRequestError, match="which has more than 64 bits"):
        parse_document(b'{"id":1%b}' % (b"0" * 20), LIMITS, own_id=own_id)


def test_nesting_up_to_the_limit() -> None:
    """Many brackets in a row are no nesting, and the limit itself is allowed."""
    wide = b'{"id":"a","x":[' + b",".join([b"[]"] * 500) + b"]}"
    deep = b'{"id":"a","x":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    for line in (wide, deep):
        assert parse_document(line, LIMITS).body == line


@pytest.mark.parametrize(
    "value",
    [
        b"[" + b",".join([b"[]"] * 6000) + b"]",
        b"[" + b",".join([b"{}"] * 6000) + b"]",
        b"[" + b",".join([b"1"] * 11_000) + b"]",
        b"[" + b",".join([b'""'] * 11_000) + b"]",
        b"{" + b",".join(b'"%x":1' % n for n in range(11_000)) + b"}",
        b'["\\\\",' + b",".join([b'"\\""'] * 11_000) + b"]",
        b"[" + b",".join([b'""'] * 100_000) + b"]",
    ],
)
def test_a_document_of_too_many_values_is_refused_before_it_is_decoded(
    value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists, objects, members, numbers and strings all count, and the limit is named."""
    monkeypatch.setattr("hedgerow.gateway.writes.document_line._decode", None)
    with pytest.raises(TooLargeError, match="the document: has more than 10000 values"):
        parse_document(b'{"id":"a","x":%b}' % value, LIMITS)


@pytest.mark.parametrize(
    "text",
    [",[{" * 20_000, '{"k":[1,2]},' * 10_000, "\\,", "\\" * 20_000 + "," * 20_000, '",' * 20_000],
)
def test_commas_and_brackets_in_strings_are_not_values(text: str) -> None:
    """A text of JSON or CSV counts as one value, however it is quoted."""
    line = json.dumps({"id": "a", "x": text}).encode()
    assert parse_document(line, LIMITS).document["x"] == text


@given(st.data())
def test_the_count_of_values_is_never_too_low(data: st.DataObject) -> None:
    """A document that passes a limit has no more values than it allows."""
    document = {"id": "a", "x": data.draw(json_values)}
    limit = data.draw(st.integers(1, 20))
    line = json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode()
    try:
        parse_document(line, LimitSettings(max_document_values=limit))
    except TooLargeError:
        return
    assert num_values(document) - 1 <= limit


def num_values(value: Any) -> int:
    """How many values there are, the outermost included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(num_values, inner))


@given(
    st.text(alphabet='{}[]",:\\ue19ntfa-.+ \x00é\ud800', max_size=40).map(
        lambda t: f'{{"id":"a",{t}'
    )
)
def test_any_line_is_a_document_or_refused(line: str) -> None:
    """Whatever the bytes are, what is not refused is JSON of exactly the same value."""
    raw = line.encode(errors="surrogatepass")
    try:
        parsed = parse_document(raw, LIMITS)
    except BadRequestError:
        return
    assert parsed.document == json.loads(raw)


def test_the_work_of_one_step_is_bounded_by_what_is_counted() -> None:
    """A long line is read in several steps, between which the loop turns to others."""
    line = json.dumps({"id": "a", "x": ",[" * 30_000}).encode()
    steps = parse_steps(line, LIMITS)
    assert len(list(steps)) >= 4
