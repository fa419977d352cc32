"""A gateway's own shortage: of descriptors, without which it cannot accept connections.

A gateway reserves descriptors for uses other than connections (`connection_policy`). They may run
out all the same: if the limit is lower than the reserve, if it was lowered while the gateway runs,
or if the whole machine has none left.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from hedgerow.common.machine.descriptors import lacks_descriptors, probe_descriptors
from hedgerow.common.machine.shortage import DESCRIPTORS, Shortage, ShortageBook
from hedgerow.common.runtime.ticks import sleep_to_tick


class OwnShortages:
    """Records failures for lack of descriptors; the shortage ends some time after the last."""

    def __init__(
        self,
        poll_s: float,
        *,
        now: Callable[[], float],
        now_ms: Callable[[], int],
        probe: Callable[[], OSError | None] = probe_descriptors,
    ) -> None:
        """Start without a shortage.

        Args:
            poll_s: time between two checks, in s.
            now: returns the time, in s.
            now_ms: the clock of times in the status, in ms.
            probe: opens a file; returns the error, or None.
        """
        self._poll_s = poll_s
        self._now = now
        self._probe = probe
        self._book = ShortageBook(now_ms)

    def list(self) -> list[Shortage]:
        """List the shortages."""
        return self._book.list()

    def look(self) -> None:
        """Check whether files can be opened, and end a shortage that has passed."""
        self._note(self._probe(), "a file could not be opened")
        self._book.forget_old(self._now())

    async def run(self) -> None:
        """Check at intervals until cancelled."""
        while True:
            self.look()
            await sleep_to_tick(self._poll_s)

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle the event loop's unhandled errors, in place of its default handler.

        If a connection cannot be accepted, asyncio stops accepting for a second and reports it up
        to eight times; this is recorded as one shortage, and logged when it begins and ends.
        """
        if not self._note(context.get("exception"), "a connection could not be accepted"):
            loop.default_exception_handler(context)

    def _note(self, error: object, what: str) -> bool:
        if not isinstance(error, OSError) or not lacks_descriptors(error):
            return False
        self._book.fail(DESCRIPTORS, f"{what}: {error.strerror}", self._now())
        return True
