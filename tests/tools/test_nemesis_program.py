"""What belongs to a process of the cluster that is attacked."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from nemesis.cluster.program import Program
from tests.support.waiting import until

# It starts a process that starts another one, which waits; then the one in between ends.
_LEAVES_ONE = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os.wait()
if os.fork() == 0:
    os._exit(0)
time.sleep(60)
"""


async def test_a_process_whose_starter_has_ended_belongs_to_the_program(tmp_path: Path) -> None:
    """It is counted and stopped with the others, but not one that has ended and is not reaped."""
    command = [sys.executable, "-c", _LEAVES_ONE]
    program = Program("one", command, os.environ, tmp_path / "log", lambda _event: None)

    def left() -> list[int]:
        """Those of the program that are no children of it."""
        with suppress(psutil.NoSuchProcess):  # the one in between has just ended
            family = program.family()
            return [pid for pid in family[1:] if psutil.Process(pid).ppid() != family[0]]
        return []

    program.start()
    await until(lambda: len(left()) == 1 and len(program.family()) == 2, 20.0, what="one is left")
    own, other = program.family()
    assert own == program.pid
    os.kill(other, signal.SIGKILL)
    await until(lambda: program.family() == [own], 20.0, what="the program by itself")
    await program.stop()
    assert program.family() == []
