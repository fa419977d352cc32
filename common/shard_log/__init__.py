"""A shard's log in Redis: the writes that its replicas have yet to apply.

Imports `common.redis` and `common.collection`. Open `log` first.
"""
