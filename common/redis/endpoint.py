"""Where and how to connect to Redis, from the settings."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.redis_url import database_of, url_fault


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to connect, from the settings; as a `Primary`, one that never moves.

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

    moves: ClassVar[bool] = False
    version: ClassVar[int] = 0
    failovers: ClassVar[int] = 0

    @property
    def address(self) -> str:
        """The server, for messages: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"

    def at(self, host: str, port: int) -> "Endpoint":
        """The same, on another host and port."""
        return replace(self, host=host, port=port)

    async def find(self) -> "Endpoint":
        """This endpoint; see `Primary.find`."""
        return self

    def follow(self, on_moved: Callable[[], None]) -> Callable[[], None]:
        """Do nothing; see `Primary.follow`."""
        del on_moved
        return lambda: None

    def doubt(self, version: int) -> None:
        """Do nothing: if the server became a replica, it may become the primary again."""

    async def pause(self, duration_s: float) -> None:
        """Wait; see `Primary.pause`."""
        await asyncio.sleep(duration_s)

    async def settled(self) -> None:
        """Return at once; see `Primary.settled`."""

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    @classmethod
    def of(cls, settings: RedisSettings) -> "Endpoint":
        """Read the URL, and the settings that override its parts.

        Raises:
            ConfigurationError: the URL cannot be used, see `url_fault`.
        """
        if fault := url_fault(settings.url):
            raise ConfigurationError(f"redis.url: {fault}")
        url = urlsplit(settings.url)
        is_unix = url.scheme == "unix"
        tls = None
        if url.scheme == "rediss":
            if settings.tls_ca_file is not None and not settings.tls_ca_file.is_file():
                raise ConfigurationError(
                    f"redis.tls_ca_file: there is no file {settings.tls_ca_file}"
                )
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
            database=int(database_of(url)),
            connect_timeout_s=settings.connect_timeout_s,
            reconnect_max_s=settings.reconnect_max_s,
        )
