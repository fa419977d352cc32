"""How requests reach shards and replies come back.

`protocol` is what a search needs of a network, `redis` carries it. Imports `common` alone.
"""
