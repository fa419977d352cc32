"""What a worker does while the cluster's shards are split (`common.splitting`).

`cloner` makes new shards from the old ones in the same worker. `copier` begins the logs of the new
shards, brings them what is written to the old ones, and the documents, if these cannot be cloned.
Both keep to the pace of `copy_pace`. `driver` moves the split on, in one worker at a time.
`shard_worker.layouts` runs all of it, and serves the shards of both layouts meanwhile. Imports
`snapshots`, `indexing`, `storage`, `executors` and below. Open `copier.py` first.
"""
