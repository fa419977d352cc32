"""What every part of the registry stands on: the client, the keys, and announcements."""

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys


class StoredState:
    """State of the cluster in Redis, over one `RedisClient`.

    Attributes:
        keys: the names of the keys and channels.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self.keys = keys

    async def announce(self, event: str) -> None:
        """Announce on the events channel that `workers`, `collections` or the like has changed."""
        await self._control.publish(self.keys.events, event.encode())
