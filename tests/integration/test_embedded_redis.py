"""The embedded Valkey: what survives, what it leaves, and that it never outlives its parent."""

import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.gateway.local.processes.restart_policy import RestartPolicy
from hedgerow.gateway.local.processes.supervisor import Event, Supervisor
from hedgerow.gateway.local.redis.server import NAME, EmbeddedRedis
from tests.support.processes import children_of, is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.integration

QUICK = RestartPolicy(initial_s=0.02, max_s=0.2, jitter=0.0)


async def _ignore(_name: str) -> None:
    """Ignore a death."""


class Running:
    """An embedded server under a supervisor."""

    def __init__(self, data: Path, *, guardian: bool = False) -> None:
        """Start nothing yet."""
        self.events: list[Event] = []
        self.redis = EmbeddedRedis(data, guardian=guardian)
        self.supervisor = Supervisor(data, QUICK, self.events.append, _ignore)

    async def start(self) -> None:
        """Start it and wait until it answers."""
        await self.supervisor.start(self.redis.program())
        await self.redis.wait_until_ready(10.0)

    async def stop(self) -> None:
        """Drain it."""
        await self.supervisor.close()
        self.redis.close()

    @property
    def pid(self) -> int:
        """Process id of the server that runs now."""
        child = self.supervisor.child(NAME)
        assert child is not None
        return child.pid

    async def connect(self) -> RedisClient:
        """Connect a client."""
        return await connect(RedisSettings(url=self.redis.url), wait_s=10.0)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A server that is gone when the test is over."""
    one = Running(tmp_path)
    await one.start()
    yield one
    await one.stop()


async def test_the_supervised_process_is_the_server_itself(running: Running) -> None:
    """The guard leaves no process between us and the server: one id, one exit status."""
    control = await running.connect()
    assert control.server.name == "valkey"
    assert control.server.pid == running.pid
    await control.close()


async def test_nobody_else_can_reach_it(running: Running) -> None:
    """There is no TCP port, and only the owner may enter the socket's folder."""
    control = await running.connect()
    assert await control.execute("CONFIG", "GET", "port") in ([b"port", b"0"], {b"port": b"0"})
    await control.close()
    assert stat.S_IMODE(running.redis.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(running.redis.socket.stat().st_mode) == 0o700


async def test_what_was_acknowledged_survives_a_kill_at_any_moment(running: Running) -> None:
    """Killing the server amid writes loses none that it has answered."""
    acknowledged = 0

    async def write(client: RedisClient) -> None:
        nonlocal acknowledged
        while True:
            try:
                await client.execute("RPUSH", "written", b"x" * 100, retry=False)
            except Exception:  # noqa: BLE001 - whatever it is, it was not acknowledged
                return
            acknowledged += 1

    for _round in range(3):
        control = await running.connect()
        victim, enough = running.pid, acknowledged + 100
        writer = asyncio.create_task(write(control))
        await until(lambda enough=enough: acknowledged >= enough, what="many writes")  # type: ignore[misc]
        os.kill(victim, signal.SIGKILL)
        await writer
        await control.close()
        await until(
            lambda victim=victim: (
                running.supervisor.child(NAME) is not None  # type: ignore[misc]
                and running.pid != victim
            ),
            what="another server",
        )
        await running.redis.wait_until_ready(10.0)
        again = await running.connect()
        survived = await again.execute("LLEN", "written")
        await again.close()
        # One more than was acknowledged at most in each round: written, killed before the answer.
        assert acknowledged <= survived <= acknowledged + _round + 1


async def test_the_writes_go_to_the_file_before_the_answer(running: Running) -> None:
    """No fsync stands between a write and its place in the file: the setting that promises it.

    With everysec a server puts the write off while a background fsync runs, and answers first.
    """
    control = await running.connect()
    reply = await control.execute("CONFIG", "GET", "appendfsync")
    await control.close()
    assert b"no" in (reply if isinstance(reply, list) else reply.values())


async def test_a_torn_tail_loads(tmp_path: Path) -> None:
    """A file that ends in half a command is loaded up to it."""
    one = Running(tmp_path)
    await one.start()
    control = await one.connect()
    await control.execute("SET", "kept", "1")
    await control.close()
    await one.stop()
    (tail,) = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
    with tail.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
    again = Running(tmp_path)
    await again.start()
    control = await again.connect()
    assert await control.execute("GET", "kept") == b"1"
    await control.close()
    await again.stop()


async def test_syncing_takes_files_that_vanish(running: Running) -> None:
    """Syncing works on a server that writes, and on one that has rewritten its file."""
    control = await running.connect()
    await control.execute("SET", "a", "1")
    running.redis.sync()
    await control.execute("BGREWRITEAOF")
    running.redis.sync()
    await control.close()


async def test_a_disk_that_fails_does_not_end_the_syncing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be made durable is reported, and retried each second for as long as it takes."""
    monkeypatch.setattr("hedgerow.gateway.local.redis.server.SYNC_INTERVAL_S", 0.01)
    redis, tries = EmbeddedRedis(tmp_path), 0

    def fail() -> None:
        nonlocal tries
        tries += 1
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(redis, "sync", fail)
    with structlog.testing.capture_logs() as logs:
        syncing = asyncio.create_task(redis.keep_synced())
        await until(lambda: tries > 5 or syncing.done(), what="some tries")
        assert not syncing.done()
        syncing.cancel()
        await asyncio.wait([syncing])
    assert [(line["event"], line["log_level"]) for line in logs] == [("sync_failed", "error")]


async def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    """A folder whose path no socket address can hold works too, and leaves nothing in /tmp."""
    data = tmp_path / ("long" * 20) / ("long" * 20)
    data.mkdir(parents=True)
    one = Running(data)
    await one.start()
    assert len(os.fsencode(one.redis.socket)) <= 100
    folder = one.redis.socket.parent
    assert folder.exists()
    await one.stop()
    assert not folder.exists()


async def test_a_socket_without_a_server_says_so(tmp_path: Path) -> None:
    """Waiting for a server that is not there ends, and says what was found."""
    one = EmbeddedRedis(tmp_path)
    with pytest.raises(RedisUnavailableError, match="answered nothing"):
        await one.wait_until_ready(0.1)


@pytest.mark.parametrize("guardian", [False, True], ids=["platform's guard", "guardian"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_server_dies_with_its_parent(
    tmp_path: Path, guardian: bool, number: signal.Signals
) -> None:
    """However the supervisor's process ends, the server and its guardian are gone in seconds."""
    script = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from tests.integration.test_embedded_redis import Running

        async def main():
            one = Running(Path({str(tmp_path)!r}), guardian={guardian})
            await one.start()
            control = await one.connect()
            await control.execute("SET", "kept", "1")
            print(one.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    server = int(await parent.stdout.readline())
    children = children_of(server)
    assert len(children) == (1 if guardian or sys.platform != "linux" else 0)
    parent.send_signal(number)
    await parent.wait()
    await until(
        lambda: not any(map(is_alive, [server, *children])),
        5.0,
        what="server and guardian are gone",
    )
    again = Running(tmp_path)
    await again.start()
    control = await again.connect()
    assert await control.execute("GET", "kept") == b"1"
    await control.close()
    await again.stop()


async def test_a_guardian_does_not_outlive_its_server(tmp_path: Path) -> None:
    """The guardian of a server that was killed goes too, and the next server has its own."""
    one = Running(tmp_path, guardian=True)
    await one.start()
    first = one.pid
    (guardian,) = children_of(first)
    os.kill(first, signal.SIGKILL)
    await until(lambda: not is_alive(guardian), what="the guardian is gone")
    await until(
        lambda: one.supervisor.child(NAME) is not None and one.pid != first, what="another server"
    )
    await one.redis.wait_until_ready(10.0)
    (its_own,) = children_of(one.pid)
    await one.stop()
    await until(lambda: not is_alive(its_own), what="its guardian is gone too")
