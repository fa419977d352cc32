"""How the installed programs start."""

import signal
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hedgerow.common.runtime.starting import start

PROGRAMS = tomllib.loads(Path("pyproject.toml").read_text())["project"]["scripts"]

# Calls an entry point as its script does; its first import of typer waits for a signal.
STARTS = """
import importlib, signal, sys
class Waits:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            print("importing", flush=True)
            signal.pause()
sys.meta_path.insert(0, Waits())
signal.signal(signal.SIGINT, signal.default_int_handler)
module, function = sys.argv[1].split(":")
getattr(importlib.import_module(module), function)()
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_interrupt_while_a_program_is_imported_ends_it_without_a_word(program: str) -> None:
    """It has nothing to clean up, and where it was says nothing to its user."""
    command = [sys.executable, "-c", STARTS, PROGRAMS[program]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (-signal.SIGINT, b"")


@pytest.fixture
def interrupts() -> Iterator[None]:
    """What an interrupt does is as before afterwards."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN, lambda *_: None])
def test_an_interrupt_is_the_program_s_once_it_runs(
    monkeypatch: pytest.MonkeyPatch, handler: Callable[..., None] | signal.Handlers
) -> None:
    """As it was before: one that is ignored, as that of a job in the background, stays so."""
    program = types.ModuleType("program")
    seen: list[object] = []
    vars(program)["run"] = lambda: seen.append(signal.getsignal(signal.SIGINT))
    monkeypatch.setitem(sys.modules, "program", program)
    signal.signal(signal.SIGINT, handler)
    start("program")
    assert seen == [handler]
