"""Turns of requests that change the same document."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class DocumentTurns:
    """Lets one request at a time change a document; others wait, in order of arrival."""

    def __init__(self) -> None:
        self._turns: dict[Hashable, tuple[asyncio.Lock, int]] = {}  # with how many have or want it

    @asynccontextmanager
    async def turn(self, document: Hashable) -> AsyncIterator[None]:
        """Have the turn at a document for the block."""
        lock, num = self._turns.get(document, (asyncio.Lock(), 0))
        self._turns[document] = lock, num + 1
        try:
            async with lock:
                yield
        finally:
            lock, num = self._turns[document]
            if num == 1:
                del self._turns[document]
            else:
                self._turns[document] = lock, num - 1
