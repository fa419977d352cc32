"""What runs inside a scorer process: retrieval, then the profile's ranking function.

Imports `shard_worker.storage` and `common`. Open `scorer` first.
"""
