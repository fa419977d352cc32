"""Shortages of the embedded server's disk, as its keeper reports them to gateways."""

import json
from collections.abc import Sequence

from hedgerow.common.machine.shortage import Shortage
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys

EXPIRY_S = 10.0  # so that the report of a keeper that died ends by itself


class ShortageStore:
    """Stores the shortages of the server's disk."""

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def tell(self, shortages: Sequence[Shortage]) -> None:
        """Report what runs out; an empty sequence removes the report.

        Raises:
            RedisUnavailableError: the server does not answer, or refuses writes.
        """
        if not shortages:
            await self._control.execute("DEL", self._keys.storage)
            return
        said = json.dumps([one.to_json() for one in shortages])
        await self._control.execute("SET", self._keys.storage, said, "PX", int(EXPIRY_S * 1000))


def read_told(raw: bytes | None) -> list[Shortage]:
    """Read a keeper's report; one that cannot be read counts as empty."""
    try:
        found = [Shortage.from_json(one) for one in json.loads(raw or b"[]")]
        return [one for one in found if one is not None]
    except (ValueError, TypeError, AttributeError):
        return []
