"""When a shard is copied, how, and how a replica starts from a copy.

Imports `shard_worker.indexing`, `shard_worker.storage`, `shard_worker.executors` and `common`. Open
`policy` first.
"""
