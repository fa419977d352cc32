"""Of which rank profiles tasks have come lately: a pure policy."""

from hedgerow.shard_worker.executors.bulkhead import OURS

# A profile is alone in a lane when no other's task has come for this time.
_ALONE_S = 10.0


class Arrivals:
    """When the last task of each profile came."""

    __slots__ = ("_came_at",)

    def __init__(self) -> None:
        self._came_at: dict[str, float] = {}

    def note(self, profile: str, at: float) -> None:
        """A task of a profile has come."""
        self._came_at[profile] = at

    def alone(self) -> str:
        """The profile, with functions of a user, of all tasks that have come lately; else ""."""
        came_at = self._came_at
        if len(came_at) > 1:
            # Whatever has come last, it has come lately.
            since = max(came_at.values()) - _ALONE_S
            came_at = self._came_at = {name: at for name, at in came_at.items() if at > since}
        return next(iter(came_at)) if len(came_at) == 1 else OURS
