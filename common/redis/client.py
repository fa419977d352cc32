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
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from hedgerow.common.errors import (
    ConfigurationError,
    HedgerowError,
    RedisUnavailableError,
    WriteRefusedError,
)
from hedgerow.common.redis.by_server import by_server
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.pipelined import Pipelined
from hedgerow.common.redis.pool import CLOSE_ERRORS, close_pool, connection_pool
from hedgerow.common.redis.primary import Primary
from hedgerow.common.redis.redis_py import Redis, exceptions
from hedgerow.common.redis.refusals import READ_ONLY
from hedgerow.common.redis.sentinel_view import Address
from hedgerow.common.redis.sentinels import primary_of
from hedgerow.common.redis.server_info import ServerInfo
from hedgerow.common.redis.shared_events import RECONNECTED, SharedEvents
from hedgerow.common.redis.translation import (
    HAS_MOVED,
    NotSentError,
    asked_at,
    is_moved,
    translate,
    was_not_done,
)
from hedgerow.common.settings.redis import RedisSettings

MAX_ATTEMPTS = 4
FIRST_PAUSE_S = 0.05
EVENTS_IDLE_S = 10.0  # after this time without a message, a subscription is checked by a PING

_T = TypeVar("_T")
_log = structlog.get_logger()


def pause_s(failures: int, cap_s: float) -> float:
    """How long to wait before the next attempt, after a number of failures in a row, in s.

    Full jitter over a doubling bound, so that many clients do not return at once:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, min(cap_s, FIRST_PAUSE_S * 2 ** min(failures, 16)))


class RedisClient:
    """A client for everything off the hot path: bounded in time, with Hedgerow's own errors.

    Each command ends within `settings.command_timeout_s`, including retries: with its answer, with
    `RedisUnavailableError` (no answer; a write may have been done all the same), with its subclass
    `WriteRefusedError` (the server accepts no writes now), or with `ConfigurationError` (the server
    refuses the command itself, so another attempt does not help).

    The queues and logs of shards may be on other servers, which have clients of their own (`data`).
    By default, it is the same server, and the same client.

    Attributes:
        settings: where the server is, and the timeouts.
        setting: the one that names the server, for messages.
        data_clients: the clients for queues and logs: one for each slot of a Redis Cluster,
            otherwise a single one.
        server: the server at the last `server_info`.
    """

    def __init__(
        self,
        settings: RedisSettings,
        primary: Primary | None = None,
        data: Sequence["RedisClient"] = (),
        setting: str = "redis.url",
    ) -> None:
        """Describe the server; it connects when it is first used.

        Args:
            settings: where the server is, and the timeouts.
            primary: the node with the slot whose keys are used; None for the settings' server.
            data: the clients for queues and logs, closed with this one; empty for itself.
            setting: the one that names the server.
        """
        self.settings = settings
        self.setting = setting
        self.is_in_cluster = primary is not None
        self.data_clients: tuple[RedisClient, ...] = tuple(data) or (self,)
        self.server = ServerInfo("redis", "0", 0)
        self._primary = primary or primary_of(settings)
        self._targets: dict[Address, RedisClient] = {}
        self._pool = connection_pool(settings, self._primary)
        self._client: Redis = Redis(connection_pool=self._pool)
        self._attempts: set[asyncio.Timeout] = set()
        self._failovers = self._primary.failovers
        self._unfollow = self._primary.follow(self._leave)
        self._events = SharedEvents(self._subscription)

    @property
    def primary(self) -> Primary:
        """Where the server is, for the connections of the data plane."""
        return self._primary

    def data(self, shard: int) -> "RedisClient":
        """The client for a shard's queues and log."""
        return self.data_clients[shard % len(self.data_clients)]

    @property
    def is_split(self) -> bool:
        """Whether queues and logs are on other servers than this one."""
        return self.data_clients[0] is not self

    async def close(self) -> None:
        """Close every connection, including those in use, to sentinels and to other servers."""
        if self.is_split:
            await asyncio.gather(*(client.close() for client in self.data_clients))
        self._unfollow()
        await self._events.close()
        targets, self._targets = self._targets, {}
        await asyncio.gather(*(target.close() for target in targets.values()))
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
            try:
                return await self._client.execute_command(  # type: ignore[no-untyped-call]  # its
                    *command
                )
            except exceptions.ResponseError as error:
                if (target := asked_at(error)) is None:
                    raise
                return (await self._ask(target, [command], block_s=block_s))[0]

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
        _, replies = await self.counted_pipeline(commands, retry, atomic, block_s)
        return replies

    async def counted_pipeline(
        self,
        commands: Sequence[Command],
        retry: bool = True,
        atomic: bool = False,
        block_s: float = 0.0,
        last: Sequence[Command] = (),
    ) -> tuple[int, list[Any]]:
        """As `pipeline`; also returns the `failovers` there had been when they were sent.

        Args:
            commands: each with its name and arguments.
            retry: whether they may all be sent again if the answer is missing.
            atomic: whether they run as one transaction (MULTI).
            block_s: how long the server itself may block on them, in addition to the usual bound.
            last: commands that follow in the same write and are about the connection itself, as
                WAIT is; their replies, which are numbers, come last. If some commands are sent to
                another node, these follow there as well, and the lowest numbers count.
        """
        failovers = self._primary.failovers
        if not commands:
            return failovers, []
        pipelined = Pipelined(commands, last)

        async def send(some: Sequence[Command]) -> list[Any]:
            pipe = self._client.pipeline(transaction=atomic)
            for command in some:
                pipe.execute_command(*command)
            # redis-py would put a whole failed command into its message: its caller raises it.
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies

        async def run() -> list[Any]:
            nonlocal failovers
            if not pipelined.has_begun:
                failovers = self._primary.failovers
            return await pipelined.run(send, partial(self._ask, block_s=block_s))

        replies = await self._attempt(run, str(commands[0][0]), retry, block_s)
        return failovers, replies

    async def pipeline_of_shards(
        self, commands: Iterable[tuple[int, Command]], retry: bool = True
    ) -> list[Any]:
        """As `pipeline`, for commands on the queues and logs of several shards.

        Args:
            commands: each with its shard; those on one server go in one write.
            retry: whether they may be sent again if the answer is missing.

        Returns:
            Their replies, in order.
        """

        async def run(client: RedisClient, some: Sequence[tuple[int, Command]]) -> Sequence[Any]:
            return await client.pipeline([command for _, command in some], retry=retry)

        return await by_server(list(commands), lambda one: self.data(one[0]), run)

    async def _ask(self, target: Address, commands: Sequence[Command], block_s: float) -> list[Any]:
        """Run a command, and others that need no slot, on the node to which its slot is moved."""
        client = self._targets.get(target)
        if client is None:
            scheme = self.settings.url.partition(":")[0]
            settings = self.settings.of_node(f"{scheme}://{target}/0")
            client = self._targets[target] = RedisClient(settings, setting=self.setting)
        asking: Command = ("ASKING",)
        _, *replies = await client.pipeline([asking, *commands], retry=False, block_s=block_s)
        return replies

    async def now_ms(self) -> int:
        """The Redis server's clock, in ms since 1970."""
        seconds, us = await self.execute("TIME")
        return int(seconds) * 1000 + int(us) // 1000

    async def publish(self, channel: str, message: bytes) -> int:
        """Publish a message; return the number of subscribers."""
        num_receivers: int = await self.execute("PUBLISH", channel, message)
        return num_receivers

    async def server_info(self) -> ServerInfo:
        """Ask the server what it is, and keep the answer in `server`."""
        # In two commands: servers that are too old for several sections are to be named, too.
        server, memory = await self.pipeline([("INFO", "server"), ("INFO", "memory")])
        self.server = ServerInfo.of({**server, **memory})
        return self.server

    def events(self, channel: str) -> AsyncGenerator[bytes]:
        """Yield the messages of a channel; all that listen to it share a connection.

        Pub/Sub drops messages that have no subscriber. Therefore `b"reconnected"` is yielded each
        time that the subscription starts, including the first time: then read everything again.
        If the loop over this generator is left by `break`, wrap it in `contextlib.aclosing`.
        """
        return self._events.listen(channel)

    async def _subscription(self, channel: str) -> AsyncGenerator[bytes]:
        """The messages of a channel, on a connection of its own; see `events`."""
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
        """Run until it succeeds, or until what is missing may not be sent again."""
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
                        is_undone = was_not_done(error)
                        # Nodes may take long to agree; a server at a fixed address has no others.
                        has_tries = failures < MAX_ATTEMPTS or (is_undone and self._primary.moves)
                        may_repeat = has_tries and (retry or is_undone)
                        try:
                            if isinstance(translated, ConfigurationError) or not may_repeat:
                                if translated is error:  # else it would be its own cause
                                    raise
                                raise translated from error
                        finally:
                            del translated  # its traceback holds this frame: a cycle
                        await self._primary.pause(pause_s(failures, self.settings.reconnect_max_s))
        except TimeoutError as error:
            raise RedisUnavailableError(
                f"Redis did not answer {name} within {timeout_s:g} s"
            ) from error

    async def _here(self, run: Callable[[], Awaitable[_T]], version: int) -> _T:
        """Run something that ends with an error if the `version`'s primary has failed.

        redis-py drops a connection whose command is cancelled.
        """
        if version != self._primary.version:
            raise NotSentError(HAS_MOVED)
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
        raise exceptions.ConnectionError(HAS_MOVED)

    def _leave(self) -> None:
        """End the commands that wait for a server which has failed, and may never answer.

        If a slot was given to another node, the old one still answers: that it has done them, or
        where the slot is now.
        """
        if self._failovers == self._primary.failovers:
            return
        self._failovers = self._primary.failovers
        now = asyncio.get_running_loop().time()
        for attempt in list(self._attempts):
            attempt.reschedule(now)

    def _translated(self, error: Exception, command: str, version: int) -> HedgerowError:
        if isinstance(error, HedgerowError):
            return error
        found = translate(error, command)
        if not self._primary.moves:
            return found
        if isinstance(found, WriteRefusedError) and found.cause == READ_ONLY:
            self._primary.doubt(version)
            return RedisUnavailableError(f"Redis refuses {command}: it has become a replica")
        if is_moved(error):
            self._primary.doubt(version)
        return found
