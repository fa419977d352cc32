"""Makes the reports on the pairs of collections of a shard."""

from hedgerow.common.shard_log.mirror_report import MirrorReport
from hedgerow.shard_worker.storage.store import Store


def mirror_reports(store: Store) -> list[MirrorReport]:
    """Report on all pairs that a shard's store has."""
    return [
        MirrorReport(
            pair.mirror,
            pair.number,
            pair.is_copied,
            pair.is_turned,
            store.count(pair.old),
            store.count(pair.new),
            store.mirrors.num_misfits(pair.mirror),
            store.mirrors.first_misfits(pair.mirror),
        )
        for pair in store.mirrors.all()
    ]
