"""What a transport does while the slot of its shards is on its way to another node."""

import asyncio
from collections.abc import Callable
from typing import Final

from hedgerow.common.tasks import end

# How long queries may wait for the new node of a slot that has moved, and how often to look, in s.
PATIENCE_S: Final = 0.5
LOOK_S: Final = 0.001


class SlotMove:
    """Waits for the connections to the slot's new node, then has all that is open sent again."""

    def __init__(
        self,
        is_connected: Callable[[], bool],
        on_arrived: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Wait for connections.

        Args:
            is_connected: whether they are there.
            on_arrived: called when they are.
            on_lost: called if they are not in time.
        """
        self._is_connected = is_connected
        self._on_arrived = on_arrived
        self._on_lost = on_lost
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether the new node is yet to be reached."""
        return self._task is not None

    def begin(self) -> None:
        """The slot has moved, and connections are about to leave; they are not connected soon."""
        if self._task is None:
            self._task = asyncio.create_task(self._wait(), name="slot moves")

    async def close(self) -> None:
        """Wait no longer."""
        if self._task is not None:
            await end([self._task])

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_S
        while loop.time() < give_up_at:
            await asyncio.sleep(LOOK_S)
            if self._is_connected():
                self._task = None
                self._on_arrived()
                return
        self._task = None
        self._on_lost()
