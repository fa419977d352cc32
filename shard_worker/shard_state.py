"""What this worker's shards hold, as the indexer last reported it."""

from dataclasses import dataclass, field

from common.wire import SearchBody, pack_body


@dataclass(slots=True)
class CollectionState:
    """One collection in one shard.

    Attributes:
        documents: how many documents the shard holds.
        generation: grows with each commit; a scorer whose index is older reloads it.
        first_ids: the smallest ids in ascending order, at most as many as a query may ask for.
    """

    documents: int
    generation: int
    first_ids: list[str]
    _noop_bodies: dict[int, bytes] = field(default_factory=dict)

    def noop_body(self, k: int) -> bytes:
        """The packed answer of the noop profile: the first k ids, with equal scores."""
        body = self._noop_bodies.get(k)
        if body is None:
            ids = self.first_ids[:k]
            body = pack_body(
                SearchBody(self.documents, self.documents, True, ids, [0.0] * len(ids))
            )
            self._noop_bodies[k] = body
        return body


EMPTY = CollectionState(0, 0, [])


class ShardStates:
    """The state of every collection in each shard that this worker serves."""

    def __init__(self, shards: tuple[int, ...]) -> None:
        """Nothing is known yet of `shards`."""
        self._states: dict[int, dict[str, CollectionState]] = {shard: {} for shard in shards}

    def of(self, shard: int, uid: str) -> CollectionState:
        """The state of one collection; an empty one where the shard holds none of it."""
        return self._states[shard].get(uid, EMPTY)

    def update(self, shard: int, collections: dict[str, CollectionState]) -> None:
        """Take over what the indexer reports of a shard: all of its collections."""
        self._states[shard] = collections

    def documents(self) -> dict[int, dict[str, int]]:
        """Shard → collection uid → documents."""
        return {
            shard: {uid: state.documents for uid, state in collections.items()}
            for shard, collections in self._states.items()
        }
