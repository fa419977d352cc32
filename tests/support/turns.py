"""Turns of processes that run tests: one that is marked `alone` has the machine to itself.

It begins when no other test runs in any of them, and the others wait until it has ended. What
fixtures of a module or of the session have started goes on, but no test uses it. The processes are
those of one run of pytest-xdist, or of all rings that run side by side (`side_by_side.py`).
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.side_by_side import TURNS_VARIABLE


class Turns:
    """The plugin, for each of the processes."""

    def __init__(self, folder: Path) -> None:
        """Share turns with the processes that name the same folder."""
        self._running = (folder / "running").open("w")
        # Held by the process whose turn comes next, so that no other overtakes it.
        self._next = (folder / "next").open("w")

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
        """Close the files."""
        self._running.close()
        self._next.close()


class OfOneRun(Turns):
    """The same, in a folder that the processes of one run make and remove."""

    def __init__(self, run: str) -> None:
        """Share turns with the processes that name the same run."""
        self._folder = Path(tempfile.gettempdir(), f"hedgerow-tests-{run}")
        self._folder.mkdir(exist_ok=True)
        super().__init__(self._folder)

    def pytest_unconfigure(self) -> None:
        """Remove the folder; whichever process ends last finds none."""
        super().pytest_unconfigure()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def _locked(file: IO[str], kind: int) -> Generator[None]:
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def take_turns(config: pytest.Config) -> None:
    """Have this process take turns with others: of rings beside its own, or of pytest-xdist."""
    given = getattr(config, "workerinput", None)
    if TURNS_VARIABLE in os.environ:
        config.pluginmanager.register(Turns(Path(os.environ[TURNS_VARIABLE])))
    elif given is not None:
        config.pluginmanager.register(OfOneRun(given["testrunuid"]))
