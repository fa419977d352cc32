"""The placement in Redis, and the workers that are draining."""

from typing import Final

from hedgerow.common.placement.document import Placement
from hedgerow.common.redis.client import Command, RedisClient
from hedgerow.common.redis.keys import Keys

PLACED: Final = "placement"  # the event `placement:<version>`: there is a new version
DRAINING: Final = "draining"  # the event: workers have begun to drain, or no longer do

# Store a placement if the stored one has the version that was expected (0: there is none), and
# announce it. The version is read from the start of the JSON, since a large document takes long to
# parse.
_WRITE = """
local start = redis.call('GETRANGE', KEYS[1], 0, 40)
local version = string.match(start, '^{"version":(%d+)') or '0'
if version ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
"""


class PlacementStore:
    """Reads and writes the placement.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def read(self) -> Placement | None:
        """The placement; None if there is none, as in a cluster of pinned workers.

        Raises:
            WireError: it is malformed.
        """
        stored: bytes | None = await self._control.execute("GET", self._keys.placement)
        return None if stored is None else Placement.from_json(stored)

    async def write(self, placement: Placement, expected_version: int) -> bool:
        """Store a new version and announce it, unless another was stored meanwhile.

        Args:
            placement: the new version.
            expected_version: the version that it replaces; 0 if there was none.

        Returns:
            Whether the stored placement is now this one.
        """
        is_done = await self._control.execute(
            "EVAL",
            _WRITE,
            1,
            self._keys.placement,
            expected_version,
            placement.to_json(),
            self._keys.events,
            f"{PLACED}:{placement.version}",
        )
        # If the answer to an attempt was lost, the stored version is that of the attempt.
        return bool(is_done) or await self.read() == placement

    async def draining(self) -> frozenset[str]:
        """The workers that are draining."""
        members: list[bytes] = await self._control.execute("SMEMBERS", self._keys.draining)
        return frozenset(worker.decode(errors="replace") for worker in members)

    async def set_draining(self, worker: str, *, is_draining: bool) -> None:
        """Let a worker drain, or no longer, and announce it."""
        change = "SADD" if is_draining else "SREM"
        commands: list[Command] = [
            (change, self._keys.draining, worker),
            ("PUBLISH", self._keys.events, DRAINING),
        ]
        await self._control.pipeline(commands, atomic=True)


def placed_version(event: bytes) -> int | None:
    """The version that an event announces; None if it is another event."""
    kind, _, version = event.decode(errors="replace").partition(":")
    return int(version) if kind == PLACED and version.isdecimal() else None
