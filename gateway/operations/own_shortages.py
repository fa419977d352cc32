"""What a gateway itself runs out of: descriptors, without which it accepts no connections.

A gateway keeps descriptors free for other uses than connections (`connection_policy`). They may run
out all the same: because the limit is lower than that, because it was lowered while the gateway
runs, or because the whole machine has none left.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from hedgerow.common.machine.descriptors import lacks_descriptors, probe_descriptors
from hedgerow.common.machine.shortage import DESCRIPTORS, Shortage, ShortageBook
from hedgerow.common.runtime.ticks import sleep_to_tick


class OwnShortages:
    """Records failures for lack of descriptors; the shortage ends some time after the last one."""

    def __init__(
        self,
        poll_s: float,
        *,
        now: Callable[[], float],
        now_ms: Callable[[], int],
        probe: Callable[[], OSError | None] = probe_descriptors,
    ) -> None:
        """Know of no shortage yet.

        Args:
            poll_s: how often to look, in s.
            now: an instant, in s.
            now_ms: the time in which the status speaks.
            probe: opens a file; returns why that failed, None when it did not.
        """
        self._poll_s = poll_s
        self._now = now
        self._probe = probe
        self._book = ShortageBook(now_ms)

    def list(self) -> list[Shortage]:
        """What runs out."""
        return self._book.list()

    def look(self) -> None:
        """Look once whether files can be opened, and end a shortage that has passed."""
        self._note(self._probe(), "a file could not be opened")
        self._book.forget_old(self._now())

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await sleep_to_tick(self._poll_s)

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle what the event loop has nowhere to raise, in place of its default handler.

        When a connection cannot be accepted, asyncio stops to accept for a second and reports it up
        to eight times; that is recorded as one shortage, and logged when it begins and ends.
        """
        if not self._note(context.get("exception"), "a connection could not be accepted"):
            loop.default_exception_handler(context)

    def _note(self, error: object, what: str) -> bool:
        if not isinstance(error, OSError) or not lacks_descriptors(error):
            return False
        self._book.fail(DESCRIPTORS, f"{what}: {error.strerror}", self._now())
        return True
