"""The checker of deadlines, over histories that are made up."""

from typing import Any

import pytest

from nemesis.checkers.deadlines import check_deadlines
from nemesis.history import Event, FaultBegan, FaultEnded, ProcessEnded, ProcessStarted
from nemesis.summary import summarise
from tests.unit.nemesis.made_up import search


def stopped(at: float, until: float, target: str = "gateway-0") -> list[Event]:
    """A gateway that was stopped for a while."""
    began = FaultBegan(
        at=at, number=1, round=1, kind="stop a gateway", target=target, words="SIGSTOP"
    )
    return [began, FaultEnded(at=until, number=1)]


@pytest.mark.parametrize(
    "events",
    [
        [search(1, 299.0)],
        [search(1, 304.9)],
        [search(1, 20.0, status=503)],
        [search(1, 325.0, client_waited_ms=21.0)],
        [
            search(1, 325.0, gateway_waited_ms=21.0),
            # Too busy to say anything.
            search(1, 900.0, gateway_waited_ms=26.0),
            search(1, 3_300.0, status=0, error="no answer", gateway_waited_ms=3_100.0),
        ],
        [*stopped(1, 2), search(1.5, 900.0)],
        [*stopped(1, 2), search(0.9, 900.0, status=0, outcomes=None)],
        [
            ProcessEnded(at=1, name="gateway-0", pid=1, status=-9),
            ProcessStarted(at=2, name="gateway-0", pid=2),
            search(3, 5.0, status=0, outcomes=None),
        ],
    ],
)
def test_an_answer_in_time_is_no_violation(events: list[Any]) -> None:
    """Waits of this machine, and a gateway that is itself stopped or starting, are excused."""
    assert check_deadlines(events) == []


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([search(1, 306.0)], "306.0 ms after the request"),
        ([search(1, 306.0, status=504)], "306.0 ms after the request"),
        ([search(1, 340.0, client_waited_ms=10.0)], "340.0 ms"),
        ([search(1, 20.0, status=0, error="no answer")], "did not answer"),
        ([search(1, 20.0, status=500)], "HTTP 500"),
        ([*stopped(1, 2, "gateway-1"), search(1.5, 900.0)], "900.0 ms"),
        ([*stopped(1, 2), search(4.5, 900.0)], "900.0 ms"),
    ],
)
def test_a_late_or_missing_answer_is_a_violation(events: list[Any], text: str) -> None:
    """Each is found and named, whatever happens to other gateways or before."""
    (violation,) = check_deadlines(events)
    assert text in violation.text


def test_the_latest_answer_is_one_that_is_checked() -> None:
    """One of a gateway that was stopped would be told beside a promise that it does not break."""
    events: list[Any] = [*stopped(1, 2), search(1.5, 3_200.0), search(9, 303.0)]
    summary = summarise(events, command="", seed=1, network="", missing={})
    assert (summary.late_ms, summary.violations) == (3.0, [])
