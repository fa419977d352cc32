"""The gateway: takes queries and documents, and answers by the deadline.

Imports `common`, never `shard_worker`. Open `gateway` first, which connects the parts: `search/` is
the walk of a query, `writes/` that of a document, up to the shards' logs.
"""
