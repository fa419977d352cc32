"""The control plane's jobs; the only module that imports arq is `jobs`.

Imports `shard_worker.snapshots`, `shard_worker.indexing` and `common`.
"""
