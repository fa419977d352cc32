"""A wall clock that the nemesis moves, around a real process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemesis.abilities import fake_clock
from nemesis.cluster.clocks import Clock
from tests.support.needs import missing

# Two threads want the interpreter all the time: each waits for it on the monotonic clock.
_PROGRAM = """
import json, os, threading, time
ended = threading.Event()
def look():
    while not ended.is_set():
        os.stat("/")
looking = threading.Thread(target=look)
looking.start()
sum(range(3_000_000))
for number in range(300_000):
    number += 1
spent_s = time.process_time()
ended.set()
looking.join()
print(json.dumps([time.time(), time.monotonic(), spent_s]))
"""


def _run(clock: Clock | None) -> tuple[float, float, float]:
    """The process's wall clock, its monotonic clock, and the CPU time that it took."""
    environment = {**os.environ, **(clock.environment() if clock else {})}
    shown = subprocess.run(
        [sys.executable, "-c", _PROGRAM], check=True, capture_output=True, env=environment
    ).stdout
    wall, monotonic, spent_s = json.loads(shown)
    return wall, monotonic, spent_s


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock that has not jumped."""
    library = fake_clock()
    if library is None:
        missing("libfaketime")
    assert library is not None
    return Clock(library, tmp_path / "clock")


@pytest.mark.parametrize("jump_s", [-3600.0, 0.0, 3600.0])
def test_only_the_wall_clock_jumps_and_nothing_gets_slower(clock: Clock, jump_s: float) -> None:
    """Deadlines stay, and the process takes the CPU that another takes."""
    clock.jump(jump_s)
    wall, monotonic, spent_s = _run(clock)
    assert wall - time.time() == pytest.approx(jump_s, abs=60)
    assert monotonic == pytest.approx(time.monotonic(), abs=60)
    _, _, usual_s = _run(None)
    assert spent_s < 5 * usual_s
