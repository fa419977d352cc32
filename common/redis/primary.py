"""Which server takes the writes: what a connection needs to know of it, wherever that comes from.

`Endpoint` is a primary that never moves, `SentinelPrimary` one that sentinels watch, `SlotPrimary`
the node of a Redis Cluster that has a hash slot.
"""

from collections.abc import Callable
from typing import Protocol

from hedgerow.common.redis.endpoint import Endpoint


class Primary(Protocol):
    """The primary of the servers.

    Each connection asks where it is (`find`) before it connects, and leaves as soon as it is no
    longer there (`follow`).
    """

    @property
    def moves(self) -> bool:
        """Whether it can move, so that a new connection must check the server's role."""

    @property
    def version(self) -> int:
        """How often connections have had to leave, since it had moved or was a replica."""

    @property
    def failovers(self) -> int:
        """How often a server that may lack its last writes may have taken over."""

    @property
    def reconnect_max_s(self) -> float:
        """Longest pause between two attempts to connect, in s."""

    async def find(self) -> Endpoint:
        """Where it is now.

        Raises:
            RedisUnavailableError: that is not known.
            ConfigurationError: the sentinels refuse the user, or know no such service.
        """

    def at(self, host: str, port: int) -> Endpoint:
        """How to connect to another of its servers."""

    def follow(self, on_moved: Callable[[], None]) -> Callable[[], None]:
        """Have `on_moved` called whenever connections must leave; returns what ends that."""

    def doubt(self, version: int) -> None:
        """A server has said that it is a replica; it was found when `version` was this."""

    async def pause(self, duration_s: float) -> None:
        """Wait before the next attempt; ends early if the primary moves."""

    async def settled(self) -> None:
        """Return once workers have had time to restore the ends of logs after a failover."""

    async def close(self) -> None:
        """Stop following it."""
