"""The cluster's shared state in Redis: collections, workers, statistics, quarantine.

Imports `common.redis`, `common.shard_log`, `common.wire` and `common.machine`. Open `registry`
first; its parts are `cluster_facts` and `stored_collections`.
"""
