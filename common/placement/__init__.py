"""Which worker should serve which shard: the wanted state, which workers carry out.

Imports `common.redis`, `common.errors` and `common.formats`. Open `document` first: it is what is
agreed upon; `store` keeps it in Redis.
"""
