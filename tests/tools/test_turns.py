"""Tests that are marked `alone` have the machine to themselves, beside other processes of tests."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFTEST = """
import json, time
from pathlib import Path
import pytest
from tests.support.turns import take_turns

def pytest_configure(config):
    take_turns(config)

@pytest.fixture(autouse=True)
def logged(request):
    began = time.monotonic()
    yield
    is_alone = request.node.get_closest_marker("alone") is not None
    with Path(__file__).with_name("log").open("a") as log:
        log.write(json.dumps([began, time.monotonic(), is_alone]) + "\\n")
"""
# An end of the pipe can be opened once the other is, so the first tests of both modules overlap.
# The others take a while, in which the other process would begin its next test if it might.
MODULE = """
import time
from pathlib import Path
import pytest

def test_meets_the_other():
    path = Path(__file__)
    path.with_name("pipe").open("r" if path.stem == "test_one" else "w").close()

@pytest.mark.parametrize("number", range(12))
def test_beside(number):
    time.sleep(0.02)

@pytest.mark.alone
@pytest.mark.parametrize("number", range(2))
def test_alone(number):
    time.sleep(0.05)

@pytest.mark.parametrize("number", range(12))
def test_after(number):
    time.sleep(0.02)
"""
ROOT = Path(__file__).parents[2]


OPTIONS = ("-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "--rootdir")


def of_one_run(folder: Path) -> list[str]:
    """Two processes of pytest-xdist."""
    xdist = ("--numprocesses", "2", "--dist", "loadfile")
    return ["pytest", *OPTIONS, str(folder), *xdist, str(folder)]


def side_by_side(folder: Path) -> list[str]:
    """Two runs of pytest, as the rings of `make test`."""
    run = shlex.join([sys.executable, "-m", "pytest", *OPTIONS, str(folder)])
    return ["tests.support.side_by_side", *(f"{run} {path}" for path in folder.glob("test_*.py"))]


@pytest.mark.parametrize("command", [of_one_run, side_by_side])
def test_a_test_that_is_alone_runs_beside_no_other(
    command: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """In any process; others run beside each other, before it and after it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    for name in ("one", "other"):
        (tmp_path / f"test_{name}.py").write_text(MODULE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", *command(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    runs = [(began, ended, is_alone) for began, ended, is_alone in map(json.loads, lines)]
    assert len(runs) == 2 * 27
    overlaps = [
        (one, other)
        for one in runs
        for other in runs
        if one < other and one[0] < other[1] and other[0] < one[1]
    ]
    assert overlaps
    assert not [pair for pair in overlaps if pair[0][2] or pair[1][2]]
