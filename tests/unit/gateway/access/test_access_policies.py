"""Hosts, origins, rates and rights: the pure parts of who may ask."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import ForbiddenError
from hedgerow.common.runtime.token_bucket import TokenBucket
from hedgerow.gateway.access.caller import Caller, Right
from hedgerow.gateway.access.hosts import Hosts, HostVerdict, is_loopback
from hedgerow.gateway.access.origins import Origins

KNOWN, UNKNOWN, MALFORMED = HostVerdict.KNOWN, HostVerdict.UNKNOWN, HostVerdict.MALFORMED


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8080",
        "localhost:",
    ],
)
@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::"])
def test_loopback_names_are_always_known(host: str, bound: str) -> None:
    """By any port, and in any case."""
    assert Hosts(bound, ()).verdict(host.encode()) is KNOWN


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "",
        ":8080",
        "0.0.0.0",
        "127.0.0.2",
        "localhost.",
        "[::2]",
        "127.1",
    ],
)
def test_other_names_are_not_known(host: str) -> None:
    """Names that merely begin or end like a known one are not known either."""
    assert Hosts("0.0.0.0", ()).verdict(host.encode()) is UNKNOWN


@pytest.mark.parametrize(
    "host",
    [
        "local host",
        "user@localhost",
        "localhost:port",
        "localhost/",
        "http://localhost",
        "::1",
        "localhost, evil.example",
        "[::1",
        "localhost:80:80",
        "\xff",
        "localhost\r\n",
        "a\tb",
    ],
)
def test_what_is_no_host_is_malformed(host: str) -> None:
    """RFC 3986's host with an optional port, and nothing else."""
    assert Hosts("127.0.0.1", ["*"]).verdict(host.encode("latin-1")) is MALFORMED


@pytest.mark.parametrize(
    ("bound", "allowed", "host"),
    [
        ("10.1.2.3", [], "10.1.2.3:8080"),
        ("fe80::1", [], "[fe80::1]:8080"),
        ("Search.Local", [], "search.local"),
        ("0.0.0.0", ["search.example.org"], "Search.Example.org:443"),
        ("0.0.0.0", ["*"], "any.example"),
    ],
)
def test_the_bound_address_and_the_allowed_names_are_known(
    bound: str, allowed: list[str], host: str
) -> None:
    """A single address that is bound is a name of the gateway, as are those that are listed."""
    assert Hosts(bound, allowed).verdict(host.encode()) is KNOWN


@given(st.binary(max_size=40))
def test_only_known_names_are_known(host: bytes) -> None:
    """Whatever comes, it is known only if it is a known name and a port."""
    name = host.lower().rsplit(b":", 1)[0] if not host.endswith(b"]") else host.lower()
    if Hosts("127.0.0.1", ()).verdict(host) is KNOWN:
        assert {name, host.lower()} & {b"localhost", b"127.0.0.1", b"[::1]"}


@pytest.mark.parametrize(
    ("host", "is_one"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_is_loopback(host: str, is_one: bool) -> None:
    """What is bound to every address is reached from elsewhere."""
    assert is_loopback(host) is is_one


OWN = {b"host": b"localhost:8080"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize(
    "fields",
    [
        {b"origin": b"https://evil.example"},
        {b"origin": b"null"},
        {b"origin": b""},
        {b"origin": b"http://localhost"},  # another port is another origin
        {b"origin": b"http://localhost:80800"},
        {b"origin": b"http://localhost:8080.evil.example"},
        {b"origin": b"file://localhost:8080"},
        {b"origin": b"http://localhost:8080, https://evil.example"},
        {b"sec-fetch-site": b"cross-site"},
        {b"sec-fetch-site": b"same-site"},
    ],
)
def test_pages_of_other_origins_may_not_write(method: str, fields: dict[bytes, bytes]) -> None:
    """Whatever the unsafe method, and however the browser says where the page is from."""
    with pytest.raises(ForbiddenError):
        Origins(()).check(method, {**OWN, **fields})


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("POST", {}),
        ("POST", {b"origin": b"http://localhost:8080"}),
        ("POST", {b"origin": b"https://LOCALHOST:8080"}),
        ("POST", {b"origin": b"https://app.example", b"sec-fetch-site": b"cross-site"}),
        ("POST", {b"sec-fetch-site": b"same-origin"}),
        ("POST", {b"sec-fetch-site": b"none"}),
        ("GET", {b"origin": b"https://evil.example", b"sec-fetch-site": b"cross-site"}),
        ("HEAD", {b"origin": b"null"}),
        ("OPTIONS", {b"origin": b"https://evil.example"}),
    ],
)
def test_others_may(method: str, fields: dict[bytes, bytes]) -> None:
    """Programs, the gateway's own pages, those that are allowed, and all that only read."""
    Origins(["https://app.example"]).check(method, {**OWN, **fields})


@given(
    rate=st.floats(0.1, 1000),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_a_bucket_lets_its_rate_through(rate: float, gaps: list[float]) -> None:
    """In any span no more than its rate and one second's worth; and it says when there is more."""
    bucket, now = TokenBucket(rate), 100.0
    passed: list[float] = []
    for gap in gaps:
        now += gap
        wait_s = bucket.take(now)
        if wait_s == 0:
            passed.append(now)
        else:
            assert 0 < wait_s <= 1 / rate + 1e-9
    for first, start in enumerate(passed):
        for last, end in enumerate(passed[first:], start=first):
            assert last - first + 1 <= max(1.0, rate) + rate * (end - start) + 1e-6


@given(rate=st.floats(0.1, 100), num=st.integers(0, 100))
def test_who_waits_as_told_is_let_in(rate: float, num: int) -> None:
    """After the time that a refusal names there is a token."""
    bucket, now = TokenBucket(rate), 5.0
    for _ in range(num):
        now += bucket.take(now)
    wait_s = bucket.take(now)
    if wait_s:
        assert bucket.take(now + wait_s + 1e-9) == 0


@given(
    rights=st.sets(st.sampled_from(Right), min_size=1),
    collections=st.none() | st.sets(st.sampled_from("abc"), min_size=1),
    right=st.sampled_from(Right),
    collection=st.none() | st.sampled_from("abc"),
)
def test_a_key_may_do_what_it_has_the_right_to(
    rights: set[Right], collections: set[str] | None, right: Right, collection: str | None
) -> None:
    """The right, and the collection; with a list of those nothing that concerns the cluster."""
    caller = Caller("k", frozenset(rights), None if collections is None else frozenset(collections))
    may = right in rights and (collections is None or collection in collections)
    if may:
        caller.check(right, collection)
    else:
        lacks = right.value if right not in rights else (collection or "cluster")
        with pytest.raises(ForbiddenError, match=lacks):
            caller.check(right, collection)
    if collection is not None:
        assert caller.sees(collection) is (collections is None or collection in collections)


def test_a_bucket_that_starts_is_full() -> None:
    """A rate below one lets a first request through; one above a second's worth."""
    assert TokenBucket(0.01).take(0.0) == 0
    bucket = TokenBucket(2.5)
    assert [bucket.take(1.0) == 0 for _ in range(3)] == [True, True, False]
    assert math.isclose(bucket.take(1.0), (1 - 0.5) / 2.5)


def test_a_bucket_owes_what_exceeds_a_second() -> None:
    """More than a second's worth is taken once the bucket is full, and paid for by the next."""
    bucket = TokenBucket(10.0)
    assert bucket.take(1.0, 5.0) == 0
    assert math.isclose(bucket.take(1.0, 25.0), 0.5)
    assert bucket.take(1.5, 25.0) == 0
    assert math.isclose(bucket.take(1.5), 1.6)
    assert math.isclose(bucket.take(2.0, 5.0), 1.5)
