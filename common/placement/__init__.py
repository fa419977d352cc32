"""Which worker should serve which shard: the wanted state, which workers carry out.

Imports `common.state`, `common.redis`, `common.wire` and `common.errors`. Open `document` first: it
is what is agreed upon, and `store` keeps it in Redis. `policy` decides how it changes; it is pure.
"""
