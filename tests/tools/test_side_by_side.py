"""Commands that run side by side read as if they had run one after the other."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Either end of a pipe can be opened once the other is: alone, neither would get to its second line.
MEETS = """
import sys
name, pipe, mode, status = sys.argv[1:]
print(name, "begins", flush=True)
open(pipe, mode).close()
print(name, "ends", flush=True)
sys.exit(int(status))
"""


@pytest.mark.parametrize(
    ("statuses", "expected"), [((0, 0), 0), ((3, 0), 3), ((0, 4), 4), ((3, 4), 3)]
)
def test_both_run_to_their_ends(statuses: tuple[int, int], expected: int, tmp_path: Path) -> None:
    """At the same time; the output of each is in one piece, and a failure of either is one."""
    pipe, program = tmp_path / "pipe", tmp_path / "meets.py"
    os.mkfifo(pipe)
    program.write_text(MEETS, encoding="utf-8")
    commands = [
        shlex.join([sys.executable, str(program), name, str(pipe), mode, str(status)])
        for name, mode, status in zip(("one", "other"), "rw", statuses, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.side_by_side", *commands],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expected
    shown = [line for line in done.stdout.splitlines() if line.endswith(("begins", "ends"))]
    assert shown == ["one begins", "one ends", "other begins", "other ends"]
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert [line.partition(": ")[2] for line in failed] == [
        command for command, status in zip(commands, statuses, strict=True) if status
    ]
