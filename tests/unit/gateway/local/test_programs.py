"""The processes of a cluster, as a command line and as a call."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from hedgerow.gateway.local.processes.child import Program
from hedgerow.gateway.local.programs import MODULES, gateway_program, worker_program
from hedgerow.gateway.operations.presence import ProcessPlace

WORKER = worker_program(
    "worker-1", [0, 3], 4, Path("/data/1"), "unix:///redis.sock", 9.0, {"A": "b"}
)
GATEWAY = gateway_program("gateway", "127.0.0.1", 8080, "unix:///redis.sock", 9.0, {"A": "b"})
ONE_OF_THREE = gateway_program(
    "gateway-1", "127.0.0.1", 8080, "unix:///redis.sock", 9.0, {}, ProcessPlace(1, 3), 8
)
PROGRAMS = pytest.mark.parametrize(
    "program", [WORKER, GATEWAY, ONE_OF_THREE], ids=["worker", "gateway", "one of three"]
)


@PROGRAMS
def test_a_fork_is_told_what_the_command_line_says(program: Program) -> None:
    """Each option of the command line is an argument of the call, with the same value."""
    assert program.call is not None
    first = next(at for at, part in enumerate(program.arguments) if part.startswith("--"))
    options = program.arguments[first:]
    told = {
        {"id": "worker_id"}.get(name, name): value
        for name, value in zip(
            (flag.removeprefix("--").replace("-", "_") for flag in options[::2]),
            options[1::2],
            strict=True,
        )
    }
    assert told == {name: str(value) for name, value in program.call.options.items()}


@PROGRAMS
def test_a_fork_calls_what_there_is(program: Program) -> None:
    """The module that is called is loaded before, and its `run_with` takes these arguments."""
    assert program.call is not None
    assert program.call.module in MODULES
    run_with = import_module(program.call.module).run_with
    inspect.signature(run_with).bind(**program.call.options)
