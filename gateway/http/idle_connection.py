"""Connections that are closed when they have been idle, by a timer that is set rarely."""

import asyncio
from typing import Any, cast

from gateway.http.coalesced_writes import CoalescingProtocol


class IdleConnection(CoalescingProtocol):
    """uvicorn's protocol, which closes what is idle for `timeout_keep_alive` seconds.

    uvicorn sets a timer with each answer and cancels it with the next request: the loop keeps them
    all in its heap for that time. Here one goes off once in it, and looks how long it has been.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*args, **kwargs)
        self._idle_since: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        super().connection_lost(exc)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def on_response_complete(self) -> None:
        """Begin with the next request, or to be idle."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._set_idle_timer(self._idle_since)

    def _set_idle_timer(self, since: float) -> None:
        ends_at = since + cast("float", self.timeout_keep_alive)
        self._idle_timer = self.loop.call_at(ends_at, self._look_whether_idle, ends_at)

    def _look_whether_idle(self, now: float) -> None:
        self._idle_timer = None
        since = self._idle_since
        if since is None:
            return  # busy: the next answer sets a timer
        if since + self.timeout_keep_alive <= now:
            self.timeout_keep_alive_handler()
        else:
            self._set_idle_timer(since)
