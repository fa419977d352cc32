"""One connection to Redis while it lasts: bytes in, replies out, in the order of their commands."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import hiredis
import structlog

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.commands import OnReply

log = structlog.get_logger()

CLOSE_TIMEOUT_S = 1.0
# What a server answers that has become a replica, or has no longer the slot of a key.
_OF_REPLICAS = ("READONLY", "UNBLOCKED force", "MOVED ")


class RedisProtocol(asyncio.Protocol):
    """Feeds the parser, and passes on replies in order; `RedisConnection` sends the commands.

    Attributes:
        pending: the callbacks of the commands that were sent, oldest first.
        closed: done once the connection is lost.
        last_received: when anything was last heard, in s of the monotonic clock.
    """

    def __init__(
        self,
        on_message: OnReply | None,
        on_lost: Callable[[], None],
        on_replica: Callable[[], None] | None,
    ) -> None:
        self.pending: deque[OnReply] = deque()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last_received = time.monotonic()
        if on_replica is None:
            self._reader = hiredis.Reader()
        else:  # hiredis calls it for errors only: the other replies need not be looked at
            self._reader = hiredis.Reader(replyError=self._make_error)
        self._on_replica = on_replica
        self._on_message = on_message
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        """Pass on the replies and messages that are whole."""
        self.last_received = time.monotonic()
        reader, pending = self._reader, self.pending
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                if pending:
                    pending.popleft()(reply)
                elif self._on_message is not None:
                    self._on_message(reply)
                else:
                    raise hiredis.ProtocolError("a reply that no command has asked for")  # noqa: TRY301
        except hiredis.ProtocolError as error:
            log.warning("redis_protocol_error", error=str(error))
            self.abort()

    def _make_error(self, text: str) -> hiredis.ReplyError:
        if text.startswith(_OF_REPLICAS) and self._on_replica is not None:
            asyncio.get_running_loop().call_soon(self._on_replica)
        return hiredis.ReplyError(text)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what still waits for a reply."""
        self._on_lost()  # first: the callbacks of lost commands must find it disconnected
        lost = RedisUnavailableError(f"the connection to Redis was lost ({exc or 'closed'})")
        while self.pending:
            self.pending.popleft()(lost)
        if not self.closed.done():
            self.closed.set_result(None)

    def write(self, data: bytes) -> None:
        """Send bytes; those of a connection that was lost go nowhere."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Drop the connection, with what was not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Send what was written, as far as the server reads it, and close; returns when closed."""
        if self._transport is not None:
            self._transport.close()
            # Do not wait for a server that no longer reads: what it has not read is lost.
            await asyncio.wait([self.closed], timeout=CLOSE_TIMEOUT_S)
            self._transport.abort()
        await self.closed
