"""Carries out the placement: a worker that joins holds the shards that the placement assigns to it.

Imports `shard_worker.held_shards`, what that imports, and `common`. Open `steps` first: it decides;
`follower` does what it says.
"""
