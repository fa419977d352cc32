"""Memory that a process has freed goes back to the system."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from hedgerow.common.machine import freed_memory
from tests.support.virtual_time import run_virtually

MB = 1_000_000

# In a process of its own, whose memory nothing else changes.
_GAPS = """
from hedgerow.common.machine.freed_memory import return_freed_memory

def own_kb():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

blocks = [bytes(20_000) for _ in range(2_000)]
full = own_kb()
del blocks[:-1]
return_freed_memory()
print(full - own_kb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="READS /proc")
def test_what_lies_below_a_block_in_use_is_returned() -> None:
    """Of 40 MB that were freed, 39 MB at least leave the process, though the last block is kept."""
    run = subprocess.run(
        [sys.executable, "-c", _GAPS], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(run.stdout) >= 39 * MB / 1024


def _returns_of(sizes: list[int | None], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a process of these sizes, as it reads them one after another, returns memory, in s."""
    reads, returned = iter(sizes), list[float]()

    async def scenario() -> None:
        now = asyncio.get_running_loop().time
        monkeypatch.setattr(freed_memory, "return_freed_memory", lambda: returned.append(now()))
        monkeypatch.setattr(freed_memory, "_own_bytes", lambda: next(reads))
        with suppress(RuntimeError):  # no size is left: a coroutine cannot raise StopIteration
            await freed_memory.return_memory_after_growth()

    run_virtually(scenario())
    return returned


def test_a_process_that_has_grown_returns_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 10 s it compares with its size after the last time, or with a smaller one since."""
    sizes: list[int | None] = [20 * MB, 23 * MB, 24 * MB, 22 * MB, 25 * MB, 19 * MB, 23 * MB, None]
    assert _returns_of(sizes, monkeypatch) == pytest.approx([20.0, 50.0])


def test_a_process_that_cannot_tell_its_size_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell it, the task ends at once."""
    assert _returns_of([None, 50 * MB], monkeypatch) == []


def test_files_that_the_start_has_read_are_given_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process gives up their pages 10 s after its start, whether or not it has grown."""
    released = list[float]()

    def release() -> None:
        released.append(asyncio.get_running_loop().time())

    async def call(function: Callable[[], None]) -> None:
        function()  # in this thread, whose loop has the time

    monkeypatch.setattr(freed_memory, "release_files", release)
    monkeypatch.setattr(asyncio, "to_thread", call)
    assert _returns_of([20 * MB, 20 * MB, 21 * MB, 25 * MB, 25 * MB, None], monkeypatch) == [30.0]
    assert released == pytest.approx([10.0])
