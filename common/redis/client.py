"""The client for all access to Redis off the hot path; the only user of redis-py.

The data plane has its own connection (common/redis/connection.py). redis-py stays below 6, since
arq pins it.

**Cancelling** never leaves a connection with an unread reply, as in redis-py issues 2624 and 2665:
since 4.5.5, a send or read that ends by any exception drops its connection. `socket_timeout` stays
unset all the same, because with it redis-py sends through `asyncio.wait_for`, which on Python 3.11
can swallow a cancellation (cpython issue 86296). The bound on a command is one `asyncio.timeout`
here, around all of its attempts.

**Retrying** is for commands that may run twice. An XADD that timed out may have been executed, so
it is not sent again here; its caller decides, knowing the effect of a second copy.
"""

import asyncio
import os
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import structlog

from hedgerow.common.errors import (
    ConfigurationError,
    HedgerowError,
    RedisUnavailableError,
    SealedError,
    WriteRefusedError,
)
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.pool import CLOSE_ERRORS, close_pool, connection_pool
from hedgerow.common.redis.primary import Primary
from hedgerow.common.redis.redis_py import Redis, exceptions
from hedgerow.common.redis.refusals import READ_ONLY, SEALED, refused_write
from hedgerow.common.redis.sentinels import primary_of
from hedgerow.common.settings.redis import RedisSettings

MAX_ATTEMPTS = 4
FIRST_PAUSE_S = 0.05
EVENTS_IDLE_S = 10.0  # after this time without a message, a subscription is checked by a PING
RECONNECTED = b"reconnected"
# Errors of a server that cannot execute a command now, but may later; the errors of a server that
# refuses writes are in common.redis.refusals.
# UNBLOCKED is for a blocked read whose server becomes a replica: a failover.
_NOT_NOW = (
    "CLUSTERDOWN",
    "MASTERDOWN",
    "NOREPLICAS",
    "TRYAGAIN",
    "BUSY",
    "UNBLOCKED",
)

_T = TypeVar("_T")
_log = structlog.get_logger()

Command = tuple[bytes | str | float, ...]


class ServerInfo(NamedTuple):
    """The server that answers.

    Attributes:
        name: "redis" or "valkey".
        version: its version, such as "8.1.3".
        pid: its process.
    """

    name: str
    version: str
    pid: int


async def connect(settings: RedisSettings, wait_s: float = 0.0) -> "RedisClient":
    """Connect, and check that Hedgerow supports the server.

    Args:
        settings: where the server is.
        wait_s: how long to wait for a server that is not up yet, or is loading its data, in s.

    Raises:
        ConfigurationError: the server is too old, or refuses the user, or the URL is wrong.
        RedisUnavailableError: it does not answer.
    """
    control = RedisClient(settings)
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + wait_s
    failures = 0
    while True:
        try:
            check_version(await control.server_info())
        except RedisUnavailableError as error:
            failures += 1
            if loop.time() >= give_up_at:
                await control.close()
                raise RedisUnavailableError(_not_answered(settings, error)) from error
            await asyncio.sleep(pause_s(failures, settings.reconnect_max_s))
        except BaseException:
            await control.close()
            raise
        else:
            return control


def _not_answered(settings: RedisSettings, error: RedisUnavailableError) -> str:
    if settings.sentinels:
        return f"Redis does not answer: {_why(error)}"
    return f"Redis at {Endpoint.of(settings).address} does not answer: {_why(error)}"


def _why(error: BaseException) -> str:
    """Say in the system's words why there is no connection, if that is the reason."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            # asyncio has words of its own for the system's errors; a resolver has other numbers.
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return str(error)


def pause_s(failures: int, cap_s: float) -> float:
    """How long to wait before the next attempt, after a number of failures in a row, in s.

    Full jitter over a doubling bound, so that many clients do not return at once:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, min(cap_s, FIRST_PAUSE_S * 2 ** min(failures, 16)))


def check_version(server: ServerInfo) -> None:
    """Refuse a server that lacks what Hedgerow uses (BLMPOP, XTRIM MINID).

    Raises:
        ConfigurationError: it is older than Redis 7.0 or Valkey 8; names the version.
    """
    major = server.version.partition(".")[0]
    oldest = 8 if server.name == "valkey" else 7
    if not major.isdigit() or int(major) < oldest:
        raise ConfigurationError(
            f"redis.url: the server is {server.name} {server.version}; "
            "Redis 7.0 or newer, or Valkey 8 or newer, is needed"
        )


class RedisClient:
    """A client for everything off the hot path: bounded in time, with Hedgerow's own errors.

    Each command ends within `settings.command_timeout_s`, including retries: with its answer, with
    `RedisUnavailableError` (no answer; a write may have been done all the same), with its subclass
    `WriteRefusedError` (the server accepts no writes now), or with `ConfigurationError` (the server
    refuses the command itself, so another attempt does not help).

    Attributes:
        settings: where the server is, and the timeouts.
        server: the server at the last `server_info`.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.server = ServerInfo("redis", "0", 0)
        self._primary = primary_of(settings)
        self._pool = connection_pool(settings, self._primary)
        self._client: Redis = Redis(connection_pool=self._pool)
        self._attempts: set[asyncio.Timeout] = set()
        self._unfollow = self._primary.follow(self._leave)

    @property
    def primary(self) -> Primary:
        """Where the server is, for the connections of the data plane."""
        return self._primary

    async def close(self) -> None:
        """Close every connection, including those in use and those to sentinels."""
        self._unfollow()
        await close_pool(self._pool)
        await self._primary.close()

    async def execute(
        self, *command: bytes | str | float, retry: bool = True, block_s: float = 0.0
    ) -> Any:
        """Run one command.

        Args:
            command: its name and arguments.
            retry: whether it may be sent again if its answer is missing.
            block_s: how long the server itself may block on it, in addition to the usual bound.

        Returns:
            The reply as redis-py parses it: bytes undecoded, a hash as a dict.

        Raises:
            RedisUnavailableError: there was no answer in time.
            ConfigurationError: the server refuses the command.
        """

        async def run() -> Any:
            return await self._client.execute_command(  # type: ignore[no-untyped-call]  # redis-py
                *command
            )

        return await self._attempt(run, str(command[0]), retry, block_s)

    async def pipeline(
        self,
        commands: Sequence[Command],
        retry: bool = True,
        atomic: bool = False,
        block_s: float = 0.0,
    ) -> list[Any]:
        """Run commands in one write and one read.

        Args:
            commands: each with its name and arguments.
            retry: whether they may all be sent again if the answer is missing.
            atomic: whether they run as one transaction (MULTI).
            block_s: how long the server itself may block on them, in addition to the usual bound.

        Returns:
            Their replies, in order.

        Raises:
            RedisUnavailableError: at least one of them had no answer in time.
            ConfigurationError: the server refuses one of them; the others may have been done.
        """
        if not commands:
            return []

        async def run() -> list[Any]:
            pipe = self._client.pipeline(transaction=atomic)
            for command in commands:
                pipe.execute_command(*command)
            # redis-py would put a whole failed command into its message: raise the reply itself.
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies

        return await self._attempt(run, str(commands[0][0]), retry, block_s)

    async def now_ms(self) -> int:
        """The Redis server's clock, in ms since 1970."""
        seconds, us = await self.execute("TIME")
        return int(seconds) * 1000 + int(us) // 1000

    async def publish(self, channel: str, message: bytes) -> int:
        """Publish a message; return the number of subscribers."""
        num_receivers: int = await self.execute("PUBLISH", channel, message)
        return num_receivers

    async def server_info(self) -> ServerInfo:
        """Ask the server for its name and version, and keep them in `server`."""
        info: dict[str, Any] = await self.execute("INFO", "server")
        name = "valkey" if "valkey_version" in info else "redis"
        version = str(info.get(f"{name}_version", "unknown"))
        self.server = ServerInfo(name, version, int(info.get("process_id", 0)))
        return self.server

    async def events(self, channel: str) -> AsyncGenerator[bytes]:
        """Yield the messages of a channel, on a connection of its own.

        Pub/Sub drops messages that have no subscriber. Therefore `b"reconnected"` is yielded each
        time that the subscription starts, including the first time: then read everything again.
        If the loop over this generator is left by `break`, wrap it in `contextlib.aclosing`.
        """
        failures = 0
        while True:
            version = self._primary.version
            pubsub = self._client.pubsub(ignore_subscribe_messages=False)
            try:
                async with asyncio.timeout(self.settings.command_timeout_s):
                    await self._here(partial(pubsub.subscribe, channel), version)
                while True:
                    message = await self._here(partial(self._next_message, pubsub), version)
                    if message["type"] == "subscribe":
                        failures = 0
                        yield RECONNECTED
                    elif message["type"] == "message":
                        yield message["data"]
            except (exceptions.RedisError, RedisUnavailableError, OSError) as error:
                failures += 1
                log = _log.warning if failures == 1 else _log.debug
                log("events_lost", channel=channel, error=str(error))
            finally:
                # Over TLS, a server that hangs sends no close_notify, and redis-py raises.
                with suppress(*CLOSE_ERRORS):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
            if version == self._primary.version:
                await self._primary.pause(pause_s(failures, self.settings.reconnect_max_s))

    async def _next_message(self, pubsub: Any) -> dict[str, Any]:
        message = await pubsub.get_message(timeout=EVENTS_IDLE_S)
        while message is None:
            # A peer that has vanished (power, cable) looks like one with no messages: ping it.
            async with asyncio.timeout(self.settings.command_timeout_s):
                await pubsub.ping()
            message = await pubsub.get_message(timeout=self.settings.command_timeout_s)
            if message is None:
                raise exceptions.TimeoutError("no answer to PING")
        return dict(message)

    async def _attempt(
        self, run: Callable[[], Awaitable[_T]], name: str, retry: bool, block_s: float
    ) -> _T:
        failures = 0
        timeout_s = self.settings.command_timeout_s + block_s
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    version = self._primary.version
                    try:
                        return await self._here(run, version)
                    except (exceptions.RedisError, RedisUnavailableError, OSError) as error:
                        failures += 1
                        translated = self._translated(error, name, version)
                        if (
                            isinstance(translated, ConfigurationError)
                            or not retry
                            or failures == MAX_ATTEMPTS
                        ):
                            if translated is error:  # else it would be its own cause
                                raise
                            raise translated from error
                        await self._primary.pause(pause_s(failures, self.settings.reconnect_max_s))
        except TimeoutError as error:
            raise RedisUnavailableError(
                f"Redis did not answer {name} within {timeout_s:g} s"
            ) from error

    async def _here(self, run: Callable[[], Awaitable[_T]], version: int) -> _T:
        """Run something that ends with an error if the primary is no longer the `version`'s.

        redis-py drops a connection whose command is cancelled.
        """
        if version == self._primary.version:
            try:
                async with asyncio.timeout(None) as attempt:
                    self._attempts.add(attempt)
                    try:
                        return await run()
                    finally:
                        self._attempts.discard(attempt)
            except TimeoutError:
                if not attempt.expired():
                    raise
        raise exceptions.ConnectionError("the primary has moved")

    def _leave(self) -> None:
        """End the commands that wait for a server which is no longer the primary."""
        now = asyncio.get_running_loop().time()
        for attempt in list(self._attempts):
            attempt.reschedule(now)

    def _translated(self, error: Exception, command: str, version: int) -> HedgerowError:
        if isinstance(error, HedgerowError):
            return error
        found = _translate(error, command)
        if (
            self._primary.moves
            and isinstance(found, WriteRefusedError)
            and found.cause == READ_ONLY
        ):
            self._primary.doubt(version)
            return RedisUnavailableError(f"Redis refuses {command}: it has become a replica")
        return found


@contextmanager
def translated(command: str) -> Iterator[None]:
    """Translate errors that a plain redis-py client (arq's) raises in the block into ours."""
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise _translate(error, command) from error


def _refused(error: Exception, command: str, cause: str) -> WriteRefusedError:
    return WriteRefusedError(f"Redis refuses {command}: {error}", cause)


def _translate(error: Exception, command: str) -> HedgerowError:
    if isinstance(error.__cause__, exceptions.AuthenticationError):
        error = error.__cause__  # over a Unix socket redis-py hides it in a ConnectionError
    if isinstance(error.__context__, ssl.SSLCertVerificationError):
        return ConfigurationError(f"redis.tls_ca_file: {error.__context__.verify_message}")
    if isinstance(error, exceptions.AuthenticationError):
        return ConfigurationError(f"redis: the server refuses the user or password: {error}")
    if (cause := refused_write(error)) is not None:
        return SealedError() if cause == SEALED else _refused(error, command, cause)
    if isinstance(error, exceptions.NoPermissionError):
        return ConfigurationError(f"redis: the server refuses {command} to this user: {error}")
    if not isinstance(error, exceptions.ResponseError) or str(error).startswith(_NOT_NOW):
        return RedisUnavailableError(f"Redis refuses {command}: {error}")
    return ConfigurationError(f"redis: the server refuses {command}: {error}")
