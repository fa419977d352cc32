"""How conditional writes have ended, as the workers report it to the gateways in Redis."""

from collections.abc import Iterable
from typing import Final

import msgpack

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.judgement import Judgement
from hedgerow.common.state.batched import batched

EXPIRY_S: Final = 600  # a request that is repeated within this time gets its first answer
_REPORTED_AT_ONCE: Final = 200


class JudgementStore:
    """Reports and reads judgements.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def report(self, shard: int, judgements: Iterable[Judgement]) -> None:
        """Store judgements; all replicas of a shard store the same."""
        for some in batched(judgements, _REPORTED_AT_ONCE):
            await self._control.pipeline(
                [
                    (
                        "SET",
                        self._keys.judgement(shard, one.token),
                        msgpack.packb((one.is_done, one.version)),
                        "EX",
                        EXPIRY_S,
                    )
                    for one in some
                ]
            )

    async def read(self, shard: int, token: str) -> Judgement | None:
        """The judgement of the write with a token; None if it is not known, or no longer."""
        packed: bytes | None = await self._control.execute(
            "GET", self._keys.judgement(shard, token)
        )
        if packed is None:
            return None
        is_done, version, *_ = msgpack.unpackb(packed)
        return Judgement(token, bool(is_done), str(version))
