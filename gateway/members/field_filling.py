"""How far the workers are with the fields that were added to a collection, by their heartbeats."""

from collections.abc import Iterable

from hedgerow.common.collection import Collection
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.shapes.collection import Filling


def filling_of(collection: Collection, workers: Iterable[Heartbeat]) -> Filling | None:
    """Sum up what the workers report; None if no replica lacks a field.

    A worker that has not applied the change yet reports fewer fields too, or none. Shards that are
    not served are not counted, nor are workers of a version that cannot add fields.
    """
    fields = list(collection.fields or {})
    fewest, waiting, done, total = len(fields), 0, 0, 0
    for worker in workers:
        for shard in worker.shards:
            indexed = worker.indexed.get(shard)
            if indexed is None:
                continue
            documents = worker.documents.get(shard, {}).get(collection.uid, 0)
            total += documents
            num_indexed = indexed.get(collection.uid, 0)
            if num_indexed >= len(fields):
                done += documents
                continue
            waiting += 1
            done += min(documents, worker.filled.get(shard, {}).get(collection.uid, 0))
            # One that reports none has all fields but those that it has not heard of.
            fewest = min(fewest, num_indexed or len(fields) - 1)
    if not waiting:
        return None
    return Filling(fields[fewest:], done / total if total else 0.0, waiting)
