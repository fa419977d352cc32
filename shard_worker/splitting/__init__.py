"""What a worker does while the cluster's shards are split (`common.splitting`).

`copier` copies a shard that the worker serves into the logs of the two that replace it, at the pace
of `copy_pace`; `driver` moves the split on, in one worker at a time. `shard_worker.layouts` runs
both, and serves the shards of both layouts meanwhile. Imports `storage`, `executors` and below.
Open `copier.py` first.
"""
