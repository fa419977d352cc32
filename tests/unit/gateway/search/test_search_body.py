"""Bodies of searches: the fast reader and the one that names faults read them alike."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import BadBodyError, BadRequestError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.requests.bodies import body_reader, read_object
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.search_body import check_members, search_body
from hedgerow.gateway.shapes.faults import checked

SETTINGS = GatewaySettings(default_k=7, max_k=50, max_deadline_ms=900, max_query_chars=20)
BODY = search_body(SETTINGS)
MEMBERS = list(BODY.__struct_fields__)
read = body_reader(BODY)

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


def read_carefully(raw: bytes) -> Any:
    """Read a body in the way that finds all its faults."""
    return checked(BODY, read_object(raw, allow_inf_nan=True))


def told(reader: Any, raw: bytes) -> Any:
    """What a body is read as, with the types of its members, or why it is refused."""
    try:
        body = reader(raw)
    except BadBodyError as error:
        return error.errors
    except BadRequestError as error:
        return [(error.field, error.reason)]
    values = [getattr(body, name) for name in MEMBERS]
    return [(type(value), value) for value in values]


def as_told(raw: bytes) -> None:
    """Check that both ways read a body alike."""
    assert told(read, raw) == told(read_carefully, raw)


@given(st.dictionaries(st.sampled_from([*MEMBERS, "kk"]), VALUES), st.booleans())
def test_a_body_is_read_alike_in_both_ways(members: dict[str, Any], has_query: bool) -> None:
    """Whatever its members are, they are taken for the same, or refused for the same reasons."""
    if has_query:
        members = {"query": "wing", **members}
    as_told(json.dumps(members).encode())
    as_told(json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=40), st.integers(0, 30))
def test_damaged_bodies_are_refused_in_both_ways(noise: bytes, at: int) -> None:
    """Stray bytes make both readers fail, or neither."""
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


@given(st.dictionaries(st.sampled_from([*MEMBERS[1:], "kk"]), VALUES, min_size=2))
def test_every_member_that_is_at_fault_is_named(members: dict[str, Any]) -> None:
    """Those named are exactly those that would be refused beside a good query alone."""

    def faults(given: dict[str, Any]) -> set[str]:
        try:
            checked(BODY, {"query": "wing", **given})
        except BadBodyError as error:
            return {field for field, _ in error.errors}
        return set()

    alone = [faults({name: value}) for name, value in members.items()]
    assert faults(members) == set().union(*alone)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"k": 0}, "k"),
        ({"k": 51}, "k"),
        ({"deadline_ms": 0.0}, "deadline_ms"),
        ({"deadline_ms": -1.0}, "deadline_ms"),
        ({"deadline_ms": math.nan}, "deadline_ms"),
        ({"deadline_ms": math.inf}, "deadline_ms"),
        ({"deadline_ms": 900.5}, "deadline_ms"),
        ({"minimum_coverage": 1.01}, "minimum_coverage"),
        ({"minimum_coverage": -0.1}, "minimum_coverage"),
        ({"minimum_coverage": math.nan}, "minimum_coverage"),
        ({"wait_for": 0.0}, "wait_for"),
        ({"query": "x" * 21}, "query"),
        ({"filter": "x" * 21}, "filter"),
        ({"query": "half a pair: \ud800"}, "query"),
        ({"filter": "title:\udfff"}, "filter"),
        ({"fields": "title"}, "fields"),
        ({"syntax": "loose"}, "syntax"),
    ],
)
def test_a_search_of_a_program_is_held_to_the_same_limits(
    changes: dict[str, Any], field: str
) -> None:
    """Each member out of its range is refused by its name, and none that is within."""
    check_members(SearchQuery("things", "x" * 20, 50), BODY)
    with pytest.raises(BadRequestError) as refused:
        check_members(SearchQuery(**{"collection": "things", "query": "hedge", **changes}), BODY)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("member", "value", "where", "reason"),
    [
        ("facets", {"when": {"histogram": "week"}}, "facets.when.histogram", "'minute'"),
        ("facets", {"city": {"size": 0}}, "facets.city.size", "greater than or equal to 1"),
        ("facets", {"city": {"sizes": 1}}, "facets.city.sizes", "is not a known field"),
        ("facets", {"city": None}, "facets.city", "should be an object, not null"),
        ("facets", {"p": {"ranges": [{}, {"from": []}]}}, "facets.p.ranges[1].from", "not a list"),
        ("facets", {"p": {"ranges": [{"from_": 1}]}}, "facets.p.ranges[0].from_", "not a known"),
        ("sort", [{"price": "down"}], "sort[0].price", "should be 'asc' or 'desc'"),
        ("sort", ["price", 1], "sort[1]", "should be a string or an object, not a whole number"),
        ("sort", "price", "sort", "should be a list, not a string"),
    ],
)
def test_a_fault_within_a_member_is_named_by_its_place(
    member: str, value: Any, where: str, reason: str
) -> None:
    """Callers see the facet or sort key that is wrong, in words of JSON."""
    found = told(read, json.dumps({"query": "wing", member: value}).encode())
    assert [name for name, _ in found] == [where]
    assert reason in found[0][1]


def test_a_member_names_a_few_of_its_faults() -> None:
    """Thousands of wrong facets do not make an answer of thousands of reasons."""
    raw = json.dumps({"query": "wing", "facets": dict.fromkeys(map(str, range(3000)), 1)})
    assert 1 <= len(told(read, raw.encode())) <= 10
