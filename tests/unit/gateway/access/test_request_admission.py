"""How many requests other than searches and loads may be in progress, and whose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import OverloadedError
from hedgerow.gateway.access.caller import ANONYMOUS, Caller
from hedgerow.gateway.access.fair_share import OVERDRAFT
from hedgerow.gateway.access.request_admission import Place, RequestAdmission
from hedgerow.gateway.access.usage_report import MAX_ADDRESSES, keys_in_use, refused_addresses

LIMIT = 8
KEY = Caller("web")


def fill(requests: RequestAdmission, peer: str, now: float = 0.0) -> list[Place]:
    """Have an address begin as many requests as it is admitted with."""
    places = []
    while True:
        try:
            places.append(requests.admit(ANONYMOUS, peer, now))
        except OverloadedError:
            return places


def test_a_caller_alone_may_have_all_places_and_no_more() -> None:
    """The next request is refused with the limit as the cause, until one has ended."""
    requests = RequestAdmission(LIMIT)
    places = fill(requests, "10.0.0.1")
    assert len(places) == LIMIT
    with pytest.raises(OverloadedError, match=r"gateway\.max_requests") as refused:
        requests.admit(ANONYMOUS, "10.0.0.1", 1.0)
    assert refused.value.cause == "requests"
    requests.end(places.pop(), 2.0)
    requests.admit(ANONYMOUS, "10.0.0.1", 2.0)


def test_a_caller_that_holds_all_places_keeps_no_other_out() -> None:
    """Another address and a key are admitted at once; the first is refused for its share."""
    requests = RequestAdmission(LIMIT)
    fill(requests, "10.0.0.1")
    for caller, peer in ((ANONYMOUS, "10.0.0.2"), (KEY, "10.0.0.1")):
        requests.admit(caller, peer, 10.0)
    with pytest.raises(OverloadedError, match="of your address") as refused:
        requests.admit(ANONYMOUS, "10.0.0.1", 10.0)
    assert refused.value.cause == "share"
    assert requests.to_json() == {
        "limit": LIMIT,
        "in_flight": LIMIT + 2,
        "refused": {"requests": 1, "share": 1},
    }


def test_a_key_with_a_share_has_that_share_of_the_places() -> None:
    """A quarter of eight is two, even if all others are free."""
    requests = RequestAdmission(LIMIT)
    caller = Caller("web", share=0.25)
    for _ in range(2):
        requests.admit(caller, "", 0.0)
    with pytest.raises(OverloadedError, match="'web'"):
        requests.admit(caller, "", 0.0)
    assert keys_in_use([requests.shares]) == {"web": {"in_flight": 2, "refused": 1}}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2), st.booleans()), min_size=1, max_size=200)
)
def test_the_number_in_progress_is_bounded_whoever_asks(
    steps: list[tuple[int, float, bool]],
) -> None:
    """It never exceeds the limit by more than the overdraft, and returns to none."""
    requests, places, now = RequestAdmission(LIMIT), list[Place](), 0.0
    for party, gap, is_end in steps:
        now += gap
        if is_end and places:
            requests.end(places.pop(party % len(places)), now)
            continue
        try:
            places.append(requests.admit(ANONYMOUS, f"10.0.0.{party}", now))
        except OverloadedError:
            assert len(places) >= LIMIT
        assert requests.num_in_flight == len(places) <= LIMIT * (1 + OVERDRAFT)
    for place in places:
        requests.end(place, now)
    assert requests.num_in_flight == 0


def test_a_refusal_says_how_long_requests_take() -> None:
    """`retry_after_s` tends to the mean duration of the requests."""
    requests = RequestAdmission(1)
    now = 0.0
    for _ in range(300):
        place = requests.admit(ANONYMOUS, "", now)
        now += 2.5
        requests.end(place, now)
    requests.admit(ANONYMOUS, "", now)
    with pytest.raises(OverloadedError) as refused:
        requests.admit(ANONYMOUS, "", now)
    assert refused.value.retry_after_s == pytest.approx(2.5, rel=0.01)


def test_addresses_that_were_refused_are_named_with_the_most_first() -> None:
    """The total counts every refusal, of every kind of request; eight addresses are named."""
    first, second = RequestAdmission(LIMIT), RequestAdmission(LIMIT)
    for number in range(2 * MAX_ADDRESSES):
        for requests in (first, second):
            usage = requests.shares.usage_of(ANONYMOUS, 0.0, f"10.0.0.{number}")
            for _ in range(number):
                requests.shares.refuse(usage)
    first.shares.refuse(first.shares.usage_of(KEY, 0.0))  # no address
    found = refused_addresses([first.shares, second.shares])
    assert found["refused"] == 2 * sum(range(2 * MAX_ADDRESSES))
    assert found["most_refused"] == [
        {"address": f"10.0.0.{number}", "refused": 2 * number}
        for number in range(2 * MAX_ADDRESSES - 1, MAX_ADDRESSES - 1, -1)
    ]
