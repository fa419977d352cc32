"""When refusals leave, and how many may wait."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.http.protocol.refusal_pace import TICK_S, ConnectionPace, RefusalPace

INSTANTS = st.floats(min_value=0.0, max_value=1e6)
SPANS = st.floats(min_value=0.0, max_value=60.0)


def refused(until: float) -> ConnectionPace:
    """A connection that was asked to wait until then."""
    pace = ConnectionPace(RefusalPace(4), "a")
    pace.refuse(0.0, until)
    return pace


@given(now=INSTANTS, since_s=SPANS, deadline_s=SPANS)
def test_a_caller_that_has_waited_is_refused_at_once(
    now: float, since_s: float, deadline_s: float
) -> None:
    """Once the time that `Retry-After` named has passed, a refusal does not wait."""
    assert refused(now - since_s).hold(deadline_s, now) == now


@given(now=INSTANTS, deadline_s=SPANS)
def test_the_first_refusal_leaves_at_once(now: float, deadline_s: float) -> None:
    """A connection that was never refused does not wait for it."""
    assert ConnectionPace(RefusalPace(4), "a").hold(deadline_s, now) == now


@given(now=INSTANTS, left_s=SPANS, deadline_s=SPANS)
def test_a_refusal_waits_for_the_sooner_of_both(
    now: float, left_s: float, deadline_s: float
) -> None:
    """It leaves by the end of the wait and by the deadline, and at most a tick before either."""
    sooner = now + min(left_s, deadline_s)
    at = refused(now + left_s).hold(deadline_s, now)
    assert now <= at <= sooner + 1e-6
    assert at > sooner - TICK_S - 1e-6


def test_refusals_of_a_tick_leave_together() -> None:
    """Connections that were refused within a tick are refused again at the same instant."""
    found = {refused(10.0 + offset_s).hold(5.0, 9.5) for offset_s in (0.0001, 0.0007, 0.0019)}
    assert len(found) == 1


@given(st.lists(st.tuples(st.integers(0, 23), st.booleans())), st.integers(0, 12))
def test_no_more_wait_than_may(events: list[tuple[int, bool]], most: int) -> None:
    """At most the limit wait for all addresses together, and a quarter of it for each."""
    server, held = RefusalPace(most), Counter[int]()
    connections = [ConnectionPace(server, str(number % 6)) for number in range(24)]
    waiting: set[int] = set()
    for number, asks in events:
        peer = number % 6
        if number in waiting:
            connections[number].release()
            waiting.discard(number)
            held[peer] -= 1
        elif asks:
            connections[number].refuse(5.0, 0.0)
            may_wait = held.total() < most and 4 * held[peer] < most
            assert (connections[number].hold(5.0, 1.0) > 1.0) == may_wait
            if may_wait:
                waiting.add(number)
                held[peer] += 1
        else:
            connections[number].release()  # of nothing
        assert server.num_held == held.total()
