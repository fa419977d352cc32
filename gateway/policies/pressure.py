"""When admission control last refused a query for its limit: all guards of the shards know it."""

import math


class Pressure:
    """Whether more is asked than the shards answer.

    Attributes:
        refused_at: when a query was last refused since its limit was reached, on the event loop's
            clock.
    """

    __slots__ = ("refused_at",)

    def __init__(self) -> None:
        """Nothing has been refused."""
        self.refused_at = -math.inf
