"""When heartbeats were sent, also after the Redis server's clock was set back. Pure."""

from collections.abc import Mapping


class BeatDates:
    """Dates heartbeats of the future by how long they have been unchanged.

    If the server's clock is set back, the last heartbeat of a worker or gateway whose host was lost
    is of the future, and it would count as live until the clock has caught up. Those of live ones
    are of the future as well, for as long as these take to notice; but they change each second.
    """

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._known: dict[str, tuple[int, float]] = {}  # sender → its date, and since when known

    def dated(self, sent_ms: Mapping[str, int], now_ms: float, now: float) -> dict[str, int]:
        """When the heartbeats were sent, at the latest now, in ms on the server's clock.

        Args:
            sent_ms: when each sender's last one was sent, according to itself.
            now_ms: the Redis server's clock.
            now: an instant on the event loop's clock, in s.
        """
        known = self._known
        self._known = {
            sender: known[sender] if sender in known and known[sender][0] == at_ms else (at_ms, now)
            for sender, at_ms in sent_ms.items()
        }
        return {
            sender: at_ms
            if at_ms <= now_ms
            else int(now_ms - (now - self._known[sender][1]) * 1000)
            for sender, at_ms in sent_ms.items()
        }
