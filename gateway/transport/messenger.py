"""The transport, with what every request that it carries has to say."""

from collections.abc import Callable
from typing import NamedTuple

from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.gateway.transport.protocol import Transport


class Messenger(NamedTuple):
    """How one gateway's requests leave, and where their replies come back to.

    Attributes:
        transport: carries requests and replies.
        clock: the Redis server's, by which requests expire.
        reply_to: the channel on which replies come back.
        next_id: makes query ids that are unique in this gateway.
    """

    transport: Transport
    clock: ServerClock
    reply_to: str
    next_id: Callable[[], int]
