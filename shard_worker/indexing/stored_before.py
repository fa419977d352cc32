"""A shard's store as the state before a batch."""

from collections.abc import Iterable

from hedgerow.common.shard_log.judgement import Judgement
from hedgerow.common.shard_log.operations import Op, Write
from hedgerow.shard_worker.storage.store import Store


class StoredBefore:
    """What the conditions of a batch's writes depend on, as the store has it."""

    def __init__(self, store: Store) -> None:
        """Read `store` as it is now."""
        self._store = store

    def has_collection(self, uid: str) -> bool:
        """Whether there is such a collection."""
        return self._store.definition(uid) is not None

    def body(self, uid: str, document_id: str) -> bytes | None:
        """A document as it is stored; None if there is none."""
        return self._store.get(uid, [document_id])[0]

    def find(self, token: str) -> tuple[int, Judgement] | None:
        """Number and judgement of an earlier write; None if it is not remembered."""
        return self._store.judgements.find(token)

    @property
    def last_number(self) -> int:
        """Number of the newest judgement; 0 if there is none."""
        return self._store.judgements.last_number


def judged_before(store: Store, ops: Iterable[Op]) -> tuple[Judgement, ...]:
    """How those conditional writes have ended that a shard has applied before."""
    tokens = (op.token for op in ops if isinstance(op, Write))
    return tuple(found[1] for token in tokens if (found := store.judgements.find(token)))
