"""The synonyms of collections, as they are stored in Redis.

Those of a collection are one JSON text. Gateways read the versions often, and a text only if its
version has changed.
"""

from collections.abc import Iterable
from typing import Final

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write

# Store the text of a collection's synonyms, or remove it if it is empty, and count up its version,
# which goes on counting afterwards: else a gateway could take new synonyms for those it knows.
_CHANGE: Final = """
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
"""


class SynonymStore:
    """Reads and changes the synonyms.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def versions(self) -> dict[str, int]:
        """Collection uid → version of its synonyms, of collections that have or had any."""
        stored: dict[bytes, bytes] = await self._control.execute(
            "HGETALL", self._keys.synonym_versions
        )
        return {uid.decode(errors="replace"): int(version) for uid, version in stored.items()}

    async def version_of(self, uid: str) -> int:
        """The version of one collection's synonyms; 0 if it never had any."""
        return int(await self._control.execute("HGET", self._keys.synonym_versions, uid) or 0)

    async def texts_of(self, uids: Iterable[str]) -> dict[str, bytes]:
        """The texts of some collections' synonyms, except of those that have none."""
        wanted = list(uids)
        if not wanted:
            return {}
        found: list[bytes | None] = await self._control.execute(
            "HMGET", self._keys.synonyms, *wanted
        )
        return {uid: text for uid, text in zip(wanted, found, strict=True) if text is not None}

    async def change(self, uid: str, text: bytes) -> int:
        """Replace a collection's synonyms, and announce it as `collections`.

        Args:
            uid: the collection's.
            text: the new ones; empty for none.

        Returns:
            The new version.
        """
        keys = (self._keys.synonyms, self._keys.synonym_versions)
        command: Command = ("EVAL", _CHANGE, len(keys), *keys, uid, text)
        (version,) = await write(self._control, self._keys, [command], retry=True)
        await self._control.publish(self._keys.events, b"collections")
        return int(version)

    async def forget(self, uid: str) -> None:
        """Remove all that is stored for a collection that was dropped."""
        commands: list[Command] = [
            ("HDEL", self._keys.synonyms, uid),
            ("HDEL", self._keys.synonym_versions, uid),
        ]
        await write(self._control, self._keys, commands, retry=True)
