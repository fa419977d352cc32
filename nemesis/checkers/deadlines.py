"""No answer to a search comes later than its deadline and 5 ms.

The client measures. What it cannot ask of the product is taken off: how late the client's own loop
noticed the answer, and how long the gateway's process waited for a core while the search ran (both
are in the history; on a machine of two cores with a dozen processes, that is what lateness mostly
is). No fault touches the network between clients and gateways. Searches of a gateway that is itself
stopped or killed meanwhile are not counted; those of all others are, whatever Redis and the workers
do. Nor is a search judged whose gateway or client waited for longer than `TOO_BUSY_MS`: what piles
up meanwhile takes its time as well, so nothing is known. How many these are is reported.
"""

from collections.abc import Sequence

from nemesis.checkers.faulty_times import Disruptions
from nemesis.checkers.violation import Violation
from nemesis.history import Any, Search, is_judged

PROMISE = "deadlines"
TOLERANCE_MS = 5.0
NO_ANSWER = "no answer"  # the error of a search whose client gave up, as the history has it


def check_deadlines(events: Sequence[Any]) -> list[Violation]:
    """Searches that were late, or never answered, and answers of an unexpected kind."""
    disruptions = Disruptions(events)
    found = []
    for event in events:
        if not isinstance(event, Search) or disruptions.touch(event.gateway, event.at, event.until):
            continue
        if event.status == 0 and event.error == NO_ANSWER and not is_judged(event):
            continue
        if event.status == 0:
            text = f"{event.gateway} did not answer a search: {event.error}"
            found.append(Violation(PROMISE, event.at, text))
        elif event.status not in (200, 429, 503, 504):
            text = f"{event.gateway} answered a search with HTTP {event.status}: {event.error}"
            found.append(Violation(PROMISE, event.at, text))
        elif is_judged(event) and lateness_ms(event) > TOLERANCE_MS:
            text = (
                f"{event.gateway} answered {elapsed_ms(event):.1f} ms after the request, with a "
                f"deadline of {event.deadline_ms:g} ms (HTTP {event.status}; by its own clock "
                f"{event.took_ms} ms; waits of the client {event.client_waited_ms:.1f} ms, of the "
                f"gateway for a core {event.gateway_waited_ms:.1f} ms)"
            )
            found.append(Violation(PROMISE, event.at, text))
    return found


def elapsed_ms(search: Search) -> float:
    """From the request to the answer, as the client measures it."""
    return (search.until - search.at) * 1e3


def lateness_ms(search: Search) -> float:
    """By how much an answer was late, without the waits that are this machine's."""
    waited_ms = search.client_waited_ms + search.gateway_waited_ms
    return elapsed_ms(search) - search.deadline_ms - waited_ms
