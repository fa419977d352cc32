"""Documents with a version that several processes replace, and the leases of those that do.

Writes are as safe as those of users' documents (`common.shard_log.durability`): with
`redis.min_replicas`, a failover loses no version that was acknowledged.
"""

from typing import Final

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

# Take a lease that is free, or renew one's own.
_HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


async def replace_document(
    control: RedisClient,
    keys: Keys,
    key: str,
    expected_version: int,
    document: bytes,
    channel: str,
    event: str,
) -> bool:
    """Store a document and announce it, unless another than the expected version is stored.

    Args:
        control: the client of the control plane.
        keys: the names of everything in Redis.
        key: the document's key.
        expected_version: the version that it replaces; 0 if there was none.
        document: JSON that begins with its member `version`.
        channel: where it is announced.
        event: what is announced.

    Returns:
        Whether this call has stored it; an earlier attempt, whose answer was lost, may have.

    Raises:
        RedisUnavailableError, WriteRefusedError: as `durability.write`.
    """
    arguments = (expected_version, document, channel, event)
    command: Command = ("EVAL", _REPLACE, 1, key, *arguments)
    (is_done,) = await durability.write(control, keys, [command], retry=True)
    return bool(is_done)


async def hold_lease(control: RedisClient, key: str, holder: str, hold_s: float) -> bool:
    """Take or renew a lease; return whether `holder` has it now."""
    return bool(await control.execute("EVAL", _HOLD, 1, key, holder, int(hold_s * 1000)))
