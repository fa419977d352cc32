"""How far the workers are with the fields that were added to a collection, by their heartbeats."""

from collections.abc import Iterable, Iterator, Mapping

from hedgerow.common.collection import Collection
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.shapes.collection import Filling


def filling_of(
    collection: Collection, workers: Iterable[Heartbeat], last: Mapping[int, Heartbeat]
) -> Filling | None:
    """Sum up what the workers report; None if no replica lacks a field.

    A worker that has not applied the change yet reports fewer fields too, or none. Workers of a
    version that cannot add fields are not counted.

    Args:
        collection: the collection.
        workers: the live workers.
        last: shard → the last heartbeat of a worker that served it. It counts for a shard that no
            live worker serves: what was being filled when its worker went away is not filled.
    """
    fields = list(collection.fields or {})
    fewest, waiting, done, total = len(fields), 0, 0, 0
    for shard, worker in _replicas(list(workers), last):
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


def _replicas(
    workers: list[Heartbeat], last: Mapping[int, Heartbeat]
) -> Iterator[tuple[int, Heartbeat]]:
    served = {shard for worker in workers for shard in worker.shards}
    for worker in workers:
        for shard in worker.shards:
            yield shard, worker
    for shard, worker in last.items():
        if shard not in served:
            yield shard, worker
