"""When admission control last refused a query for its limit, which breakers take into account."""

import math


class Pressure:
    """Whether there are more queries than the shards can answer.

    Attributes:
        refused_at: when a query was last refused because the limit was reached, on the event loop's
            clock.
    """

    __slots__ = ("refused_at",)

    def __init__(self) -> None:
        """Begin without a refusal."""
        self.refused_at = -math.inf
