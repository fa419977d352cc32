"""Which rank profiles have had tasks lately: a pure policy."""

from hedgerow.shard_worker.executors.bulkhead import OURS

# A profile is alone in a lane if no task of another has come for this long.
_ALONE_S = 10.0


class Arrivals:
    """When the last task of each profile came."""

    __slots__ = ("_came_at",)

    def __init__(self) -> None:
        self._came_at: dict[str, float] = {}

    def note(self, profile: str, at: float) -> None:
        """Note that a task of a profile has come; `at` is in s."""
        self._came_at[profile] = at

    def alone(self) -> str:
        """The profile of all recent tasks, if they have only one; otherwise ""."""
        came_at = self._came_at
        if len(came_at) > 1:
            # The last task counts as recent, however long ago it came.
            since = max(came_at.values()) - _ALONE_S
            came_at = self._came_at = {name: at for name, at in came_at.items() if at > since}
        return next(iter(came_at)) if len(came_at) == 1 else OURS
