"""The ring that needs a container engine: servers as people deploy them, and the compose file."""

import os
import secrets
import shutil
import socket
import subprocess

import pytest

from tests.conftest import missing

# The reaper removes what a killed test run leaves behind, at the price of one more image to pull
# and a container with access to the engine. Everything here is removed by its own fixture instead.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

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
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine that answers."""
    if shutil.which("docker") is None:
        missing("docker")
    try:
        docker("info", timeout_s=20)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        missing("a running container engine")


@pytest.fixture(scope="session", params=IMAGES)
def server_image(request: pytest.FixtureRequest, engine: None) -> str:
    """Each server that Hedgerow runs on, here or pulled."""
    image: str = request.param
    try:
        docker("image", "inspect", image)
    except subprocess.CalledProcessError:
        try:
            docker("pull", "--quiet", image, timeout_s=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            missing(f"the image {image} (a registry, or deploy/base-images.sh)")
    return image


@pytest.fixture(scope="session")
def password() -> str:
    """A password with characters that a shell, a URL or a configuration file could trip over."""
    return f"a b'c\"d$e\\f#g{secrets.token_hex(4)}"
