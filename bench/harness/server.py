"""A Valkey server on a Unix socket, for one benchmark."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.harness.processes import start_tied
from hedgerow.gateway.local.redis.server import find_binary

_START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        socket: path of its Unix socket.
        pid: its process, whose CPU is counted.
    """

    socket: str
    pid: int

    @property
    def url(self) -> str:
        """Its URL, as `common.settings.settings.RedisSettings` takes it."""
        return f"unix://{self.socket}"


@contextlib.contextmanager
def run_server(*, is_durable: bool = False) -> Iterator[Server]:
    """Start a server, and stop it at the end of the block.

    Args:
        is_durable: whether it keeps an append-only file, as the embedded cluster's server does.

    Raises:
        RuntimeError: it ended at its start.
        TimeoutError: it is not ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder:
        socket = Path(folder) / "valkey.sock"
        with start_tied(
            [
                str(find_binary()),
                "--port",
                "0",
                "--unixsocket",
                str(socket),
                "--dir",
                folder,
                "--save",
                "",
                "--appendonly",
                "yes" if is_durable else "no",
                "--appendfsync",
                "no",
                "--loglevel",
                "warning",
                "--client-output-buffer-limit",
                "pubsub 256mb 64mb 10",
            ],
            stdout=subprocess.DEVNULL,
        ) as process:
            try:
                give_up_at = time.monotonic() + _START_TIMEOUT_S
                while not socket.exists():
                    if process.poll() is not None:
                        raise RuntimeError(f"the server has ended with status {process.returncode}")
                    if time.monotonic() > give_up_at:
                        raise TimeoutError("the server did not get ready")
                    time.sleep(0.01)
                yield Server(str(socket), process.pid)
            finally:
                process.terminate()
                process.wait(10)
