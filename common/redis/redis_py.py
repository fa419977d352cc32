"""The names of redis-py that are used here, imported without what it loads for others.

It loads PyJWT, for logins that are not offered here, and both load cryptography where that is
installed: 4 MB in every process and 0.1 s of every start. What redis-py itself would use it for is
the option `ssl_validate_ocsp`, which no setting sets.
"""

from hedgerow.common.redis.lean_import import without

with without("cryptography", remembered_by="jwt"):
    from redis import exceptions
    from redis.asyncio import Redis
    from redis.asyncio.connection import ConnectionPool, SSLConnection, parse_url

__all__ = ["ConnectionPool", "Redis", "SSLConnection", "exceptions", "parse_url"]
