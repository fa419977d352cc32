"""A document's walk from its shard's log into the store and the text index.

`applier` runs in the worker, `indexer` in a process of its own. Imports `shard_worker.storage`,
`shard_worker.executors` and `common`. Open `applier` first.
"""
