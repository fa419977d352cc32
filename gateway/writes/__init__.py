"""A document's walk, up to the shards' logs, the reading of one, and collections.

Imports `gateway.search`, to read, `gateway.views` and `common`. Open `documents` first.
"""
