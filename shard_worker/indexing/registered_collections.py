"""Collections that are registered, but of which a shard has not learned from its log."""

import structlog

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.open_shards import OpenShards
from hedgerow.shard_worker.indexing.shard_report import ShardState

_log = structlog.get_logger()


class RegisteredCollections:
    """Compares what a shard knows of collections with the registry."""

    def __init__(
        self, registry: Registry, indexer: IndexerClient, shards: OpenShards, counters: Counters
    ) -> None:
        """Compare `registry` with `shards`, to which `indexer` writes.

        Args:
            registry: has the collections.
            indexer: gives a shard the definitions that it lacks.
            shards: those of this worker.
            counters: `writes_skipped` counts writes to a collection that the shard lacks, but
                should have.
        """
        self._registry = registry
        self._indexer = indexer
        self._shards = shards
        self._counters = counters

    async def define(self, shard: int, *, only_known: bool = False) -> None:
        """Give a store the collections, or only fields, whose definitions are not in the log.

        If one is dropped after they are read, the log drops it, too.

        Raises:
            RedisUnavailableError: there was no answer.
            WorkError: the indexer has failed.
        """
        held = {report.uid: report.revision for report in self._shards.states[shard].collections}
        found = (await self._registry.collections()).values()
        new = [
            one.to_json()
            for one in found
            if one.revision > held.get(one.uid, one.revision if only_known else -1)
        ]
        if new:
            self._shards.take(await self._indexer.define(shard, new))

    async def report_skipped(self, state: ShardState) -> None:
        """Log and count the writes that a batch skipped, though their collection exists.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        if not state.skipped:
            return
        existing = await self._registry.uids()
        for uid, count in state.skipped.items():
            if uid in existing:
                self._counters.add("writes_skipped", count)
                _log.error("writes_skipped", shard=state.shard, uid=uid, writes=count)
