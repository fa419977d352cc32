"""CPU work in supervised processes: one task at a time in each, with a budget of time.

Imports `shard_worker.executors` and `common.errors`. Open `pool` first, then `dispatcher`.
"""
