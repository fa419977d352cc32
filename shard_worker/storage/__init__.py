"""A shard on disk: documents in SQLite, one tantivy index for each collection.

Imports only `common`. Open `store` first, then `text_index` and `text_index_writer`.
"""
