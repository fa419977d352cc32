"""The last events of a cluster, as a gateway notices them. Pure."""

from collections import deque
from collections.abc import Callable
from typing import Final

from hedgerow.gateway.policies.breaker import State, Transition
from hedgerow.gateway.shapes.live import EventKind, Level, LiveEvent

NUM_EVENTS: Final = 200
_LEVELS: Final[dict[State, Level]] = {
    State.CLOSED: "good",
    State.HALF_OPEN: "info",
    State.DISABLED: "warning",
    State.OPEN: "bad",
    State.FORCED_OPEN: "bad",
}


class Journal:
    """The newest events.

    Attributes:
        events: oldest first, at most `NUM_EVENTS`.
        on_event: called with each event when it is added.
    """

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        """Start empty; `wall_ms` dates the events."""
        self.events: deque[LiveEvent] = deque(maxlen=NUM_EVENTS)
        self.on_event: Callable[[LiveEvent], None] = _ignore
        self._wall_ms = wall_ms
        self._num = 0

    def write(
        self,
        kind: EventKind,
        level: Level,
        text: str,
        *,
        shard: int | None = None,
        worker: str | None = None,
    ) -> None:
        """Add an event."""
        self._num += 1
        event = LiveEvent(self._num, self._wall_ms(), kind, level, text, shard, worker)
        self.events.append(event)
        self.on_event(event)

    def add_transition(self, shard: int, profile: str, transition: Transition) -> None:
        """Add the change of a breaker's state; `profile` is empty for the shared breaker."""
        of_profile = f" for profile {profile}" if profile else ""
        after = transition.after.value.replace("_", "-")
        self.write(
            "breaker",
            _LEVELS[transition.after],
            f"breaker of shard {shard}{of_profile}: {after} ({transition.reason})",
            shard=shard,
        )


def _ignore(_event: LiveEvent) -> None:
    pass
