"""The placement for those who watch, read as often as it costs little."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

# After a read, none for this many times as long as it took: of 10,000 shards, it takes 0.1 s.
_REST: Final = 20.0


class PlacementView:
    """The placement, which is read again at most as often as it is asked for."""

    def __init__(
        self,
        describe: Callable[[], Awaitable[Mapping[str, Any]]],
        has_joined: Callable[[], bool],
    ) -> None:
        """Read nothing yet.

        Args:
            describe: the placement, as `PlacementAnswer`; asks Redis.
            has_joined: whether any worker has joined; asks nothing.
        """
        self._describe = describe
        self._has_joined = has_joined
        self._last: Mapping[str, Any] | None = None
        self._rests_until = 0.0

    async def read(self) -> Mapping[str, Any] | None:
        """The placement, at most a little old; None where no worker has joined.

        Raises:
            RedisUnavailableError: Redis does not answer.
        """
        if self._last is None and not self._has_joined():
            return None
        now = asyncio.get_running_loop().time
        if (began_at := now()) >= self._rests_until:
            self._last = await self._describe()
            self._rests_until = began_at + _REST * (now() - began_at)
        return self._last
