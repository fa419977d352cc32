"""The ring that needs a container engine: servers as people deploy them, and the compose file."""

import os
import secrets
import shutil
import subprocess

import pytest

from tests.containers.engine import IMAGES, docker
from tests.support.needs import missing

# The reaper removes what a killed test run leaves behind, at the price of one more image to pull
# and a container with access to the engine. Everything here is removed by its own fixture instead.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")


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
    """Each server that Hedgerow supports, present here or pulled."""
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
