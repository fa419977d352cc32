"""`gateway demo` as a newcomer runs it, from the first line to the last process."""

import asyncio
import os
import re
import signal
import subprocess
import sysconfig
import time
import venv
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes import session_members
from tests.support.up import Caller
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]


class Demo:
    """A running demo; its output grows in `shown`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Read what `process` prints."""
        self.process = process
        self.shown = ""
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.shown += line.decode()

    @property
    def pids(self) -> set[int]:
        """Every process of the cluster that it has named."""
        named = re.findall(r"^(?:redis|gateway|worker-\d+) +(\d+) ", self.shown, re.MULTILINE)
        return {int(pid) for pid in named + re.findall(r"is back \(pid (\d+)", self.shown)}

    async def shows(self, text: str, timeout_s: float) -> None:
        """Wait until it has printed `text`."""
        await until(
            lambda: text in self.shown or self._reader.done(), timeout_s, what=f"{text!r} is shown"
        )
        assert text in self.shown, self.shown

    async def end(self, number: signal.Signals) -> int:
        """Signal it as a terminal does; its exit code."""
        os.killpg(self.process.pid, number)
        code = await self.process.wait()
        await self._reader
        return code


def _entries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with nothing installed, so that the demo reads the standard library alone.

    What is installed for development has ten times as many files. The demo's programs find it by
    PYTHONPATH, which is not read for documents.
    """
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture
async def demo(python: Path, tmp_path: Path) -> AsyncIterator[Demo]:
    """A demo that stays up at its end."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-m",
        "hedgerow.gateway.cli.main",
        "demo",
        "--keep",
        "--port",
        "0",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={
            **os.environ,
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join((str(ROOT), sysconfig.get_path("purelib"))),
        },
        start_new_session=True,
    )
    one = Demo(process)
    yield one
    if process.returncode is None:
        await one.end(signal.SIGKILL)
    await until(lambda: not session_members(one.pids), what="everything is gone")


async def test_the_demo_shows_what_it_claims_and_leaves_nothing(demo: Demo, tmp_path: Path) -> None:
    """All steps pass, --keep leaves the cluster up, and Ctrl-C takes everything away."""
    started_at = time.monotonic()
    await demo.shows("The cluster stays up at", 240.0)
    print(f"the demo took {time.monotonic() - started_at:.0f} s")  # noqa: T201 - for -rP
    for step in (
        r"[\d,]+ documents can be found",
        r"coverage 100\.0 % of [\d,]+ documents \(shards: 8 ok\)",
        r"kill -9 \d+",
        r"worker-2 \(pid \d+\) was killed by SIGKILL",
        r"coverage 7\d\.\d % of [\d,]+ documents \(shards: 6 ok, 2 timed_out\)",
        r"no reply by the deadline",
        r"2 breaker_open",
        r"worker-2 is back",
        r"Coverage is 100 % again",
        r"Every step did what it says",
    ):
        assert re.search(step, demo.shown), f"{step}\n{demo.shown}"
    url = re.search(r"stays up at (http://\S+)", demo.shown)
    assert url is not None
    async with Caller(url[1]) as caller:
        result = await caller.found("python-docs", "json decoder", k=1)
        assert result["coverage"]["is_full"]
        assert "json" in result["hits"][0]["id"].lower()
    assert len(demo.pids) == 7
    assert await demo.end(signal.SIGINT) == 0, demo.shown
    assert session_members(demo.pids) == set()
    assert _entries(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_demo_that_is_interrupted_leaves_nothing(
    demo: Demo, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C or SIGTERM in the middle: the exit code says so, and processes and files are gone."""
    await demo.shows("2. Documents", 60.0)
    assert await demo.end(number) == 128 + signal.SIGINT, demo.shown
    assert "interrupted" in demo.shown
    assert demo.pids
    assert session_members(demo.pids) == set()
    assert _entries(tmp_path) == []
