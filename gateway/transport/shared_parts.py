"""What the transports of a gateway to several servers share."""

from collections.abc import Callable
from typing import NamedTuple

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.server_clock import ServerClock


class SharedParts(NamedTuple):
    """What the transports of a gateway to several servers share.

    Attributes:
        slot: whose shards this one is for; the others have other slots.
        clock: by which requests expire, which is kept elsewhere.
        counters: the gateway's.
        on_moved: called with the slot when this transport is connected to where the slot is now;
            what it has sent to where it was may not have arrived.
    """

    slot: int
    clock: ServerClock
    counters: Counters
    on_moved: Callable[[int], None] = lambda _slot: None
