"""The primary as sentinels know it: asks them, listens to them, and has connections leave in time.

https://redis.io/docs/latest/develop/reference/sentinel-clients/ says what a client has to do. Three
things make connections leave: a sentinel announces another primary (`+switch-master`), a server
answers a write with READONLY, or the primary says that it is a replica. The first does not need an
answer of the old primary, so that one that hangs is left as well.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.commands import CommandError
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.moving_primary import MovingPrimary
from hedgerow.common.redis.primary import Primary
from hedgerow.common.redis.sentinel_view import Address, Report, SentinelView
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.settings.redis import DEFAULT_URL, RedisSettings
from hedgerow.common.tasks import end

SWITCH: Final = "+switch-master"
SILENCE_S: Final = 2.0  # a sentinel that owes an answer for this long does not count
ASK_TIMEOUT_S: Final = 0.25
ROLE_INTERVAL_S: Final = 1.0
_REFUSALS: Final = ("WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR invalid password")

log = structlog.get_logger()


def primary_of(settings: RedisSettings) -> Primary:
    """The primary that the settings name.

    Raises:
        ConfigurationError: they contradict each other, or an address cannot be read.
    """
    return SentinelPrimary(settings) if settings.sentinels else Endpoint.of(settings)


class SentinelPrimary(MovingPrimary):
    """A `Primary` that sentinels watch; it asks them for the first time when it is first needed."""

    def __init__(self, settings: RedisSettings) -> None:
        """Read the settings.

        Raises:
            ConfigurationError: they contradict each other, or an address cannot be read.
        """
        check_url(settings, "redis.sentinels")
        super().__init__(Endpoint.of(settings))
        self._service = settings.service_name or ""
        self._view = SentinelView()
        self._started = False
        self._tasks: list[asyncio.Task[None]] = []
        self._sentinels = [
            _Sentinel(_sentinel_endpoint(text, settings), self._service, self._take)
            for text in settings.sentinels
        ]
        self._role = RedisConnection(
            self, name="hedgerow-role", silence_s=settings.command_timeout_s
        )

    async def find(self) -> Endpoint:
        """Ask the sentinels; see `Primary.find`."""
        self._start()
        await self._ask(self._sentinels)
        if self._view.primary is None:
            await self._wait_for_first()
        if self._view.primary is None:
            raise self._why_unknown()
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._watch_role(), name="role of the primary"))
        return self._servers.at(*self._view.primary)

    def doubt(self, version: int) -> None:
        """See `Primary.doubt`."""
        if version == self.version:
            log.warning("redis_primary_doubted", primary=str(self._view.primary))
            self.failovers += 1
            self._leave()

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        await end(self._tasks)
        await asyncio.gather(
            self._role.close(), *(sentinel.close() for sentinel in self._sentinels)
        )

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for sentinel in self._sentinels:
                sentinel.start()

    async def _ask(self, sentinels: Sequence["_Sentinel"]) -> None:
        asking = [
            asyncio.ensure_future(sentinel.ask()) for sentinel in sentinels if sentinel.is_connected
        ]
        if asking:
            await asyncio.wait(asking, timeout=ASK_TIMEOUT_S)
            await end(asking)

    async def _wait_for_first(self) -> None:
        """Wait until a majority of the sentinels has answered for the first time, or all failed."""
        waiting = {asyncio.create_task(sentinel.tried.wait()) for sentinel in self._sentinels}
        try:
            async with asyncio.timeout(self._servers.connect_timeout_s):
                while waiting and 2 * self._num_answered <= len(self._sentinels):
                    _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            log.debug("sentinels_slow", answered=self._num_answered)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    @property
    def _num_answered(self) -> int:
        return sum(sentinel.has_answered for sentinel in self._sentinels)

    def _why_unknown(self) -> Exception:
        problems = [sentinel.problem for sentinel in self._sentinels if sentinel.problem]
        if any("No such" in problem for problem in problems):
            return ConfigurationError(
                f"redis.service_name: the sentinels monitor no {self._service!r}"
            )
        for problem in problems:
            if problem.startswith(_REFUSALS):
                return ConfigurationError(
                    f"redis.sentinel_password: a sentinel refuses the user or password: {problem}"
                )
        names = ", ".join(sentinel.name for sentinel in self._sentinels)
        why = f": {problems[0]}" if problems else ""
        return RedisUnavailableError(f"none of the sentinels {names} answers{why}")

    def _take(self, sentinel: str, report: Report) -> None:
        before = self._view.primary
        if self._view.take(sentinel, report) and before is not None:
            log.warning("redis_primary_moved", old=str(before), new=str(self._view.primary))
            self._has_failed_over()

    async def _watch_role(self) -> None:
        """Notice that the primary has become a replica, even if nothing is written to it."""
        self._role.begin()
        while True:
            await sleep_to_tick(ROLE_INTERVAL_S)
            version = self.version
            if self._role.is_connected:
                with suppress(RedisUnavailableError, CommandError):
                    role = await self._role.call("ROLE")
                    if role[0] != b"master":
                        self.doubt(version)


class _Sentinel:
    """One sentinel, over two connections: a subscribed one takes no other commands."""

    def __init__(
        self, endpoint: Endpoint, service: str, on_report: Callable[[str, Report], None]
    ) -> None:
        self.name = endpoint.address
        self.has_answered = False
        self._service = service
        self._on_report = on_report
        self._refusal = ""
        self._asking: set[asyncio.Task[None]] = set()
        name = f"hedgerow-sentinel-{self.name}"
        self._commands = RedisConnection(
            endpoint, name=name, silence_s=SILENCE_S, on_connect=self._learn
        )
        self._events = RedisConnection(
            endpoint,
            name=f"{name}-events",
            silence_s=SILENCE_S,
            on_connect=self._subscribe,
            on_message=self._on_message,
        )

    @property
    def is_connected(self) -> bool:
        return self._commands.is_connected

    @property
    def tried(self) -> asyncio.Event:
        """Set once it has been tried to connect."""
        return self._commands.tried

    @property
    def problem(self) -> str:
        """Why it has not answered; "" if that is not known."""
        return self._refusal or self._commands.last_error

    def start(self) -> None:
        self._commands.begin()
        self._events.begin()

    async def close(self) -> None:
        await end(self._asking)
        await asyncio.gather(self._commands.close(), self._events.close())

    async def ask(self) -> None:
        """Ask where the primary is, and report that."""
        with suppress(RedisUnavailableError):
            await self._learn(self._commands)

    async def _learn(self, connection: Handshake | RedisConnection) -> None:
        try:
            reply = await connection.call("SENTINEL", "MASTER", self._service)
        except CommandError as error:  # it does not monitor the service, or forbids the command
            self._refusal = str(error)
            return
        self._refusal = ""
        found = dict(zip(reply[::2], reply[1::2], strict=True))
        address = Address(found[b"ip"].decode(), int(found[b"port"]))
        self.has_answered = True
        self._on_report(self.name, Report(int(found[b"config-epoch"]), address))

    async def _subscribe(self, handshake: Handshake) -> None:
        handshake.subscribe(SWITCH)

    def _on_message(self, message: Any) -> None:
        """Ask again at each announcement, since it does not say the epoch, and when it begins."""
        if not isinstance(message, list) or message[0] not in (b"message", b"subscribe"):
            return
        if self.is_connected:
            task = asyncio.create_task(self.ask(), name=f"ask {self.name}")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)


def _sentinel_endpoint(text: str, settings: RedisSettings) -> Endpoint:
    """The endpoint of a sentinel.

    Raises:
        ConfigurationError: its address cannot be read.
    """
    url = text if "://" in text else f"redis://{text}"
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    is_plain = parts.path.strip("/") == "" and not parts.query and parts.username is None
    if (
        parts.scheme not in ("redis", "rediss")
        or not parts.hostname
        or not port
        or not is_plain
        or parts.password is not None
    ):
        raise ConfigurationError(
            f"redis.sentinels: {_without_user(text)!r} is not HOST:PORT or rediss://HOST:PORT; "
            "redis.sentinel_username and redis.sentinel_password are the user's"
        )
    return Endpoint.of(
        settings.model_copy(
            update={
                "url": url,
                "sentinels": (),
                "username": settings.sentinel_username,
                "password": settings.sentinel_password,
            }
        )
    )


def _without_user(text: str) -> str:
    """An address for a message, without what may be a password."""
    return text.rpartition("@")[2]


def check_url(settings: RedisSettings, other: str) -> None:
    """Make sure that `redis.url` names no server, since the setting `other` says where they are.

    Raises:
        ConfigurationError: it does.
    """
    parts = urlsplit(settings.url)
    if parts.scheme == "unix":
        raise ConfigurationError(
            f"redis.url: is a Unix socket, but {other} name servers by host and port"
        )
    if settings.url != DEFAULT_URL and (parts.hostname or parts.netloc.rpartition("@")[2]):
        raise ConfigurationError(
            f"redis.url: names the server {_without_user(parts.netloc)}, but {other} say "
            f"which one it is; leave it out, as in {parts.scheme}:///0"
        )
