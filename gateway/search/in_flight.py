"""Counts the searches that are under way, so that a gateway can stop when none is left."""

import asyncio
from contextlib import suppress


class InFlight:
    """Counts the searches of one gateway that have begun and not ended.

    Attributes:
        num: the number of them now.
    """

    __slots__ = ("_is_idle", "num")

    def __init__(self) -> None:
        self.num = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def begin(self) -> None:
        """Count one more."""
        if not self.num:
            self._is_idle.clear()
        self.num += 1

    def end(self) -> None:
        """Count one less."""
        self.num -= 1
        if not self.num:
            self._is_idle.set()

    async def drain(self, timeout_s: float) -> None:
        """Wait until no search is under way, for at most `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()
