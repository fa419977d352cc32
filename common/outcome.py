"""How one shard's part of a query ended."""

from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """Exactly one per shard and query; they add up to the fan-out."""

    OK = "ok"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"  # no live worker, or Redis did not take the request
    BREAKER_OPEN = "breaker_open"
    CANCELLED = "cancelled"  # the answer was complete enough without it
    SKIPPED = "skipped"  # not asked, since it has no match: it counts as searched


# With these, all of a shard's documents were searched.
SEARCHED: Final = frozenset({Outcome.OK, Outcome.SKIPPED})
