"""What this worker's shards hold, as the indexer last reported it."""

from hedgerow.common.wire.messages import SearchBody, pack_body
from hedgerow.shard_worker.indexing.shard_report import (
    CollectionReport,
    ShardState,
    pack_ids,
    unpack_ids,
)
from hedgerow.shard_worker.scoring.opening import first_generation


class CollectionState:
    """One collection in one shard.

    Attributes:
        documents: how many documents the shard holds.
        generation: grows with each commit, and each time that the worker takes up the shard again
            (`opening`); a scorer whose index is older reloads it.
    """

    __slots__ = ("_first_ids", "_noop_bodies", "documents", "generation")

    def __init__(self, documents: int, generation: int, first_ids: bytes) -> None:
        """Take the number of documents, and the smallest ids, packed."""
        self.documents = documents
        self.generation = generation
        self._first_ids = first_ids
        self._noop_bodies: dict[int, bytes] = {}

    @classmethod
    def of(cls, report: CollectionReport, before: int) -> "CollectionState":
        """What the indexer reports; `before` is what the generations of this opening begin at."""
        return cls(report.documents, before + report.generation, report.first_ids)

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


class ShardStates:
    """The state of every collection in each shard that this worker holds."""

    def __init__(self) -> None:
        """Start without any shard."""
        self._collections: dict[int, dict[str, CollectionState]] = {}
        self._empty: dict[int, CollectionState] = {}  # shard → the state of what it lacks
        self._num_openings: dict[int, int] = {}

    def __contains__(self, shard: object) -> bool:
        return shard in self._collections

    def of(self, shard: int, uid: str) -> CollectionState:
        """The state of one collection; an empty state if the shard has none of its documents."""
        return self._collections[shard].get(uid) or self._empty[shard]

    def take(self, state: ShardState) -> None:
        """Replace a shard's state by what the indexer reports; the first one adds the shard."""
        shard = state.shard
        if shard not in self._collections:
            num_before = self._num_openings.get(shard, 0)
            self._num_openings[shard] = num_before + 1
            self._empty[shard] = CollectionState(0, first_generation(num_before), pack_ids([]))
        before = self._empty[shard].generation
        self._collections[shard] = {
            report.uid: CollectionState.of(report, before) for report in state.collections
        }

    def remove(self, shard: int) -> None:
        """Forget a shard that the worker no longer holds."""
        self._collections.pop(shard, None)

    def documents(self) -> dict[int, dict[str, int]]:
        """Shard → collection uid → documents."""
        return {
            shard: {uid: state.documents for uid, state in collections.items()}
            for shard, collections in self._collections.items()
        }
