"""Holds writes back while a split of the shards changes over, which takes about a second."""

import asyncio
from typing import Final

from hedgerow.common.errors import SealedError

LONGEST_S: Final = 30.0  # a split that does not get through falls back after 10 s
_PAUSE_S: Final = 0.05


class WriteGate:
    """Open, unless a split is changing over."""

    def __init__(self) -> None:
        """Begin open."""
        self._open = asyncio.Event()
        self._open.set()
        self._refused_since: float | None = None

    def set(self, *, is_open: bool) -> None:
        """Let writes go on, or hold them back."""
        if is_open:
            self._open.set()
        else:
            self._open.clear()
            self._refused_since = None

    async def wait(self) -> None:
        """Return once writes go on.

        Raises:
            SealedError: they have been held back for too long.
        """
        if self._open.is_set():
            return
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._open.wait()
        except TimeoutError:
            raise SealedError from None

    async def refused(self) -> None:
        """A log is sealed, though the gate is open: wait a moment until the gateway knows why.

        Raises:
            SealedError: it has not learned it for too long.
        """
        now = asyncio.get_running_loop().time()
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since >= LONGEST_S:
            self._refused_since = None
            raise SealedError
        await asyncio.sleep(_PAUSE_S)
