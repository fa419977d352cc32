"""The shard worker: pulls requests, scores and replies; stores and indexes documents.

Imports `common`, never `gateway`. Open `worker` first, which joins the parts: `serving/` is a
request's walk, `indexing/` a document's.
"""
