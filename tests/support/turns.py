"""Turns of the processes of pytest-xdist: a test that is marked `alone` has the machine to itself.

It begins when no other test runs in any of them, and the others wait until it has ended. What
fixtures of a module or of the session have started goes on, but no test uses it.
"""

import fcntl
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest


class Turns:
    """The plugin, for the processes of one run; there is nothing to wait for without others."""

    def __init__(self, run: str) -> None:
        """Share turns with the processes that name the same run."""
        folder = Path(tempfile.gettempdir())
        self._running = (folder / f"hedgerow-tests-{run}.running").open("w")
        # Held by the process whose turn comes next, so that no other overtakes it.
        self._next = (folder / f"hedgerow-tests-{run}.next").open("w")

    # Outside of what limits a test's time, which does not count while it waits.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run one test, with its fixtures, in turn."""
        is_alone = item.get_closest_marker("alone") is not None
        with _locked(self._next, fcntl.LOCK_EX):
            fcntl.flock(self._running, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            fcntl.flock(self._running, fcntl.LOCK_UN)

    def pytest_unconfigure(self) -> None:
        """Remove the files; whichever process ends last finds none."""
        for file in (self._running, self._next):
            file.close()
            Path(file.name).unlink(missing_ok=True)


@contextmanager
def _locked(file: IO[str], kind: int) -> Generator[None]:
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def take_turns(config: pytest.Config) -> None:
    """Have this process take turns with the others of pytest-xdist, if it is one of them."""
    given = getattr(config, "workerinput", None)
    if given is not None:
        config.pluginmanager.register(Turns(given["testrunuid"]))
