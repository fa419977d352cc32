"""The names of redis-py that are used here, imported without a library that is not needed.

redis-py loads PyJWT, for logins that Hedgerow does not offer. PyJWT loads a client of HTTP, and
cryptography if it is installed: 1 or 5 MB in every process, and up to 0.1 s at every start.
"""

from hedgerow.common.redis.lean_import import loaded_when_used

with loaded_when_used("jwt"):
    from redis import exceptions
    from redis.asyncio import Redis
    from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url

__all__ = ["Connection", "ConnectionPool", "Redis", "SSLConnection", "exceptions", "parse_url"]
