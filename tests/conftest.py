"""Fixtures that every ring shares; a ring whose requirement is missing skips, and fails in CI."""

import contextlib
import gc
import importlib
import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
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


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect no garbage while modules are imported, which takes a seventh of the time."""
    gc.disable()
    try:
        _import_share_of_modules(session.config)
        return (yield)
    finally:
        gc.enable()


def _import_share_of_modules(config: pytest.Config) -> None:
    """Import a share of the test modules before they are collected: each process another one.

    In a fresh clone, they have to be compiled and their asserts rewritten, which takes longer than
    to collect them. Each process would do all of that at the same time, since all collect in the
    same order; this way each does a share of it, and finds what the others have written.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    folders = [Path(argument) for argument in config.args]
    modules = sorted(path for folder in folders for path in folder.rglob("test_*.py"))
    share = slice(len(modules) * number // processes, len(modules) * (number + 1) // processes)
    for path in modules[share] if processes > 1 else []:
        with contextlib.suppress(Exception, pytest.skip.Exception):  # collecting it will say so
            name = path.resolve().relative_to(config.rootpath).with_suffix("")
            importlib.import_module(".".join(name.parts))


def pytest_collection_finish() -> None:
    """Keep the collected tests, thousands that stay to the end, out of garbage collection.

    Python goes through all the others once a quarter of them are new, which they always are when
    most are frozen: that would take twice the time of all other collections.
    """
    gc.freeze()
    youngest, middle, _ = gc.get_threshold()
    gc.set_threshold(youngest, middle, 1_000)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Collect the garbage once: pytest and Python, at their ends, have nothing to go through."""
    gc.collect()
    gc.freeze()


_configure = structlog.configure


def _configure_uncached(*given: Any, **options: Any) -> None:
    """Configure loggers that follow each later configuration, too.

    A command that a test runs in this process configures loggers that are cached when they are
    first used: those would keep what they say from the tests that come after.
    """
    _configure(*given, **{**options, "cache_logger_on_first_use": False})


structlog.configure = _configure_uncached


# Around thousands of tests, a hook costs a fraction of what a fixture costs.
@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Have loggers write plain tracebacks, whatever the test before has configured."""
    _configure(processors=[*structlog.get_config()["processors"][:-1], _RENDERER])
    try:
        return (yield)
    finally:
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
