"""The container engine, and ports of this machine."""

import socket
import subprocess

IMAGES = ("valkey/valkey:8.1", "redis:8.0")  # the first is that of compose.yaml


def docker(*args: str, timeout_s: float = 60.0) -> str:
    """Run a command of Docker's and return what it prints.

    Raises:
        CalledProcessError: it failed; its error output is in `stderr`.
    """
    done = subprocess.run(
        ["docker", *args], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, " ".join(done.args), done.stdout, done.stderr[-4000:]
        )
    return done.stdout.strip()


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
