"""The shards that a worker holds, and how a worker that joins comes to hold what it is assigned.

Imports `shard_worker.writing`, the rooms beneath it, and `common`. Open `held_shards` first: it
takes up shards and lets go of them. In a worker that joins, `steps` decides which, and `follower`
does it.
"""
