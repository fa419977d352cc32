"""The queues of shards, as a transport pushes to them."""

from typing import NamedTuple

from hedgerow.common.redis.commands import unanswered
from hedgerow.common.redis.keys import Keys
from hedgerow.common.wire.messages import Kind


class Queue(NamedTuple):
    """A queue's key, and the command that renews its expiry.

    The queue of a dead shard must vanish, and a list that was emptied has lost its expiry, so each
    push sets it again.
    """

    key: str
    expire: bytes


class Queues:
    """The queues of all shards; each is described once, when it is first used."""

    def __init__(self, keys: Keys, expiry_s: int) -> None:
        self._keys = keys
        self._expiry_s = expiry_s
        self._queues: dict[tuple[Kind, int], Queue] = {}

    def of(self, kind: Kind, shard: int) -> Queue:
        """Return the queue of a shard."""
        queue = self._queues.get((kind, shard))
        if queue is None:
            keys = self._keys
            key = keys.search_queue(shard) if kind is Kind.SEARCH else keys.fetch_queue(shard)
            queue = self._queues[kind, shard] = Queue(
                key, unanswered("EXPIRE", key, self._expiry_s)
            )
        return queue
