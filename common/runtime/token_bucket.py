"""A limit on how often something happens each second, on average: a token bucket. Pure."""


class TokenBucket:
    """Admits `rate` events a second on average, and at most one second's worth at once.

    Attributes:
        rate: tokens that are added a second; each event takes one, or as many as it says.
    """

    __slots__ = ("_at", "_most", "_tokens", "rate")

    def __init__(self, rate: float) -> None:
        """Start full."""
        self.rate = rate
        self._most = max(1.0, rate)
        self._tokens = self._most
        self._at = 0.0

    def take(self, now: float, num: float = 1.0) -> float:
        """Take `num` tokens, if they are there.

        More than one second's worth can be taken from a full bucket, which then owes the rest.

        Returns:
            0 if they were there, else the time until they are, in s.
        """
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        needed = min(num, self._most)
        if self._tokens >= needed:
            self._tokens -= num
            return 0.0
        return (needed - self._tokens) / self.rate
