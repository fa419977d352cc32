"""The container engine, and ports of this machine."""

import contextlib
import os
import random
import shutil
import socket
import subprocess

_PORTS_OF_A_PROCESS = 1000
_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_block = range(20_000, 30_000)[_number * _PORTS_OF_A_PROCESS :][:_PORTS_OF_A_PROCESS]
_ports = iter(random.sample(_block, len(_block)))

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


def answers() -> bool:
    """Whether there is a container engine that answers."""
    if shutil.which("docker") is None:
        return False
    try:
        docker("info", timeout_s=20)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


def has_image(image: str) -> bool:
    """Whether an image is present here, or could be pulled."""
    try:
        docker("image", "inspect", image)
    except subprocess.CalledProcessError:
        try:
            docker("pull", "--quiet", image, timeout_s=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
    return True


def free_port() -> int:
    """A free port of this machine, which is not given twice, nor to a process beside this one.

    It is below those that the system assigns, since it is taken only later, by the engine.
    """
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
