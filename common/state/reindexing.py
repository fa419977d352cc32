"""The reindex of a collection: its documents get into another one, which then replaces it.

It is one document in Redis with a version; the last reindex stays there. What each replica has
done for it is in the workers' heartbeats (`shard_log.mirror_report`).
"""

from enum import StrEnum
from typing import Final

import msgspec

from hedgerow.common.errors import WireError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.versioned import VersionedStore, hold_lease

EVENT: Final = "reindex"  # announces a new version


class ReindexState(StrEnum):
    """How far a reindex is."""

    COPYING = "copying"  # the new collection gets the documents, and follows the old one
    SWITCHING = "switching"  # it has all; the old one is made to follow it, and the alias changes
    SWITCHED = "switched"  # the alias stands for the new one, which the old one follows
    ENDING = "ending"  # the old one is made to follow no longer
    ENDED = "ended"
    CANCELLING = "cancelling"  # the new one is made to follow no longer
    CANCELLED = "cancelled"


RUNNING: Final = frozenset(
    {
        ReindexState.COPYING,
        ReindexState.SWITCHING,
        ReindexState.SWITCHED,
        ReindexState.ENDING,
        ReindexState.CANCELLING,
    }
)


class Reindex(msgspec.Struct, frozen=True):
    """A reindex.

    Attributes:
        version: each change adds 1.
        id: identifies the pair of collections in the shards' logs.
        old: name of the collection whose documents are copied.
        old_uid: its uid.
        new: name of the one that replaces it.
        new_uid: its uid.
        alias: stands for the new one in the end.
        is_new_alias: whether there was no such alias when it began; otherwise it stood for `old`.
        skip_faulty: whether to switch though documents do not fit the new collection.
        state: how far it is.
        began_at_ms: on the Redis server's clock.
        switched_at_ms: when the alias was switched; 0 before.
        ended_at_ms: when it ended; 0 before.
        error: why it was given up; "" if it was not.
        synonyms: the versions of the old and the new collection's synonyms that are the same; None
            if neither follows the other.
        expiry: the fields by which their documents expired when they last agreed, "" for none;
            None if neither follows the other.
    """

    version: int
    id: str
    old: str
    old_uid: str
    new: str
    new_uid: str
    alias: str
    is_new_alias: bool
    skip_faulty: bool
    state: ReindexState
    began_at_ms: int
    switched_at_ms: int = 0
    ended_at_ms: int = 0
    error: str = ""
    synonyms: tuple[int, int] | None = None
    expiry: tuple[str, str] | None = None

    @property
    def is_running(self) -> bool:
        """Whether something is still to be done, or one collection follows the other."""
        return self.state in RUNNING

    def to_json(self) -> bytes:
        """Encode; begins with the version."""
        return _encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> "Reindex":
        """Read what `to_json` wrote; members that a newer version added are ignored.

        Raises:
            WireError: this version cannot read it.
        """
        try:
            return _decode(text)
        except msgspec.DecodeError as error:
            raise WireError(f"not a reindex that this version can read: {error}") from error


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Reindex).decode


class ReindexStore(VersionedStore[Reindex]):
    """Reads and writes the last reindex.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        super().__init__(
            control,
            keys,
            keys.reindex,
            Reindex.from_json,
            channel=keys.events,
            event=lambda _: EVENT,
        )

    async def hold_lease(self, gateway: str, hold_s: float) -> bool:
        """Take or renew the lease of the gateway that moves it on; return whether it has it now."""
        return await hold_lease(self._control, self._keys.reindex_lease, gateway, hold_s)

    async def now_ms(self) -> int:
        """The time by Redis's clock, in ms since 1970."""
        return await self._control.now_ms()
