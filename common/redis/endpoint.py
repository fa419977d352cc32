"""Where and how to connect to Redis, from the settings."""

import ssl
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.redis import RedisSettings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to connect, from the settings.

    Attributes:
        path: a Unix socket; None if `host` and `port` are used.
        tls: None for a plain connection.
    """

    host: str
    port: int
    path: str | None
    tls: ssl.SSLContext | None
    username: str | None
    password: str | None
    database: int
    connect_timeout_s: float
    reconnect_max_s: float

    @property
    def address(self) -> str:
        """The server, for messages: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"

    @classmethod
    def of(cls, settings: RedisSettings) -> "Endpoint":
        """Read the URL, and the settings that override its parts.

        Raises:
            ConfigurationError: the URL has another scheme or a database that is not a number.
        """
        url = urlsplit(settings.url)
        if url.scheme not in ("redis", "rediss", "unix"):
            raise ConfigurationError(
                f"redis.url: scheme {url.scheme!r} is not redis, rediss or unix"
            )
        is_unix = url.scheme == "unix"
        database = parse_qs(url.query).get("db", ["0"])[0] if is_unix else url.path.strip("/")
        if not (database or "0").isdecimal():
            raise ConfigurationError(f"redis.url: database {database!r} is not a number")
        tls = None
        if url.scheme == "rediss":
            tls = ssl.create_default_context(
                cafile=str(settings.tls_ca_file) if settings.tls_ca_file else None
            )
        password = settings.password.get_secret_value() if settings.password else url.password
        return cls(
            host=url.hostname or "127.0.0.1",
            port=url.port or 6379,
            path=unquote(url.path) if is_unix else None,
            tls=tls,
            username=settings.username or (unquote(url.username) if url.username else None),
            password=unquote(password) if password and not settings.password else password,
            database=int(database or "0"),
            connect_timeout_s=settings.connect_timeout_s,
            reconnect_max_s=settings.reconnect_max_s,
        )
