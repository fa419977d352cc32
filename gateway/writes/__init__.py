"""A document's walk, as far as the shards' logs, the reading of one, and collections.

Imports `gateway.search`, to read, `gateway.views` and `common`. Open `documents` first.
"""
