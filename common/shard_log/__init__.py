"""A shard's log in Redis: the writes that its replicas have not applied yet.

Imports `common.redis` and `common.collection`. Open `operations` first, then `log`.
"""
