"""Makes the report on one collection of a shard.

Beside `shard_report`, which the worker's own process imports: that process does without tantivy.
"""

from hedgerow.common.collection import Collection
from hedgerow.shard_worker.indexing.definitions import missing_fields
from hedgerow.shard_worker.indexing.graph_building import due_of
from hedgerow.shard_worker.indexing.shard_report import (
    MAX_FIRST_IDS,
    CollectionReport,
    pack_ids,
)
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index import TextIndex


def report_of(
    uid: str,
    definition: str,
    store: Store,
    collection: Collection | None,
    index: TextIndex | None,
) -> CollectionReport:
    """Report what a shard holds of a collection.

    Args:
        uid: the collection's.
        definition: as the store has it.
        store: the shard's.
        collection: the definition, read; None if this version cannot read it.
        index: the text index; None if there is none yet.
    """
    report = CollectionReport(
        uid,
        definition,
        documents=store.count(uid),
        generation=0,
        changes=store.changes(uid),
        first_ids=pack_ids(store.first_ids(uid, MAX_FIRST_IDS)),
        revision=0 if collection is None else collection.revision,
    )
    if collection is None or index is None:
        return report
    return report._replace(
        generation=index.generation,
        segments=index.num_segments,
        missing=missing_fields(collection, index.collection),
        indexed=len(index.collection.fields or {}),
        graphs_due=max(map(due_of, index.vectors.values()), default=0),
    )
