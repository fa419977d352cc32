"""Reads the stamps of the shards' summaries, in one round trip, for searches that skip shards."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.commands import CommandError, pack
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.primary import Primary
from hedgerow.common.state.statistics import VERSION_BYTES
from hedgerow.common.state.summaries import server_identity, stamp_field


class StampCheck:
    """A connection to the server that has the stamps.

    Attributes:
        identity: the server's, of this connection; "" while there is none.
    """

    def __init__(
        self,
        primary: Primary,
        keys: Keys,
        name: str,
        silence_s: float,
        on_lost: Callable[[], None],
    ) -> None:
        """Describe the connection; `begin` opens it.

        Args:
            primary: where the server is.
            keys: the names of keys.
            name: of the connection, shown by CLIENT LIST.
            silence_s: longest wait for an answer that is due, in s.
            on_lost: called each time that the connection is lost.
        """
        self.identity = ""
        self._keys = keys
        self._moves = primary.moves
        self._on_lost = on_lost
        self._connection = RedisConnection(
            primary,
            name=name,
            silence_s=silence_s,
            on_connect=self._on_connect,
            on_disconnect=self._on_disconnect,
        )

    def begin(self) -> None:
        """Connect in the background, and stay connected from then on."""
        self._connection.begin()

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def read(self, uid: str, shards: Sequence[int]) -> list[bytes | None]:
        """The shards' stamps, in this order, as they are now.

        Raises:
            RedisUnavailableError: there was no answer, or not from the primary.
        """
        is_primary = True

        def on_role(role: Any) -> None:
            nonlocal is_primary
            is_primary = isinstance(role, list) and role[:1] == [b"master"]

        if self._moves:  # one that has become a replica may have what is no longer true
            self._connection.send(_ROLE, on_role)
        key, fields = self._keys.summaries(uid), map(stamp_field, shards)
        stamps: list[bytes | None] = await self._call("HMGET", key, *fields)
        if not is_primary:
            raise RedisUnavailableError("the server has become a replica")
        return stamps

    async def statistics(self, uid: str) -> bytes:
        """The version of a collection's term statistics, as it is now; b"" for none.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        found: bytes = await self._call(
            "GETRANGE", self._keys.statistics(uid), "0", str(VERSION_BYTES - 1)
        )
        return found

    async def identify(self) -> str:
        """Ask the server for its identity, and return it.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        self.identity = _identity(await self._call("INFO", "server", "replication"))
        return self.identity

    async def _call(self, *command: bytes | str) -> Any:
        try:
            return await self._connection.call(*command)
        except CommandError as error:
            raise RedisUnavailableError(f"Redis refuses {command[0]!r}: {error}") from error

    async def _on_connect(self, handshake: Handshake) -> None:
        self.identity = _identity(await handshake.call("INFO", "server", "replication"))

    def _on_disconnect(self) -> None:
        self.identity = ""
        self._on_lost()


_ROLE: Final = pack("ROLE")


def _identity(info: bytes) -> str:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return server_identity({name: value for name, _, value in lines})
