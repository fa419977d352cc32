"""redis-py's pool of connections, for servers at a fixed address and for a primary that moves."""

from contextlib import suppress
from typing import Any

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.redis.primary import Primary
from hedgerow.common.redis.redis_py import (
    Connection,
    ConnectionPool,
    SSLConnection,
    exceptions,
    parse_url,
)
from hedgerow.common.redis.translation import HAS_MOVED, NotSentError
from hedgerow.common.settings.redis import RedisSettings

# Errors that closing a connection may raise, including redis-py's own; it is closed all the same.
CLOSE_ERRORS = (exceptions.RedisError, OSError)


def connection_pool(
    settings: RedisSettings, primary: Primary, socket_timeout_s: float | None = None
) -> ConnectionPool:
    """Make redis-py's pool for these settings; it connects when it is first used.

    Args:
        settings: where the server is, and how long a connection attempt may take.
        primary: where it is if it moves; made of the same settings.
        socket_timeout_s: bound on each read and write, for a library (arq) that sets none itself.

    Raises:
        ConfigurationError: the URL cannot be used.
    """
    try:
        options: dict[str, Any] = dict(parse_url(settings.url))
    except ValueError as error:
        raise ConfigurationError(f"redis.url: {error}") from error
    if settings.username is not None:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    is_tls = options.get("connection_class") is SSLConnection
    if is_tls:
        options.setdefault("ssl_check_hostname", True)
        if settings.tls_ca_file is not None:
            options["ssl_ca_certs"] = str(settings.tls_ca_file)
    if primary.moves:
        options["connection_class"] = TlsPrimaryConnection if is_tls else PrimaryConnection
        options["primary"] = primary
        options["redis_connect_func"] = _on_connect
    return ConnectionPool(
        **{
            # RESP2, since redis-py's RESP3 push handler formats a debug line for every message.
            "protocol": 2,
            "decode_responses": False,
            "socket_connect_timeout": settings.connect_timeout_s,
            "socket_timeout": socket_timeout_s,
            "lib_name": None,
            "lib_version": None,
            **options,
        }
    )


async def close_pool(pool: ConnectionPool) -> None:
    """Close every connection of a pool, including those in use; errors are ignored."""
    with suppress(*CLOSE_ERRORS):
        await pool.disconnect()


class PrimaryConnection(Connection):
    """Connects to where the primary is, and again if it has moved since."""

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        super().__init__(**options)
        self._primary = primary
        self._version = -1

    async def connect(self) -> None:
        """Connect, unless it is connected to the primary."""
        if self.is_connected:
            if self._version == self._primary.version:
                return
            await self.disconnect(nowait=True)
        endpoint = await self._primary.find()
        self._version = self._primary.version
        self.host, self.port = endpoint.host, endpoint.port
        await super().connect()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        if self._version != self._primary.version:
            await self.disconnect(nowait=True)
            raise NotSentError(HAS_MOVED)


class TlsPrimaryConnection(PrimaryConnection, SSLConnection):
    """The same over TLS."""


async def _on_connect(connection: Connection) -> None:
    """Log in, then make sure that the server takes writes."""
    await connection.on_connect()
    await connection.send_command("ROLE")
    role = await connection.read_response()
    if role[0] != b"master":
        raise exceptions.ConnectionError(
            f"the server at {connection.host}:{connection.port} is a replica"
        )
