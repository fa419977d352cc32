"""The gateway: takes queries and documents in, and answers by the deadline.

Imports `common`, never `shard_worker`. Open `gateway` first, which joins the parts: `search/` is a
query's walk, `writes/` a document's, as far as the shards' logs.
"""
