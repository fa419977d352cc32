"""When heartbeats were sent, also after the Redis server's clock was set back. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from hedgerow.common.wire.heartbeat import Heartbeat


class BeatDates:
    """Dates heartbeats of the future by how long they have been unchanged.

    If the server's clock is set back, the last heartbeat of a worker whose host was lost is of the
    future, and the worker would count as live until the clock has caught up. Those of live workers
    are of the future as well, for as long as these take to notice; but they change each second.
    """

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._known: dict[str, tuple[int, float]] = {}  # worker → its date, and since when known

    def dated(
        self, heartbeats: Mapping[str, Heartbeat], now_ms: float, now: float
    ) -> dict[str, Heartbeat]:
        """The heartbeats with dates that are not of the future.

        Args:
            heartbeats: every worker's last, by its id.
            now_ms: the Redis server's clock.
            now: an instant on the event loop's clock, in s.
        """
        known = self._known
        self._known = {
            worker: known[worker]
            if worker in known and known[worker][0] == beat.beat_at_ms
            else (beat.beat_at_ms, now)
            for worker, beat in heartbeats.items()
        }
        return {
            worker: beat
            if beat.beat_at_ms <= now_ms
            else replace(beat, beat_at_ms=int(now_ms - (now - self._known[worker][1]) * 1000))
            for worker, beat in heartbeats.items()
        }
