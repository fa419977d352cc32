"""What is packed comes back; what is not a message is a WireError and nothing else."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from hedgerow.common.errors import FailureCode, WireError
from hedgerow.common.wire.messages import (
    MAX_ATTACHED_BYTES,
    Attach,
    Failure,
    FetchBody,
    FetchPayload,
    Reply,
    Request,
    SearchBody,
    SearchPayload,
    pack_body,
    pack_replies,
    pack_request,
    unpack_failure,
    unpack_fetch_body,
    unpack_fetch_payload,
    unpack_replies,
    unpack_request,
    unpack_search_body,
    unpack_search_payload,
)
from hedgerow.common.wire.packing import VERSION
from hedgerow.common.wire.search_options import (
    After,
    Choice,
    FacetKind,
    FacetPart,
    Highlighting,
    LikeTerms,
    SearchExtras,
    SearchOptions,
    Slip,
    SortKey,
    WantedFacet,
    WantedHighlights,
    WantedTerms,
)


def tuples_of(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """A few of them."""
    return st.lists(items, max_size=3).map(tuple)


integers = st.integers(-(2**63), 2**64 - 1)  # what MessagePack can hold
strings = st.text(max_size=20)
blobs = st.binary(max_size=40)
counts = st.integers(0, 2**63)
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False) | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=8,
)

fields = st.none() | st.lists(strings, max_size=5)
attaches = st.builds(Attach, counts, st.integers(0, MAX_ATTACHED_BYTES), fields)
requests = st.builds(
    Request,
    integers,
    integers,
    integers,
    integers,
    strings,
    blobs,
    attach=st.none() | attaches,
    trace=st.none() | blobs,
)
replies = st.builds(
    Reply, integers, integers, integers, integers, integers, integers, integers, blobs
)

values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | strings
wanted_facets = st.builds(
    WantedFacet, strings, st.sampled_from(FacetKind).map(int), counts, tuples_of(values)
)
pairs = tuples_of(st.tuples(strings, strings))
search_options = st.builds(
    SearchOptions,
    tuples_of(wanted_facets),
    tuples_of(st.builds(SortKey, strings, st.booleans(), st.booleans())),
    st.none() | st.builds(After, tuples_of(values), strings, counts),
    strings,
    like=st.none() | st.builds(LikeTerms, strings, pairs),
    did_you_mean=st.booleans(),
    refine=tuples_of(
        st.builds(Choice, strings, tuples_of(values), tuples_of(st.tuples(values, values)))
    ),
)
search_extras = st.builds(
    SearchExtras,
    tuples_of(st.builds(FacetPart, tuples_of(values), tuples_of(counts), counts, counts, counts)),
    tuples_of(tuples_of(values)),
    tuples_of(values),
    strings,
    tuples_of(st.builds(Slip, strings, strings, counts, tuples_of(st.tuples(strings, counts)))),
)

highlighting = st.builds(
    Highlighting,
    strings,
    st.booleans(),
    st.none() | search_options,
    st.builds(WantedHighlights, tuples_of(strings), counts, counts, counts, strings, strings),
)


@st.composite
def search_bodies(draw: st.DrawFn) -> SearchBody:
    """A body with as many scores as ids."""
    finite = st.floats(allow_nan=False, allow_infinity=False)
    rows = draw(st.lists(st.tuples(strings, finite), max_size=8))
    documents = st.just(()) | st.lists(blobs, min_size=1, max_size=len(rows))
    second_phase_us = draw(st.none() | st.tuples(counts, counts))
    attached = draw(documents) if rows else ()
    extras = draw(st.none() | search_extras)
    return SearchBody(
        draw(counts),
        draw(counts),
        draw(st.booleans()),
        [row[0] for row in rows],
        [row[1] for row in rows],
        attached=[*attached] if second_phase_us or extras else attached,  # what is sent is a list
        second_phase_us=second_phase_us,
        extras=extras,
    )


BODIES: list[tuple[Callable[[bytes], Any], st.SearchStrategy[Any]]] = [
    (
        unpack_search_payload,
        st.builds(
            SearchPayload,
            strings,
            strings,
            integers,
            strings,
            strings,
            st.booleans(),
            st.none() | search_options,
        ),
    ),
    (unpack_search_body, search_bodies()),
    (
        unpack_fetch_payload,
        st.builds(
            FetchPayload,
            strings,
            st.lists(strings, max_size=5),
            fields,
            strings,
            tuples_of(strings),
            st.none() | highlighting,
            st.none() | st.builds(WantedTerms, tuples_of(strings), counts, counts),
        ),
    ),
    (
        unpack_fetch_body,
        st.builds(
            FetchBody,
            st.lists(st.none() | st.dictionaries(strings, json_values, max_size=4), max_size=5),
            strings,
            st.booleans(),
            st.none() | st.tuples(counts, counts),
            tuples_of(st.none() | blobs),
            strings,
            pairs,
        ),
    ),
    (unpack_failure, st.builds(Failure, strings, strings)),
]
UNPACKERS: list[Callable[[bytes], Any]] = [
    unpack_request,
    unpack_replies,
    *(unpack for unpack, _ in BODIES),
]

_REQUEST: list[object] = [1, 2, 3, 4, "to", b"p", None, 0]

# Anything that MessagePack can say, in shapes that come near to those of the messages.
single = st.none() | st.booleans() | integers | st.floats() | strings | blobs | st.just(VERSION)
shallow = single | st.lists(single, max_size=3)
anything = st.recursive(
    single,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(strings | blobs, inner, max_size=3),
    max_leaves=10,
)


@given(requests)
def test_requests_come_back(request: Request) -> None:
    """A request is the same after its way through the queue, in value and types."""
    assert unpack_request(pack_request(request)) == request


@given(strings, st.lists(replies, max_size=5))
def test_replies_come_back(worker: str, sent: list[Reply]) -> None:
    """Replies that leave together arrive together, with their worker's name."""
    assert unpack_replies(pack_replies(worker, sent)) == (worker, sent)


@pytest.mark.parametrize(("unpack", "bodies"), BODIES)
@given(data=st.data())
def test_bodies_come_back(
    unpack: Callable[[bytes], Any], bodies: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """Each kind of payload and body is the same after packing and unpacking, and of its type."""
    body = data.draw(bodies)
    arrived = unpack(pack_body(body))
    assert arrived == body
    assert type(arrived) is type(body)


def test_an_older_process_is_sent_what_it_knows() -> None:
    """What was not asked for, documents, traces or options, leaves no new part in a message."""
    request = Request(1, 2, 3, 4, "to", b"p", None, 7)
    assert msgpack.unpackb(pack_request(request)) == [VERSION, [1, 2, 3, 4, "to", b"p", None, 7]]
    body = SearchBody(9, 1, True, ["a"], [1.0])
    assert msgpack.unpackb(pack_body(body)) == [9, 1, True, ["a"], [1.0], 0]
    body = SearchBody(9, 1, True, ["a"], [1.0], 0, [b"{}"])
    assert msgpack.unpackb(pack_body(body)) == [9, 1, True, ["a"], [1.0], 0, [b"{}"]]
    body = SearchBody(9, 1, True, ["a"], [1.0], 0, [], (1, 2))
    assert msgpack.unpackb(pack_body(body)) == [9, 1, True, ["a"], [1.0], 0, [], [1, 2]]
    payload = SearchPayload("u1", "q", 10, "bm25", "", strict=False)
    assert msgpack.unpackb(pack_body(payload)) == ["u1", "q", 10, "bm25", "", False]
    assert msgpack.unpackb(pack_body(FetchBody([], "", False))) == [[], "", False]
    assert msgpack.unpackb(pack_body(FetchPayload("u1", ["a"], None, ""))) == [
        "u1",
        ["a"],
        None,
        "",
    ]
    request = Request(1, 2, 3, 4, "to", b"p", None, 7, Attach(1, 2, None))
    assert msgpack.unpackb(pack_request(request))[1][8:] == [[1, 2, None]]
    request = Request(1, 2, 3, 4, "to", b"p", attach=Attach(1, 2, None, ("v",)))
    assert msgpack.unpackb(pack_request(request))[1][8:] == [[1, 2, None, ["v"]]]


@given(requests, st.lists(replies, max_size=3), st.lists(json_values, max_size=3))
def test_members_of_a_newer_version_are_ignored(
    request: Request, sent: list[Reply], more: list[object]
) -> None:
    """What a newer process appends to a struct does not change what this one reads of it."""
    full = [VERSION, [*astuple(request), *more]]
    assert unpack_request(msgspec.msgpack.encode(full)) == request
    full = [VERSION, "w", [[*astuple(reply), *more] for reply in sent]]
    assert unpack_replies(msgspec.msgpack.encode(full)) == ("w", sent)


@pytest.mark.parametrize(("unpack", "bodies"), BODIES)
@given(data=st.data())
def test_members_of_a_newer_body_are_ignored(
    unpack: Callable[[bytes], Any], bodies: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """The same holds for each kind of payload and body."""
    body = data.draw(bodies)
    members = [*astuple(body), data.draw(json_values)]
    known = unpack(msgspec.msgpack.encode(astuple(body)))
    assert unpack(msgspec.msgpack.encode(members)) == known


def test_a_request_asks_for_no_more_bytes_than_a_worker_sends() -> None:
    """A sender that can push to a queue cannot make a scorer read large documents."""
    for num_bytes, is_read in ((MAX_ATTACHED_BYTES, True), (MAX_ATTACHED_BYTES + 1, False)):
        request = Request(1, 2, 3, 4, "to", b"p", attach=Attach(1, num_bytes, None))
        if is_read:
            assert unpack_request(pack_request(request)) == request
        else:
            with pytest.raises(WireError):
                unpack_request(pack_request(request))


def test_a_body_has_no_document_without_an_id() -> None:
    """A reply with more documents than ids is malformed."""
    with pytest.raises(WireError, match="at most as many documents as ids"):
        unpack_search_body(pack_body(SearchBody(9, 1, True, ["a"], [1.0], 0, [b"{}", b"{}"])))


@given(noise=st.binary(max_size=200))
@example(noise=b"")
@example(noise=b"\xdd\xff\xff\xff\xff")  # an array of 4 billion parts
@example(noise=b"\xc6\xff\xff\xff\xff")  # 4 GiB of bytes
@example(noise=b"\xa2\xc3\x28")  # not UTF-8
@example(noise=b"\x81\x90\x01")  # a map whose key is an array
@example(noise=b"\x91" * 5000)  # nested deeper than any stack
@example(noise=b"\xd6\xff\x00\x00\x00\x00")  # a timestamp
@example(noise=b"\xc1")  # never used
def test_noise_is_a_wire_error(noise: bytes) -> None:
    """Any bytes either unpack or raise WireError; no other exception gets out."""
    for unpack in UNPACKERS:
        with suppress(WireError):
            unpack(noise)


@settings(max_examples=60)
@given(
    value=anything
    | st.tuples(st.just(VERSION), anything, anything)
    | st.lists(shallow, min_size=2, max_size=8)
    | st.tuples(
        st.just(VERSION), strings, st.lists(st.lists(shallow, min_size=8, max_size=8), max_size=3)
    )
)
def test_nonsense_is_a_wire_error(value: object) -> None:
    """Well-formed MessagePack of the wrong shape either unpacks or raises WireError."""
    packed = cast("bytes", msgpack.packb(value))
    for unpack in UNPACKERS:
        with suppress(WireError):
            unpack(packed)


@given(data=st.data())
def test_cut_or_changed_messages(data: st.DataObject) -> None:
    """A message that lost its end, or one byte of which changed, unpacks or raises WireError."""
    message = pack_replies("w", data.draw(st.lists(replies, min_size=1, max_size=3)))
    at = data.draw(st.integers(0, len(message) - 1))
    changed = bytearray(message)
    changed[at] = data.draw(st.integers(0, 255))
    with pytest.raises(WireError):
        unpack_replies(message[:at])
    with suppress(WireError):
        unpack_replies(bytes(changed))


def near_misses(parts: list[object], good: dict[int, list[object]]) -> list[bytes]:
    """Arrays that differ from `parts` in one element that is not in `good` for its place."""
    wrong: list[object] = [None, True, 7, 1.5, "text", b"bytes", [], {}, [7], [None], -1, [[]]]
    return [
        msgpack.packb([*parts[:at], value, *parts[at + 1 :]])
        for at in range(len(parts))
        for value in wrong
        if type(value) is not type(parts[at]) and value not in good.get(at, [])
    ]


@pytest.mark.parametrize(
    ("unpack", "parts", "good"),
    [
        (unpack_request, [VERSION, [1, 2, 3, 4, "to", b"p"]], {}),
        (
            lambda data: unpack_request(
                msgpack.packb([VERSION, [*_REQUEST, msgpack.unpackb(data)]])
            ),
            [1, 2, ["f"]],
            {2: [None]},
        ),
        (unpack_search_payload, ["uid", "q", 10, "bm25", "", False], {}),
        (unpack_search_body, [1, 1, True, [], []], {}),
        (unpack_search_body, [1, 1, True, ["a"], [1.0], 0, [b"{}"]], {6: [[], [b"{}"]]}),
        (unpack_fetch_payload, ["uid", ["a"], ["f"], "bm25"], {2: [None]}),
        (unpack_fetch_body, [[{"a": 1}, None], "", False], {}),
        (unpack_failure, ["code", "message"], {}),
    ],
)
def test_one_part_of_a_wrong_type(
    unpack: Callable[[bytes], Any], parts: list[object], good: dict[int, list[object]]
) -> None:
    """A message whose parts are of the right types but for one is refused."""
    unpack(cast("bytes", msgpack.packb(parts)))
    for packed in near_misses(parts, good):
        with pytest.raises(WireError):
            unpack(packed)


@pytest.mark.parametrize(
    ("unpack", "parts"),
    [
        (unpack_search_body, [1, 1, True, ["a"], []]),
        (unpack_search_body, [-1, 1, True, [], []]),
        (unpack_search_body, [1, -1, True, [], []]),
        (unpack_fetch_payload, ["uid", [7], None, ""]),
        (unpack_fetch_payload, ["uid", [], [None], ""]),
        (unpack_fetch_body, [[-7], "", False]),
        (unpack_fetch_body, [["text"], "", False]),
    ],
)
def test_contents_that_cannot_be(unpack: Callable[[bytes], Any], parts: list[object]) -> None:
    """Lists of the wrong things, unequal lists and negative counts are refused."""
    with pytest.raises(WireError):
        unpack(cast("bytes", msgpack.packb(parts)))


@pytest.mark.parametrize("version", [0, VERSION + 1, -1, "1", None, [VERSION]])
def test_unknown_version(version: object) -> None:
    """A message of another version is refused by name, so that logs tell which one came."""
    for unpack, rest in ((unpack_request, [[1, 2, 3, 4, "to", b""]]), (unpack_replies, ["w", []])):
        with pytest.raises(WireError, match=r"version .* is unknown") as caught:
            unpack(cast("bytes", msgpack.packb([version, *rest])))
        # If it is newer, it says what to do.
        assert ("upgrade this process" in str(caught.value)) == (version == VERSION + 1)


@given(requests, st.lists(replies, max_size=3))
def test_limit_is_exact(request: Request, sent: list[Reply]) -> None:
    """A message as large as the limit passes, and one byte more is refused unread."""
    for message, unpack in (
        (pack_request(request), unpack_request),
        (pack_replies("w", sent), unpack_replies),
    ):
        unpack(message, len(message))
        with pytest.raises(WireError, match="over the limit"):
            unpack(message, len(message) - 1)


@given(st.lists(st.tuples(strings, st.floats(allow_nan=False, allow_infinity=False))))
@example([("a", 1.7e308), ("b", 1.7e308)])
def test_sound_hits_pass(rows: list[tuple[str, float]]) -> None:
    """Hits with finite scores are not refused, even if the scores' sum overflows."""
    body = SearchBody(9, 9, True, [row[0] for row in rows], [row[1] for row in rows])
    assert unpack_search_body(pack_body(body)) == body


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "7", None, b"7", [1.0]])
def test_unsound_scores_are_refused(bad: object) -> None:
    """One score that is not a finite number makes the whole part a wire error."""
    with pytest.raises(WireError):
        unpack_search_body(
            cast("bytes", msgpack.packb([3, 3, True, ["a", "b", "c"], [1.0, bad, 2.0]]))
        )


@pytest.mark.parametrize("bad", [7, None, b"7", ["a"]])
def test_unsound_ids_are_refused(bad: object) -> None:
    """One id that is not a string makes the whole part a wire error."""
    with pytest.raises(WireError):
        unpack_search_body(cast("bytes", msgpack.packb([2, 2, True, ["a", bad], [1.0, 2.0]])))


def test_scores_keep_every_bit() -> None:
    """Scores travel as doubles: what a shard ranked by is what the gateway merges by."""
    scores = [0.1 + 0.2, math.pi, 5e-324, 1.7976931348623157e308]
    body = SearchBody(4, 4, True, ["a", "b", "c", "d"], scores)
    assert unpack_search_body(pack_body(body)).scores == scores


def test_failure_codes_travel_as_the_strings_that_other_versions_know() -> None:
    """Gateways and workers of version 0.1 compare with these; a code of a later one passes, too."""
    known = (
        "failed expired quarantined crashed lane_unavailable profile_busy not_started ranking "
        "bad_request configuration malformed too_large embedding"
    )
    assert [code.value for code in FailureCode] == known.split()
    for code in FailureCode:
        packed = pack_body(Failure(code, "why"))
        assert packed == msgpack.packb([str(code.value), "why"])
        assert unpack_failure(packed).code == code
    assert unpack_failure(msgpack.packb(["of_tomorrow", "why"])).code == "of_tomorrow"
