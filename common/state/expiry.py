"""By which field the documents of a collection expire, and which gateway deletes them."""

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write
from hedgerow.common.state.versioned import hold_lease


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
        return await hold_lease(self._control, self._keys.expiry_lease, gateway, hold_s)

    async def now_ms(self) -> int:
        """The time by Redis's clock, in ms since 1970."""
        return await self._control.now_ms()
