"""The names of redis-py that are used here, imported without libraries that are not needed.

redis-py loads PyJWT, for logins that Hedgerow does not offer, and both load cryptography if it is
installed: 4 MB in every process and 0.1 s at every start. redis-py itself uses it only for the
option `ssl_validate_ocsp`, which no setting sets.
"""

from hedgerow.common.redis.lean_import import without

with without("cryptography", remembered_by="jwt"):
    from redis import exceptions
    from redis.asyncio import Redis
    from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url

__all__ = ["Connection", "ConnectionPool", "Redis", "SSLConnection", "exceptions", "parse_url"]
