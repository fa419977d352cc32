"""The ring that needs a container engine: servers as people deploy them, and the compose file."""

import os
import secrets

import pytest

from tests.containers.engine import IMAGES, answers, has_image
from tests.support.longest_first import sort_longest_first
from tests.support.needs import missing
from tests.support.turns import take_turns

# The reaper removes what a killed test run leaves behind, at the price of one more image to pull
# and a container with access to the engine. Everything here is removed by its own fixture instead.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")


def pytest_configure(config: pytest.Config) -> None:
    """Starting a cluster takes longer than all tests that need the machine, so they share it."""
    take_turns(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run first what may take longest, the two clusters of Compose, one beside the other."""
    sort_longest_first(items)


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine that answers."""
    if not answers():
        missing("a running container engine")


@pytest.fixture(scope="session", params=IMAGES)
def server_image(request: pytest.FixtureRequest, engine: None) -> str:
    """Each server that Hedgerow supports, present here or pulled."""
    image: str = request.param
    if not has_image(image):
        missing(f"the image {image} (a registry, or deploy/base-images.sh)")
    return image


@pytest.fixture(scope="session")
def password() -> str:
    """A password with characters that a shell, a URL or a configuration file could trip over."""
    return f"a b'c\"d$e\\f#g{secrets.token_hex(4)}"
