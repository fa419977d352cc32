"""The data plane's connection to Redis: pipelined commands over asyncio, parsed by hiredis.

The hot path uses this thin layer over an `asyncio.Protocol` (`protocol`), everything else
`common.redis.client` with redis-py (docs/decisions/redis-connection.md has the reasons and the
figures). Commands that are sent in the same turn of the loop leave in one write. Replies come in
the order of their commands, and each is given to its command's callback even if its caller has
left, so that an abandoned call never leaves the connection one reply behind. No command is ever
sent twice by this module.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from hedgerow.common.errors import HedgerowError, RedisUnavailableError
from hedgerow.common.redis.commands import OnReply, pack, reply_to
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.handshake import Handshake, check_role
from hedgerow.common.redis.primary import Primary
from hedgerow.common.redis.protocol import RedisProtocol
from hedgerow.common.runtime.ticks import tick_after

log = structlog.get_logger()

FIRST_PAUSE_S = 0.05

# The kinds of messages on a subscribed connection. The last one comes without being asked for when
# a node no longer has the slot of a sharded channel.
MESSAGES = (b"message", b"smessage")
SUBSCRIBED = (b"subscribe", b"ssubscribe")
LEFT = b"sunsubscribe"


def _ignore(_reply: Any) -> None:
    """The callback of a command whose reply is not needed."""


class RedisConnection:
    """A connection that is restored automatically, with jittered backoff.

    A command that is sent while there is no connection, or while it is still being set up, fails
    at once with RedisUnavailableError: between AUTH and SELECT it would go to another database.
    If an answer is overdue by `silence_s`, the connection is dropped: the server hangs, or the
    network has lost the answer. It is also dropped when the primary moves; whatever still waits in
    it fails then, although a server that hangs may yet carry it out.

    Attributes:
        name: shown by CLIENT LIST.
        is_connected: whether a command sent now would go out.
        num_reconnects: how often the connection was restored.
        tried: set once the first attempt to connect has ended.
        last_error: why the last attempt has failed; "" if it has not.
        has_left: whether the last connection ended because the primary moved.
    """

    def __init__(
        self,
        primary: Primary,
        *,
        name: str,
        silence_s: float,
        on_connect: Callable[[Handshake], Awaitable[None]] | None = None,
        on_disconnect: Callable[[], None] | None = None,
        on_message: OnReply | None = None,
        is_sharded: bool = False,
    ) -> None:
        """Describe the connection; `start` opens it.

        Args:
            primary: where to connect: an `Endpoint`, unless it moves.
            name: shown by CLIENT LIST.
            silence_s: longest wait for an answer that is due, in s.
            on_connect: awaited on each new connection before it counts as connected; it may already
                send commands over the handshake that it is given.
            on_disconnect: called each time a connection is lost.
            on_message: called with Pub/Sub messages.
            is_sharded: whether the channels to subscribe to are those of a Redis Cluster's slot.
        """
        self.name = name
        self.is_connected = False
        self.num_reconnects = 0
        self.tried = asyncio.Event()
        self.last_error = ""
        self.has_left = False
        self._primary = primary
        self._version = -1  # of the primary, when the present connection was begun
        self._unfollow: Callable[[], None] | None = None
        self._attempt: asyncio.Timeout | None = None
        self._silence_s = silence_s
        self._on_connect = on_connect
        self._on_disconnect = on_disconnect
        self._on_message = on_message
        self._is_sharded = is_sharded
        self._connection: RedisProtocol | None = None
        self._outbox: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._has_connected = asyncio.Event()  # set while `is_connected`, for those that wait

    @property
    def overdue_s(self) -> float:
        """How long nothing has been heard although an answer is due, in s; 0 if none is due."""
        connection = self._connection
        if connection is None or not connection.pending:
            return 0.0
        return time.monotonic() - connection.last_received

    def begin(self) -> None:
        """Connect in the background, and stay connected from then on."""
        self._unfollow = self._primary.follow(self._leave)
        self._task = self._loop.create_task(self._keep_connected(), name=f"link {self.name}")

    async def start(self, timeout_s: float | None = None) -> None:
        """Connect, and stay connected from then on.

        Raises:
            RedisUnavailableError: there was no connection within `timeout_s` (it keeps trying all
                the same).
        """
        self.begin()
        await self.until_connected(timeout_s)

    async def until_connected(self, timeout_s: float | None) -> None:
        """Wait until there is a connection.

        Raises:
            RedisUnavailableError: there was none within `timeout_s` (it keeps trying all the same).
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._has_connected.wait()
        except TimeoutError:
            raise RedisUnavailableError(f"no connection to Redis within {timeout_s} s") from None

    async def close(self) -> None:
        """Write the waiting commands, close, and stop reconnecting."""
        if self._task is None:
            return
        if self._connection is not None and self.is_connected:
            self._flush()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if self._unfollow is not None:
            self._unfollow()

    def send(self, command: bytes, on_reply: OnReply = _ignore) -> None:
        """Send a packed command; those of one turn of the event loop leave in one write.

        Args:
            command: from `pack`.
            on_reply: called with the reply, with a `hiredis.ReplyError`, or with
                RedisUnavailableError if the connection is lost first. It is never called from
                within `send` while connected.
        """
        connection = self._connection
        if connection is None or not self.is_connected:
            on_reply(RedisUnavailableError("there is no connection to Redis"))
            return
        if not connection.pending:
            connection.last_received = time.monotonic()  # silence counts from the first command
        connection.pending.append(on_reply)
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(command)

    def send_now(self, commands: list[bytes], on_replies: list[OnReply]) -> None:
        """Send commands at once, in one write; for callers that batch commands themselves.

        It saves the turn of the event loop that `send` takes, which costs as much as several
        commands.

        Args:
            commands: from `pack`, or from `unanswered`.
            on_replies: called with the replies, in order; one for each command that is answered.
        """
        connection = self._connection
        if connection is None or not self.is_connected:
            for on_reply in on_replies:
                on_reply(RedisUnavailableError("there is no connection to Redis"))
            return
        if not connection.pending:
            connection.last_received = time.monotonic()
        connection.pending += on_replies
        self._outbox += commands
        self._flush()

    async def call(self, *parts: bytes | str | float) -> Any:
        """Send a command and wait for its reply; safe to cancel.

        Raises:
            CommandError: Redis answered with an error.
            RedisUnavailableError: there is no connection, or it was lost first.
        """
        return await reply_to(self.send, pack(*parts))

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel, if connected; the confirmation comes as a message.

        For a connection whose `on_connect` subscribes, and that is used for nothing else.
        """
        if self.is_connected:
            self._write_unanswered(pack("S" * self._is_sharded + "SUBSCRIBE", channel))

    def unsubscribe(self, channel: str) -> None:
        """End what `subscribe` has begun, if connected; the confirmation comes as a message."""
        if self.is_connected:
            self._write_unanswered(pack("S" * self._is_sharded + "UNSUBSCRIBE", channel))

    def ping_subscribed(self) -> None:
        """Ping a subscribed connection; the answer comes as a message."""
        if self._connection is not None:
            self._write_unanswered(pack("PING"))

    def _write_unanswered(self, command: bytes) -> None:
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(command)

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if outbox and self._connection is not None:
            self._connection.write(b"".join(outbox))

    async def _keep_connected(self) -> None:
        pause_s, failures, has_connected = FIRST_PAUSE_S, 0, False
        while True:
            try:
                connection = await self._connect()
            except (OSError, TimeoutError, HedgerowError) as error:
                failures += 1
                self.last_error = str(error) or "timeout"
                self.tried.set()
                write = log.warning if failures == 1 else log.debug
                write("redis_connect_failed", link=self.name, error=self.last_error)
                await self._primary.pause(pause_s * random.uniform(0.5, 1.5))
                pause_s = min(pause_s * 2, self._primary.reconnect_max_s)
                continue
            if failures:
                log.info("redis_connected", link=self.name, failures=failures)
            pause_s, failures, self.last_error = FIRST_PAUSE_S, 0, ""
            self.tried.set()
            self.num_reconnects += has_connected
            has_connected = True
            try:
                await self._watch(connection)
            finally:
                await connection.close()

    async def _connect(self) -> RedisProtocol:
        endpoint = await self._primary.find()
        self._version = self._primary.version
        try:
            async with asyncio.timeout(endpoint.connect_timeout_s) as self._attempt:
                return await self._set_up(endpoint)
        finally:
            self._attempt = None

    async def _set_up(self, endpoint: Endpoint) -> RedisProtocol:
        connection = await self._open(endpoint)
        self._connection = connection
        try:
            handshake = Handshake(connection, is_sharded=self._is_sharded)
            if endpoint.password is not None:
                user = (endpoint.username,) if endpoint.username else ()
                await handshake.call("AUTH", *user, endpoint.password)
            if self._primary.moves:
                await check_role(handshake, endpoint)
            if endpoint.database:
                await handshake.call("SELECT", endpoint.database)
            await handshake.call("CLIENT", "SETNAME", self.name)
            if self._on_connect is not None:
                await self._on_connect(handshake)
            self._check_unmoved()
            self.has_left = False
            self.is_connected = True
            self._has_connected.set()
        except BaseException:
            connection.abort()
            raise
        return connection

    def _check_unmoved(self) -> None:
        if self._version != self._primary.version:
            raise RedisUnavailableError("the primary has moved")

    def _leave(self) -> None:
        """The primary has moved, or has become a replica: drop this connection at once."""
        if self._attempt is not None:
            self._attempt.reschedule(self._loop.time())
        if self._connection is not None:
            self.has_left = True
            self._connection.abort()

    def doubt(self) -> None:
        """The server has said that it no longer serves what this connection is for."""
        self._primary.doubt(self._version)

    async def _open(self, endpoint: Endpoint) -> RedisProtocol:
        on_replica = self.doubt if self._primary.moves else None

        def protocol() -> RedisProtocol:
            return RedisProtocol(self._on_message, self._forget, on_replica)

        if endpoint.path is not None:
            _, connection = await self._loop.create_unix_connection(protocol, endpoint.path)
        else:
            _, connection = await self._loop.create_connection(
                protocol, endpoint.host, endpoint.port, ssl=endpoint.tls
            )
        return connection

    async def _watch(self, connection: RedisProtocol) -> None:
        """Return when the connection is lost or has been silent for too long."""
        is_subscribed = self._on_message is not None
        while not connection.closed.done():
            if is_subscribed:
                self.ping_subscribed()
            due = tick_after(self._silence_s / 4)
            await asyncio.wait([connection.closed], timeout=due - self._loop.time())
            silent_s = time.monotonic() - connection.last_received
            if (connection.pending or is_subscribed) and silent_s > self._silence_s:
                log.warning("redis_silent", link=self.name, silent_s=round(silent_s, 1))
                connection.abort()
                return

    def _forget(self) -> None:
        self._connection = None
        self._outbox.clear()
        if self.is_connected:
            self.is_connected = False
            self._has_connected.clear()
            if self._on_disconnect is not None:
                self._on_disconnect()
