"""The control plane's jobs: term statistics of whole collections, and snapshots.

Imports `shard_worker.snapshots`, `shard_worker.indexing` and `common`. Open `jobs` first; `queues`
runs jobs by arq, and is the only module that imports it.
"""
