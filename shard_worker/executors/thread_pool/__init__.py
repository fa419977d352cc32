"""Blocking calls in a bounded number of threads.

Imports `shard_worker.executors` and `common.errors`. Open `threads` first.
"""
