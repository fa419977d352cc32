"""Snapshots of shards: when and how they are made, and how a replica starts from one.

Imports `shard_worker.indexing`, `shard_worker.storage`, `shard_worker.executors` and `common`. Open
`policy` first.
"""
