"""A document's walk, up to the shards' logs, and the definitions of collections.

Imports `gateway.shapes`, `gateway.views` and `common`. Open `documents` first.
"""
