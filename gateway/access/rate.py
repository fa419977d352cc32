"""Limits requests per second. Pure."""


class TokenBucket:
    """Admits `rate` requests a second on average, and at most as many as that at once.

    Attributes:
        rate: tokens per second that are added; each request takes one.
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
            0 if there was a token, else the time until there is one, in s.
        """
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self.rate
