"""The gateway: takes queries and documents, and answers by the deadline.

Imports `common`, never `shard_worker`. Open `gateway` first, then `parts`, which connects what it
offers: `search/` is the walk of a query, `writes/` that of a document, up to the shards' logs.
"""
