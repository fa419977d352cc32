"""The control plane's client, against a real server that is slow, stopped, killed and started."""

import asyncio
import random
import shutil
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import TimeoutError as RedisTimeoutError

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.server_info import ServerInfo, check_server
from hedgerow.common.redis.shared_events import RECONNECTED
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.tasks import end
from tests.support.needs import missing
from tests.support.servers import RedisServer, temporary_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def settings_of(server: RedisServer, **changes: Any) -> RedisSettings:
    """Settings for a server, with short pauses."""
    return RedisSettings(url=server.url, **{"reconnect_max_s": 0.2, **changes})


@asynccontextmanager
async def connected(server: RedisServer, **changes: Any) -> AsyncIterator[RedisClient]:
    """A client for the block."""
    control = await connect(settings_of(server, **changes))
    try:
        yield control
    finally:
        await control.close()


async def note(events: AsyncIterator[bytes], heard: list[bytes]) -> None:
    """Note each item in the order of arrival."""
    async for event in events:
        heard.append(event)  # noqa: PERF401 - a comprehension would put down nothing before its end


async def test_it_knows_the_server(redis_server: RedisServer) -> None:
    """The server's name, version and process are those of the server that was started."""
    async with connected(redis_server) as control:
        assert control.server.name == "valkey"
        assert int(control.server.version.split(".")[0]) >= 8
        assert control.server.pid == redis_server.pid


@pytest.mark.parametrize(
    ("name", "version", "is_new_enough"),
    [
        ("redis", "6.2.14", False),
        ("redis", "7.0.0", True),
        ("redis", "8.2.1", True),
        ("valkey", "7.2.8", False),
        ("valkey", "8.0.0", True),
        ("valkey", "10.1.0", True),
        ("redis", "unknown", False),
    ],
)
def test_old_servers_are_refused(name: str, version: str, is_new_enough: bool) -> None:
    """A server that is too old is refused with what was found and what is needed."""
    server = ServerInfo(name, version, 1)
    if is_new_enough:
        check_server(server)
    else:
        with pytest.raises(ConfigurationError, match=rf"{name} {version}.*Redis 7.0.*Valkey 8"):
            check_server(server)


async def test_a_server_that_may_remove_logs_is_refused() -> None:
    """Nothing connects to one that may evict any key; to those that cannot, it does."""
    with (
        temporary_server("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server,
        pytest.raises(ConfigurationError, match=r"redis.url: .*allkeys-lru.*noeviction"),
    ):
        await connect(settings_of(server))
    for kept in (("50mb", "noeviction"), ("50mb", "volatile-lru"), ("0", "allkeys-lru")):
        with temporary_server("--maxmemory", kept[0], "--maxmemory-policy", kept[1]) as server:
            async with connected(server) as control:
                assert control.server.evicts_by == ""


async def test_cancelled_commands_leave_no_reply_behind(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """However commands are cancelled, no later one gets the reply to another."""
    rng = random.Random(7)
    num_cancelled = num_answered = 0
    async with connected(redis_server) as control:

        async def echo(number: int) -> None:
            text = f"{key_prefix}-{number}".encode()
            assert await control.execute("ECHO", text) == text
            assert await control.pipeline([("ECHO", text), ("ECHO", b"x")]) == [text, b"x"]

        # As many turns as it takes: how many commands are cancelled depends on the machine.
        turn = 0
        while num_cancelled < 100 or num_answered < 300:
            turn += 1
            tasks = [asyncio.create_task(echo(4 * turn + one)) for one in range(4)]
            await asyncio.sleep(rng.uniform(0, 0.004))
            for task in tasks[:3]:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError)
                num_cancelled += result is not None
                num_answered += result is None


async def test_a_silent_server_is_given_up(own_server: RedisServer) -> None:
    """A server that answers no command costs the timeout, and works again afterwards."""
    async with connected(own_server, command_timeout_s=1.5) as control:
        own_server.signal(signal.SIGSTOP)
        started = asyncio.get_running_loop().time()
        with pytest.raises(RedisUnavailableError, match=r"1\.5 s"):
            await control.execute("PING")
        assert asyncio.get_running_loop().time() - started < 10.0
        own_server.signal(signal.SIGCONT)
        assert await control.execute("PING") in (True, b"PONG")


async def test_a_server_that_comes_back_is_used_again(own_server: RedisServer) -> None:
    """While the server is away commands fail with one kind of error; then they work."""
    async with connected(own_server) as control:
        own_server.stop(kill=True)
        for _ in range(2):
            with pytest.raises(RedisUnavailableError):
                await control.execute("PING")
            with pytest.raises(RedisUnavailableError):
                await control.pipeline([("PING",)])
        own_server.start()
        assert await control.execute("ECHO", "again") == b"again"


async def test_a_short_outage_is_bridged_only_where_it_may_be(own_server: RedisServer) -> None:
    """A command that may run twice is retried over an outage; any other is not."""
    async with connected(own_server) as control:
        own_server.stop(kill=True)
        with pytest.raises(RedisUnavailableError):
            await control.execute("PING", retry=False)
        again = asyncio.create_task(control.execute("ECHO", "x"))
        await asyncio.sleep(0)
        own_server.start()
        assert await again == b"x"


async def test_what_is_not_retried_is_sent_once(own_server: RedisServer, key_prefix: str) -> None:
    """A command that timed out is not in the stream twice once the server goes on."""
    async with connected(own_server, command_timeout_s=1.0) as control:
        own_server.signal(signal.SIGSTOP)
        with pytest.raises(RedisUnavailableError):
            await control.execute("XADD", key_prefix, "*", "a", "b", retry=False)
        own_server.signal(signal.SIGCONT)
        assert await control.execute("XLEN", key_prefix) <= 1


async def test_a_refused_command_names_itself(redis_server: RedisServer, key_prefix: str) -> None:
    """What the server refuses outright is a ConfigurationError, and the connection survives."""
    async with connected(redis_server) as control:
        await control.execute("SET", key_prefix, "text")
        with pytest.raises(ConfigurationError, match="LLEN"):
            await control.execute("LLEN", key_prefix)
        with pytest.raises(ConfigurationError, match="wrong kind"):
            await control.pipeline([("GET", key_prefix), ("LLEN", key_prefix)])
        assert await control.execute("GET", key_prefix) == b"text"


async def test_a_read_that_a_failover_ends_is_an_outage(own_server: RedisServer) -> None:
    """A server that becomes a replica while a read blocks on it is away, and not set up wrongly."""
    async with connected(own_server) as control:
        reading = asyncio.create_task(
            control.execute(
                "XREAD", "BLOCK", 5000, "STREAMS", "none", "0-0", retry=False, block_s=5
            )
        )

        async def is_blocked() -> bool:
            return bool((await control.execute("INFO", "clients"))["blocked_clients"])

        await until(is_blocked)
        await control.execute("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(RedisUnavailableError, match="UNBLOCKED"):
            await reading


async def test_a_connection_that_cannot_be_closed_does_not_end_its_user(
    own_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS a frozen server makes closing fail: listeners go on, and nothing is raised."""
    monkeypatch.setattr("hedgerow.common.redis.client.EVENTS_IDLE_S", 0.1)
    heard: list[bytes] = []
    disconnect, num_failed = AbstractConnection.disconnect, 0

    async def fail(connection: AbstractConnection, nowait: bool = False) -> None:
        nonlocal num_failed
        was_connected = connection.is_connected
        await disconnect(connection, nowait)
        if was_connected:
            num_failed += 1
            raise RedisTimeoutError("Timed out closing connection after 2.0")

    async with connected(own_server, command_timeout_s=0.5) as control:
        listener = asyncio.create_task(note(control.events(key_prefix), heard))
        await until(lambda: heard.count(RECONNECTED) >= 1)
        monkeypatch.setattr(AbstractConnection, "disconnect", fail)
        own_server.signal(signal.SIGSTOP)
        await until(lambda: num_failed > 0)
        before = heard.count(RECONNECTED)
        own_server.signal(signal.SIGCONT)
        await until(lambda: heard.count(RECONNECTED) > before)
        listener.cancel()
        await asyncio.wait([listener])


async def test_events_arrive_and_come_back(own_server: RedisServer, key_prefix: str) -> None:
    """Listeners get what is published, and a request to refresh after each reconnection."""
    heard: list[bytes] = []

    async def listen(control: RedisClient) -> None:
        async with aclosing(control.events(key_prefix)) as events:
            await note(events, heard)

    async with connected(own_server) as control:
        listener = asyncio.create_task(listen(control))
        await until(lambda: heard == [RECONNECTED])
        await control.publish(key_prefix, b"one")
        await until(lambda: heard == [RECONNECTED, b"one"])
        own_server.stop(kill=True)
        own_server.start()
        await until(lambda: heard == [RECONNECTED, b"one", RECONNECTED])
        await control.publish(key_prefix, b"two")
        await until(lambda: heard[-1] == b"two")
        listener.cancel()
        await asyncio.wait([listener])


async def test_listeners_of_a_channel_share_a_connection(
    own_server: RedisServer, key_prefix: str
) -> None:
    """However many parts of a process wait for events, the server sends each of them once."""
    heard: list[list[bytes]] = [[], [], []]
    async with connected(own_server) as control:
        listeners = [asyncio.create_task(note(control.events(key_prefix), one)) for one in heard]
        await until(lambda: heard == [[RECONNECTED]] * 3)
        assert await control.publish(key_prefix, b"one") == 1
        await until(lambda: heard == [[RECONNECTED, b"one"]] * 3)
        await end(listeners)


async def test_a_dead_subscription_is_noticed(
    own_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stops silently loses its listeners only until it resumes."""
    monkeypatch.setattr("hedgerow.common.redis.client.EVENTS_IDLE_S", 0.2)
    heard: list[bytes] = []
    disconnect, is_noticed = AbstractConnection.disconnect, asyncio.Event()

    async def leave(connection: AbstractConnection, nowait: bool = False) -> None:
        is_noticed.set()
        await disconnect(connection, nowait)

    async with connected(own_server, command_timeout_s=0.5) as control:
        listener = asyncio.create_task(note(control.events(key_prefix), heard))
        await until(lambda: heard.count(RECONNECTED) >= 1)
        own_server.signal(signal.SIGSTOP)
        monkeypatch.setattr(AbstractConnection, "disconnect", leave)
        await is_noticed.wait()
        before = heard.count(RECONNECTED)
        own_server.signal(signal.SIGCONT)
        await until(lambda: heard.count(RECONNECTED) > before)
        listener.cancel()
        await asyncio.wait([listener])


async def test_waiting_for_a_server(own_server: RedisServer) -> None:
    """Connecting waits for a server that is not there yet, for as long as `wait_s` says."""
    own_server.stop()
    with pytest.raises(RedisUnavailableError):
        await connect(settings_of(own_server))
    waiting = asyncio.create_task(connect(settings_of(own_server), wait_s=10))
    await asyncio.sleep(0.3)
    own_server.start()
    control = await waiting
    assert control.server.pid == own_server.pid
    await control.close()


async def test_a_wrong_option_of_a_url_is_named() -> None:
    """What the settings accept and redis-py does not is an error of configuration, too."""
    with pytest.raises(ConfigurationError, match=r"redis\.url"):
        await connect(RedisSettings(url="unix:///x?socket_timeout=soon"))


async def test_users_and_passwords(redis_server: RedisServer, key_prefix: str) -> None:
    """The settings' user and password override the URL's, and a wrong one is named as such."""
    prefix = f"{key_prefix}:"
    async with connected(redis_server) as control:
        await control.execute(
            "ACL", "SETUSER", key_prefix, "on", ">secret", f"~{prefix}*", "+@all", "-flushall"
        )
        try:
            user = {"username": key_prefix, "password": "secret"}
            async with connected(redis_server, **user) as limited:
                await limited.execute("SET", f"{prefix}x", 1)
                with pytest.raises(ConfigurationError, match="SET"):
                    await limited.execute("SET", "elsewhere", 1)
            with pytest.raises(ConfigurationError, match="user or password"):
                await connect(settings_of(redis_server, username=key_prefix, password="wrong"))
        finally:
            await control.execute("ACL", "DELUSER", key_prefix)


async def test_a_full_server_is_unavailable() -> None:
    """A server that is out of memory cannot take writes now, which is not a wrong command."""
    with temporary_server("--maxmemory", "1") as server:
        async with connected(server) as control:
            with pytest.raises(RedisUnavailableError, match="memory"):
                await control.execute("SET", "x", "y", retry=False)


@asynccontextmanager
async def behind_tls(server: RedisServer, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """The server behind a port that speaks TLS, and the certificate of that port."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    process = await asyncio.create_subprocess_exec(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(server.socket)
        await asyncio.gather(
            carry(reader, inner_writer), carry(inner_reader, writer), return_exceptions=True
        )

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1], certificate
    finally:
        listener.close()


async def test_tls(redis_server: RedisServer, key_prefix: str, tmp_path: Path) -> None:
    """Over TLS the server must prove, by the trusted authorities, to be who the URL names."""
    if shutil.which("openssl") is None:
        missing("openssl")
    async with behind_tls(redis_server, tmp_path) as (port, certificate):
        url = f"rediss://localhost:{port}"
        control = await connect(RedisSettings(url=url, tls_ca_file=certificate))
        assert await control.execute("ECHO", key_prefix) == key_prefix.encode()
        await control.close()
        for wrong in (
            RedisSettings(url=url),  # not signed by an authority that the system knows
            RedisSettings(url=f"rediss://127.0.0.1:{port}", tls_ca_file=certificate),
            RedisSettings(url=url, tls_ca_file=tmp_path / "none.pem"),
        ):
            with pytest.raises(ConfigurationError, match=r"redis\.tls_ca_file"):
                await connect(wrong)
        with pytest.raises(RedisUnavailableError):
            await connect(RedisSettings(url=f"redis://localhost:{port}", command_timeout_s=1.0))
