"""Limits the requests in progress other than searches and bulk loads. Pure.

Reads of documents, single deletes, the status and the list of collections have no deadline as short
as a search's, and wait for Redis or for a worker. Without a limit, one caller could have any number
of them in progress. Callers share the limit as they share the queries in flight (`fair_share`). No
request that has begun is ended for another caller, since a delete may have been logged already.
"""

from typing import Any, Final, NamedTuple

from hedgerow.common.errors import OverloadedError
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.access.fair_share import Decision, FairShare, Usage

_DURATION_WEIGHT: Final = 1 / 32  # of the newest request in their mean duration


class Place(NamedTuple):
    """Permission for one request, which must be ended once."""

    usage: Usage
    decision: Decision
    since: float


class RequestAdmission:
    """The requests in progress at one gateway.

    Attributes:
        shares: the callers' shares.
        num_in_flight: requests in progress.
    """

    def __init__(self, max_requests: int) -> None:
        """Admit `max_requests` at once, and half as many more for callers below their share."""
        self.shares = FairShare()
        self.num_in_flight = 0
        self._limit = max_requests
        self._refused = {"requests": 0, "share": 0}
        self._duration_s = 0.0

    def admit(self, caller: Caller, peer: str, now: float) -> Place:
        """Admit a request, or refuse it.

        Args:
            caller: the caller of the request.
            peer: the caller's address.
            now: the time, in s.

        Raises:
            OverloadedError: too many are in progress, in all or of this caller.
        """
        usage = self.shares.usage_of(caller, now, peer)
        limit = self._limit
        decision = self.shares.decide(usage, self.num_in_flight, limit, limit, now)
        if decision is Decision.OVER_SHARE:
            self.shares.refuse(usage)
            whose = f"key {caller.name!r}" if caller.is_key else "your address"
            raise self._refusal(
                "share",
                f"{usage.num_in_flight} requests of {whose} are in progress; its share of "
                f"gateway.max_requests ({limit}) is used up",
            )
        if decision is Decision.FULL:
            raise self._refusal(
                "requests",
                f"{self.num_in_flight} requests are in progress, and gateway.max_requests "
                f"({limit}) allows no more",
            )
        self.num_in_flight += 1
        self.shares.begin(usage, decision, now)
        return Place(usage, decision, now)

    def end(self, place: Place, now: float) -> None:
        """An admitted request has ended, in any way."""
        self.num_in_flight -= 1
        self.shares.end(place.usage, place.decision, now)
        self._duration_s += (now - place.since - self._duration_s) * _DURATION_WEIGHT

    def to_json(self) -> dict[str, Any]:
        """Return what the status shows."""
        return {
            "limit": self._limit,
            "in_flight": self.num_in_flight,
            "refused": dict(self._refused),
        }

    def _refusal(self, cause: str, message: str) -> OverloadedError:
        self._refused[cause] += 1
        # In this time, as many requests end as are in progress (Little's law).
        return OverloadedError(message, cause, self._duration_s)
