"""Fixtures that every ring shares; a ring whose requirement is missing skips, and fails in CI."""

import gc
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.support.servers import RedisServer, temporary_server

# The time of one example says nothing on a shared machine; each test has its timeout. A test has
# 50 examples, others in each run but in CI, where they are always the same: see CONTRIBUTING.md for
# more of them.
settings.register_profile("hedgerow", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("hedgerow")

# By default a traceback shows the variables of each frame, which takes seconds.
_RENDERER = structlog.dev.ConsoleRenderer(
    colors=False, exception_formatter=structlog.dev.plain_traceback
)


def pytest_collection_finish() -> None:
    """Keep the collected tests, thousands that stay to the end, out of garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def uncached_loggers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have each logger follow the present configuration, and write plain tracebacks.

    A command that a test runs in this process configures loggers that are cached when they are
    first used: those would keep what they say from the tests that come after.
    """
    configure = structlog.configure
    configure(processors=[*structlog.get_config()["processors"][:-1], _RENDERER])

    def configure_uncached(**options: Any) -> None:
        configure(**{**options, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_uncached)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests; each test keeps to its own `key_prefix`."""
    # Not tmp_path: the path of a Unix socket may have about 100 characters.
    with temporary_server() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that the test may kill, stop and start again."""
    with temporary_server() as server:
        yield server


@pytest.fixture
def key_prefix() -> str:
    """A prefix that no other test uses, instead of FLUSHALL."""
    return f"test-{secrets.token_hex(6)}"
