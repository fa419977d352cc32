"""Documents with a version that several processes replace, and the leases of those that do.

Writes are as safe as those of users' documents (`common.shard_log.durability`): with
`redis.min_replicas`, a failover loses no version that was acknowledged.
"""

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log import durability

# Store a document if the stored one has the version that was expected (0: there is none), and
# announce it. The version is read from the start of the JSON, since a large document takes long to
# parse.
_REPLACE: Final = """
local start = redis.call('GETRANGE', KEYS[1], 0, 40)
local version = string.match(start, '^{"version":(%d+)') or '0'
if version ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
"""

# Take a lease that is free, or renew one's own. One that has a minute more left than is asked for
# was taken before the server's clock was set back, perhaps by days. It counts as free: its holder
# may have ended, and if not, finds out at its next renewal.
_HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and redis.call('PTTL', KEYS[1]) < ARGV[2] + 60000 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class Versioned(Protocol):
    """A document with a version."""

    def to_json(self) -> bytes:
        """Write it as JSON that begins with its member `version`."""


D = TypeVar("D", bound=Versioned)


class VersionedStore(Generic[D]):
    """Reads and writes a document of the cluster.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        key: str,
        decode: Callable[[bytes], D],
        channel: str,
        event: Callable[[D], str],
    ) -> None:
        """Know where the document is, and how it is announced.

        Args:
            control: the client of the control plane.
            keys: the names of everything in Redis.
            key: the document's key.
            decode: reads what its `to_json` has written; raises WireError.
            channel: where each new version is announced.
            event: what is announced.
        """
        self._control = control
        self._keys = keys
        self._key = key
        self._decode = decode
        self._channel = channel
        self._event = event

    async def read(self) -> D | None:
        """Return the stored document; None if there is none.

        Raises:
            WireError: it is malformed, or of a newer version.
        """
        stored: bytes | None = await self._control.execute("GET", self._key)
        return None if stored is None else self._decode(stored)

    async def write(self, document: D, expected_version: int) -> bool:
        """Store a new version and announce it, unless another was stored meanwhile.

        Args:
            document: the new version.
            expected_version: the version that it replaces; 0 if there was none.

        Returns:
            Whether the stored document is now this one.

        Raises:
            WriteRefusedError, UnconfirmedError: as `durability.write`.
        """
        arguments = expected_version, document.to_json(), self._channel, self._event(document)
        command: Command = ("EVAL", _REPLACE, 1, self._key, *arguments)
        (is_done,) = await durability.write(self._control, self._keys, [command], retry=True)
        # If the answer to an attempt was lost, the stored version is that of the attempt.
        return bool(is_done) or await self.read() == document


async def hold_lease(control: RedisClient, key: str, holder: str, hold_s: float) -> bool:
    """Take or renew a lease; return whether `holder` has it now."""
    return bool(await control.execute("EVAL", _HOLD, 1, key, holder, int(hold_s * 1000)))
