"""By which field the documents of a collection expire, and which gateway deletes them."""

from typing import Final

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write

# Take a lease, or renew one's own.
_HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class ExpiryStore:
    """Reads and changes the fields.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def all(self) -> dict[str, str]:
        """Collection uid → name of the field by which its documents expire."""
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self._keys.expiring)
        return {
            uid.decode(errors="replace"): field.decode(errors="replace")
            for uid, field in stored.items()
        }

    async def field_of(self, uid: str) -> str | None:
        """The field of one collection; None if its documents do not expire."""
        field: bytes | None = await self._control.execute("HGET", self._keys.expiring, uid)
        return None if field is None else field.decode(errors="replace")

    async def set_field(self, uid: str, field: str) -> None:
        """Have a collection's documents expire by a field from now on."""
        await write(
            self._control, self._keys, [("HSET", self._keys.expiring, uid, field)], retry=True
        )

    async def remove(self, uid: str) -> None:
        """Have a collection's documents expire no longer."""
        await write(self._control, self._keys, [("HDEL", self._keys.expiring, uid)], retry=True)

    async def hold_lease(self, gateway: str, hold_s: float) -> bool:
        """Take or renew the lease of the gateway that deletes; return whether it has it now."""
        is_held = await self._control.execute(
            "EVAL", _HOLD, 1, self._keys.expiry_lease, gateway, int(hold_s * 1000)
        )
        return bool(is_held)

    async def now_ms(self) -> int:
        """The time by Redis's clock, in ms since 1970."""
        return await self._control.now_ms()
