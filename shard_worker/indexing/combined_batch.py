"""What a batch of a shard's log comes to, before any of it is written."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hedgerow.common.collection import Collection
from hedgerow.common.shard_log.operations import Op
from hedgerow.shard_worker.indexing.changes import Changes
from hedgerow.shard_worker.indexing.copying import copy_next
from hedgerow.shard_worker.indexing.definitions import Definitions
from hedgerow.shard_worker.indexing.mirroring import fit_documents
from hedgerow.shard_worker.indexing.stored_before import StoredBefore
from hedgerow.shard_worker.storage.store import Store


class CombinedBatch(NamedTuple):
    """A batch, ready to be written.

    Attributes:
        changes: the effect of its operations.
        definitions: uid → definition (JSON) of every collection, as of the end of the batch.
        documents: uid → id → JSON or None, of the collections that there are.
        skipped: uid → how many writes are skipped, since there is no such collection.
        fits: as for `StoredMirrors.apply`.
    """

    changes: Changes
    definitions: Mapping[str, str]
    documents: Mapping[str, dict[str, bytes | None]]
    skipped: Mapping[str, int]
    fits: Mapping[str, Mapping[str, str | None]]

    @classmethod
    def of(cls, ops: Iterable[Op], store: Store, known: Definitions) -> "CombinedBatch":
        """Combine operations.

        Args:
            ops: oldest first.
            store: the shard's, as it was before them.
            known: reads definitions.
        """
        changes = Changes.of(ops, StoredBefore(store), store.mirrors.all())
        for step in changes.mirroring.steps:
            copy_next(step, changes, store)
        # The log may begin with a definition that `define` has already replaced by a newer one.
        for uid in [uid for uid, one in changes.definitions.items() if known.is_older(uid, one)]:
            del changes.definitions[uid]
        definitions = {**store.collections(), **changes.definitions}
        # A document whose collection was dropped by an earlier batch is skipped.
        documents = {uid: some for uid, some in changes.documents.items() if uid in definitions}
        skipped = {
            uid: len(some) for uid, some in changes.documents.items() if uid not in documents
        }

        def definition(uid: str) -> Collection | None:
            return known.read(uid, definitions[uid]) if uid in definitions else None

        fits = fit_documents(changes.mirroring, documents, definition)
        return cls(changes, definitions, documents, skipped, fits)
