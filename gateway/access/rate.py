"""A limit on how often something happens each second, on average: a token bucket. Pure."""


class TokenBucket:
    """Admits `rate` events a second on average, and at most one second's worth at once.

    Attributes:
        rate: tokens that are added a second; each event takes one.
    """

    __slots__ = ("_at", "_most", "_tokens", "rate")

    def __init__(self, rate: float) -> None:
        """Start full."""
        self.rate = rate
        self._most = max(1.0, rate)
        self._tokens = self._most
        self._at = 0.0

    def take(self, now: float) -> float:
        """Take a token.

        Returns:
            0 if there was one, else the time until there is one, in s.
        """
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self.rate
