"""The aliases of collections, as they are stored in Redis: alias → name of the collection."""

from collections.abc import Mapping

from hedgerow.common.errors import ConflictError, NotFoundError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write

# Set and remove aliases, all or none. It returns what is wrong with the first change that cannot be
# made, and that change's name; nothing was changed then. Removing an alias that does not exist is
# no fault, since an earlier attempt, whose answer was lost, may have removed it.
_CHANGE = """
for i = 2, #ARGV, 2 do
    if ARGV[i + 1] ~= '' then
        if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then return {'taken', ARGV[i]} end
        if redis.call('HEXISTS', KEYS[1], ARGV[i + 1]) == 0 then return {'unknown', ARGV[i + 1]} end
    end
end
local num = redis.call('HLEN', KEYS[2])
for i = 2, #ARGV, 2 do
    local exists = redis.call('HEXISTS', KEYS[2], ARGV[i])
    if ARGV[i + 1] == '' then num = num - exists else num = num + 1 - exists end
end
if num > tonumber(ARGV[1]) and num > redis.call('HLEN', KEYS[2]) then return {'many', ''} end
for i = 2, #ARGV, 2 do
    if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[2], ARGV[i])
    else redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
return {'done', ''}
"""

# Make an alias stand for another collection if it still stands for the expected one (empty: there
# is no such alias). It returns 1 if it then stands for the other, whichever call made it so.
_SWITCH = """
local now = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if now == ARGV[3] then return 1 end
if now ~= ARGV[2] or redis.call('HEXISTS', KEYS[1], ARGV[3]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 1
"""


class AliasStore:
    """Reads and changes the aliases.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def all(self) -> dict[str, str]:
        """Alias → name of its collection."""
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self._keys.aliases)
        return {
            alias.decode(errors="replace"): name.decode(errors="replace")
            for alias, name in stored.items()
        }

    async def collection_of(self, alias: str) -> str | None:
        """Name of an alias's collection as stored now; None if there is no such alias."""
        stored: bytes | None = await self._control.execute("HGET", self._keys.aliases, alias)
        return None if stored is None else stored.decode(errors="replace")

    async def change(self, changes: Mapping[str, str | None], max_aliases: int) -> None:
        """Set and remove aliases, all in one step, and announce it as `collections`.

        Args:
            changes: alias → name of its collection from now on; None to remove the alias.
            max_aliases: how many there may be then.

        Raises:
            ConflictError: a collection has the name of an alias, or there would be too many.
            NotFoundError: an alias is to stand for a collection that does not exist.
        """
        pairs = [part for alias, name in changes.items() for part in (alias, name or "")]
        keys = (self._keys.collections, self._keys.aliases)
        command: Command = ("EVAL", _CHANGE, len(keys), *keys, max_aliases, *pairs)
        [(verdict, about)] = await write(self._control, self._keys, [command], retry=True)
        name = about.decode(errors="replace")
        match verdict:
            case b"taken":
                raise ConflictError(
                    f"{name!r} is the name of a collection, so no alias can have it"
                )
            case b"unknown":
                raise NotFoundError(
                    f"there is no collection {name!r}; an alias stands for a collection, not for "
                    "another alias"
                )
            case b"many":
                raise ConflictError(
                    f"limits.max_aliases ({max_aliases}) allows no more aliases; remove one first"
                )
        await self._control.publish(self._keys.events, b"collections")

    async def switch(self, alias: str, before: str, after: str) -> bool:
        """Make an alias stand for another collection, and announce it as `collections`.

        Args:
            alias: the alias.
            before: name of the collection that it stands for; "" if there is no such alias.
            after: name of the collection that it stands for then.

        Returns:
            Whether it stands for `after` now; if not, it stands for a third collection, or there is
            none of that name.
        """
        keys = (self._keys.collections, self._keys.aliases)
        command: Command = ("EVAL", _SWITCH, len(keys), *keys, alias, before, after)
        [is_done] = await write(self._control, self._keys, [command], retry=True)
        await self._control.publish(self._keys.events, b"collections")
        return bool(is_done)
