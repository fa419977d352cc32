"""Controls when a connection is written to."""

import asyncio


class Writing:
    """The output of a connection, and whether the client keeps up with it.

    Attributes:
        write: passes bytes to the transport.
        is_paused: whether too many bytes wait for the client; see `wait_for_room`.
    """

    __slots__ = ("_has_room", "_is_ended", "_transport", "is_paused", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to `transport`."""
        self._transport = transport
        self._has_room = asyncio.Event()
        self._is_ended = False
        self.write = transport.write
        self.is_paused = False

    @property
    def is_closing(self) -> bool:
        """Whether nothing may be written any more."""
        return self._is_ended or self._transport.is_closing()

    def pause(self) -> None:
        """Too many bytes wait for the client."""
        self.is_paused = True
        self._has_room.clear()

    def resume(self) -> None:
        """The client has read most of the waiting bytes, or has gone."""
        self.is_paused = False
        self._has_room.set()

    async def wait_for_room(self) -> None:
        """Wait until the client has read most of the written bytes, or has gone."""
        if self.is_paused:
            await self._has_room.wait()

    def num_unsent(self) -> int:
        """How many bytes wait for the client to read them."""
        return self._transport.get_write_buffer_size()

    def end(self) -> None:
        """Tell the client that this is the end of the output, and leave the connection open."""
        self._is_ended = True
        self._transport.write_eof()

    def close(self) -> None:
        """Close the connection after the written bytes are sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()
