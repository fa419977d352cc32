"""An indexer that dies of one document, as if it took all memory."""

import os

from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.indexing.commands import Command, unpack_command
from hedgerow.shard_worker.indexing.indexer import Indexer, IndexerConfig

POISON = b"poison"


class DyingIndexer(Indexer):
    """Ends its process, silently, before it applies a document that says so."""

    def __call__(self, payload: bytes, budget: Budget) -> bytes:
        """Carry out a command, unless it is to apply such a document."""
        command, arguments = unpack_command(payload)
        if command is Command.APPLY and any(POISON in op for op in arguments[-1]):
            os._exit(9)
        return super().__call__(payload, budget)


def make_indexer(config: IndexerConfig) -> DyingIndexer:
    """The factory that the lane names."""
    return DyingIndexer(config)
