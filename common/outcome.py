"""How one shard's part of a query ended."""

from enum import StrEnum


class Outcome(StrEnum):
    """Exactly one per shard and query; they add up to the fan-out."""

    OK = "ok"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"  # no live worker, or Redis did not take the request
    BREAKER_OPEN = "breaker_open"
    CANCELLED = "cancelled"  # the answer was complete enough without it
