"""A document's walk up to the shards' logs; also reads of single documents, and collections.

Imports `gateway.search` (for reads), `gateway.views` and `common`. Open `documents` first.
"""
