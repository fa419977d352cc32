"""What this worker's shards hold, as the indexer last reported it."""

from hedgerow.common.wire.messages import SearchBody, pack_body
from hedgerow.shard_worker.indexing.shard_report import (
    CollectionReport,
    ShardState,
    pack_ids,
    unpack_ids,
)


class CollectionState:
    """One collection in one shard.

    Attributes:
        documents: how many documents the shard holds.
        generation: grows with each commit; a scorer whose index is older reloads it.
    """

    __slots__ = ("_first_ids", "_noop_bodies", "documents", "generation")

    def __init__(self, documents: int, generation: int, first_ids: bytes) -> None:
        """Take the number of documents, and the smallest ids, packed."""
        self.documents = documents
        self.generation = generation
        self._first_ids = first_ids
        self._noop_bodies: dict[int, bytes] = {}

    @classmethod
    def of(cls, report: CollectionReport) -> "CollectionState":
        """What the indexer reports."""
        return cls(report.documents, report.generation, report.first_ids)

    def noop_body(self, k: int) -> bytes:
        """The packed answer of the noop profile: the first k ids, with equal scores."""
        body = self._noop_bodies.get(k)
        if body is None:
            ids = unpack_ids(self._first_ids)[:k]
            body = pack_body(
                SearchBody(self.documents, self.documents, True, ids, [0.0] * len(ids))
            )
            self._noop_bodies[k] = body
        return body


_EMPTY = CollectionState(0, 0, pack_ids([]))


class ShardStates:
    """The state of every collection in each shard that this worker serves."""

    def __init__(self, shards: tuple[int, ...]) -> None:
        """Start with no collections in any of `shards`."""
        self._collections: dict[int, dict[str, CollectionState]] = {shard: {} for shard in shards}

    def of(self, shard: int, uid: str) -> CollectionState:
        """The state of one collection; an empty state if the shard has none of its documents."""
        return self._collections[shard].get(uid, _EMPTY)

    def take(self, state: ShardState) -> None:
        """Replace a shard's state by what the indexer reports."""
        self._collections[state.shard] = {
            report.uid: CollectionState.of(report) for report in state.collections
        }

    def documents(self) -> dict[int, dict[str, int]]:
        """Shard → collection uid → documents."""
        return {
            shard: {uid: state.documents for uid, state in collections.items()}
            for shard, collections in self._collections.items()
        }
