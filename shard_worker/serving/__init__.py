"""A request's walk through a worker: pulled, run by an executor, replied to.

Imports `shard_worker.executors`, `shard_worker.indexing` (for what the shards hold),
`shard_worker.storage` and `common`. Open `turn` first, then `intake` and `search`; `answering`
builds the parts. What `consumer` pulls, `pull_policy` decides.
"""
