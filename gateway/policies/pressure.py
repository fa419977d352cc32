"""When admission control last refused a query because of its limit."""

import math


class Pressure:
    """Whether callers ask more than the shards can answer.

    Attributes:
        refused_at: when a query was last refused because the limit was reached.
    """

    __slots__ = ("refused_at",)

    def __init__(self) -> None:
        """Start without a refusal."""
        self.refused_at = -math.inf
