"""A token bucket: a limit on how often something happens each second, on average."""


class TokenBucket:
    """Allows what comes at a bounded rate; what has not come can be made up for within a second."""

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, per_s: float) -> None:
        """Allow `per_s` a second, and as many at once, but at least one."""
        self._per_s = per_s
        self._tokens = self._burst = max(1.0, per_s)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Return whether one more may come at `now`, in s."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
