"""A document's walk, as far as the shards' logs; and the collections that documents go to.

Imports `gateway.shapes`, `gateway.views` and `common`. Open `documents` first.
"""
