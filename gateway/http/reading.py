"""When a connection is read, and which of its bytes are dropped."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

from gateway.http.connection_policy import ConnectionState


class Trailers(list[tuple[bytes, bytes]]):
    """The fields after a chunked body, which are not used."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Drop the field."""


class Reading(FlowControl):
    """uvicorn's flow control, which also pauses reading while received bytes wait."""

    def __init__(
        self,
        transport: asyncio.Transport,
        state: ConnectionState,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Control a transport that is read, and record in `state` whether it is."""
        super().__init__(transport)
        self._reads_from = transport
        self._state = state
        self._loop = loop
        self._is_held = False
        self._is_full = False

    def pause_reading(self) -> None:
        """Read no more until the application wants more."""
        self._is_full = True
        self._apply()

    def resume_reading(self) -> None:
        """Read again, unless something is held."""
        self._is_full = False
        self._apply()

    def hold(self) -> None:
        """Read no more until what is held was parsed."""
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
        if is_paused == self.read_paused:
            return
        self.read_paused = is_paused
        self._state.read(not is_paused, self._loop.time())
        if is_paused:
            self._reads_from.pause_reading()
        else:
            self._reads_from.resume_reading()
