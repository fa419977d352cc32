"""The split of a cluster's shards: what it waits for, and when it goes on.

Imports `common.state`, `common.shard_log` and below. Open `policy.py` first; the states are in
`common.state.layout`, the copying in `shard_worker.splitting`.
"""
