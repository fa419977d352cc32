"""An indexer that dies of one document, as of one that takes all memory."""

import os

import msgpack

from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.indexing.indexer import Indexer, IndexerConfig

POISON = b"poison"


class DyingIndexer(Indexer):
    """Ends its process, without a word, before it applies a document that says so."""

    def __call__(self, payload: bytes, budget: Budget) -> bytes:
        """Do what a packed array says, unless it is to apply such a document."""
        what, *rest = msgpack.unpackb(payload)
        if what == "apply" and any(POISON in op for op in rest[-1]):
            os._exit(9)
        return super().__call__(payload, budget)


def make_indexer(config: IndexerConfig) -> DyingIndexer:
    """The factory that the lane names."""
    return DyingIndexer(config)
