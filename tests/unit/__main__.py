"""Run the unit tests in several processes: `python -m tests.unit [OPTION OF PYTEST ...]`.

Each collects and runs a share of the modules (`shares.py`), and in the end some that no other has
begun. These tests do not wait, so what counts is their CPU time. With pytest-xdist each process
would collect all, and send what becomes of each to one more process: an eighth of the whole.
"""

import os
import sys
import tempfile
from pathlib import Path

from tests.support.side_by_side import run
from tests.unit.shares import CLAIMS_VARIABLE, KEEPING_MEMORY, VARIABLE

MOST_PROCESSES = 4
# `pytest.ExitCode.NO_TESTS_COLLECTED`. Importing pytest takes 0.2 s, before the others could start.
NO_TESTS = 5


def main() -> int:
    """Show what the first process says as it says it, then what the others have said.

    Returns:
        The exit status of pytest: the first that is an error, if there is one. A share without a
        selected test is none.
    """
    numbers = range(min(_num_cores(), MOST_PROCESSES))
    with tempfile.TemporaryDirectory() as claims:
        environments = [_env(number, len(numbers), claims) for number in numbers]
        return combined(run([_command(number) for number in numbers], environments))


def combined(statuses: list[int]) -> int:
    """The first status that is an error; that nothing is selected is one if all say so."""
    selected = [one for one in statuses if one != NO_TESTS]
    return next((one for one in selected if one), 0) if selected else NO_TESTS


def _command(number: int) -> list[str]:
    color = ["--color=yes"] if sys.stdout.isatty() else []
    cache = f"cache_dir=.pytest_cache/share{number}"
    folder = str(Path(__file__).parent)
    return [sys.executable, "-m", "pytest", folder, "-o", cache, *color, *sys.argv[1:]]


def _env(number: int, count: int, claims: str) -> dict[str, str]:
    share = {VARIABLE: f"{number}/{count}", CLAIMS_VARIABLE: claims}
    return {**KEEPING_MEMORY, **os.environ, **share}


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
