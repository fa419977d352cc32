"""What is said on a new connection to Redis before it carries anything else."""

from typing import Any

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.commands import OnReply, pack, reply_to
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.protocol import RedisProtocol


class Handshake:
    """A connection that is being set up, for the code that sets it up.

    All other commands wait for `RedisConnection.is_connected`.
    """

    def __init__(self, connection: RedisProtocol, *, is_sharded: bool = False) -> None:
        self._connection = connection
        self._subscribe = "SSUBSCRIBE" if is_sharded else "SUBSCRIBE"

    async def call(self, *parts: bytes | str | float) -> Any:
        """Send a command and wait for its reply.

        Raises:
            CommandError: Redis answered with an error.
            RedisUnavailableError: the connection was lost first.
        """
        return await reply_to(self._send, pack(*parts))

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel; the confirmation also comes as a message."""
        self._connection.write(pack(self._subscribe, channel))

    def _send(self, command: bytes, on_reply: OnReply) -> None:
        if self._connection.closed.done():
            on_reply(RedisUnavailableError("the connection to Redis was lost"))
            return
        self._connection.pending.append(on_reply)
        self._connection.write(command)


async def check_role(handshake: Handshake, endpoint: Endpoint) -> None:
    """Make sure that a server takes writes, since sentinels may not have noticed otherwise yet."""
    role = await handshake.call("ROLE")
    if role[0] != b"master":
        raise RedisUnavailableError(f"the server at {endpoint.address} is a replica")
