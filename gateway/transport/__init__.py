"""How requests reach shards and replies come back.

Open `protocol` first: what a search needs of a network. `redis` carries it. Imports `common` alone.
"""
