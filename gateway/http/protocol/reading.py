"""Decides when a connection is read."""

import asyncio

from hedgerow.gateway.http.protocol.connection_policy import ConnectionState


class Reading:
    """Pauses the transport while received bytes wait, or the application is behind.

    Attributes:
        is_paused: whether nothing is read.
    """

    __slots__ = ("_is_full", "_is_held", "_loop", "_state", "_transport", "is_paused")

    def __init__(
        self,
        transport: asyncio.Transport,
        state: ConnectionState,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Control a transport, and record in `state` whether it is read."""
        self._transport = transport
        self._state = state
        self._loop = loop
        self._is_held = False
        self._is_full = False
        self.is_paused = False

    def pause(self) -> None:
        """Stop reading until the application wants more."""
        self._is_full = True
        self._apply()

    def resume(self) -> None:
        """Read again, unless received bytes are held."""
        self._is_full = False
        self._apply()

    def hold(self) -> None:
        """Stop reading until the held bytes are parsed."""
        self._is_held = True
        self._apply()

    def release(self) -> None:
        """Read again, if the application wants more."""
        self._is_held = False
        self._apply()

    def open(self) -> None:
        """Read again."""
        self._is_held = self._is_full = False
        self._apply()

    def _apply(self) -> None:
        is_paused = self._is_held or self._is_full
        if is_paused == self.is_paused:
            return
        self.is_paused = is_paused
        self._state.read(not is_paused, self._loop.time())
        if is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
