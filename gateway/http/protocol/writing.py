"""When a connection can be written to."""

import asyncio


class Writing:
    """What a connection sends, and whether the client takes it.

    Attributes:
        write: hands bytes to the transport.
        is_paused: whether too much waits for the client; `wait_for_room` waits until it is less.
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
        """Too much waits for the client."""
        self.is_paused = True
        self._has_room.clear()

    def resume(self) -> None:
        """The client has taken most of what waited, or has gone."""
        self.is_paused = False
        self._has_room.set()

    async def wait_for_room(self) -> None:
        """Wait until the client has taken most of what was written, or has gone."""
        if self.is_paused:
            await self._has_room.wait()

    def num_unsent(self) -> int:
        """How many bytes wait for the client to take them."""
        return self._transport.get_write_buffer_size()

    def end(self) -> None:
        """Tell the client that nothing more comes, and leave the connection open."""
        self._is_ended = True
        self._transport.write_eof()

    def close(self) -> None:
        """Close the connection after what was written."""
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()
