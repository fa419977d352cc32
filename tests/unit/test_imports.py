"""Which third-party packages each process imports, and no others.

A package that a process loads is memory and time at each start, so one that appears here is added
by hand, with a reason to be there.
"""

import json
import subprocess
import sys

import pytest

# What settings, logs and command lines take.
SETTINGS = {
    "annotated_types",
    "dotenv",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "typing_extensions",
    "typing_inspection",
}
# structlog loads these two if another package has brought them along.
LOGS = {"structlog", "colorama", "greenlet"}
# rich, where it is installed, is loaded by structlog, and attr by rich.
COLOURS = {"attr", "pygments", "rich"}
COMMAND_LINE = {"annotated_doc", "shellingham", "typer"}
# redis-py asks whether cryptography is installed, and loads no more of it than its version.
REDIS = {"cryptography", "hiredis", "redis"}
WIRE = {"msgpack", "msgspec", "typing_extensions"}
INDEX = {"tantivy"}
HTTP_SERVER = {
    "anyio",
    "httptools",
    "sniffio",
    "starlette",
    # Likewise Starlette.
    "python_multipart",
}

PROCESSES = {
    # `gateway --help`, and each command before it is known which.
    "hedgerow.gateway.cli.main": COMMAND_LINE,
    # The client, in a user's program.
    "hedgerow.gateway.client": {"httptools", "msgspec", "typing_extensions"},
    "hedgerow.gateway.cli.up": SETTINGS
    | LOGS
    | COLOURS
    | COMMAND_LINE
    | REDIS
    | {"httptools"}
    | WIRE,
    "hedgerow.gateway.cli.serve": (
        SETTINGS | LOGS | COLOURS | COMMAND_LINE | REDIS | WIRE | HTTP_SERVER | INDEX
    ),
    "hedgerow.shard_worker.main": (
        SETTINGS | LOGS | COLOURS | COMMAND_LINE | REDIS | WIRE | INDEX | {"arq"}
    ),
    "hedgerow.shard_worker.scoring.scorer": SETTINGS | LOGS | COLOURS | WIRE | INDEX,
    "hedgerow.shard_worker.indexing.indexer": SETTINGS | LOGS | COLOURS | REDIS | WIRE | INDEX,
    # A forkserver, which a worker forks, or starts in an interpreter of its own.
    "hedgerow.shard_worker.executors.process_pool.forkserver": WIRE,
    "hedgerow.gateway.local.processes.parent_death_guard": set[str](),
}

# Each of a row may load what those before it may, so one interpreter imports them in turn.
ROWS = [
    [
        "hedgerow.gateway.local.processes.parent_death_guard",
        "hedgerow.shard_worker.executors.process_pool.forkserver",
        "hedgerow.shard_worker.scoring.scorer",
        "hedgerow.shard_worker.indexing.indexer",
        "hedgerow.shard_worker.main",
    ],
    ["hedgerow.gateway.cli.main", "hedgerow.gateway.cli.up", "hedgerow.gateway.cli.serve"],
    ["hedgerow.gateway.client"],
]

LOADED = """
import importlib, json, site, sys
folders = tuple(site.getsitepackages())
for process in sys.argv[1:]:
    importlib.import_module(process)
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and file.startswith(folders):
            found.add(name.partition(".")[0])
    print(json.dumps(sorted(found)))
"""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[-1])
def test_a_process_loads_what_it_needs_and_no_more(row: list[str]) -> None:
    """The packages in `sys.modules` are among those that the process is known to use."""
    told = subprocess.run(
        [sys.executable, "-c", LOADED, *row], capture_output=True, text=True, check=True
    )
    for process, line in zip(row, told.stdout.splitlines(), strict=True):
        # What an editable install or a test's coverage adds to every interpreter.
        loaded = set(json.loads(line)) - {"_distutils_hack", "_virtualenv"}
        assert loaded - PROCESSES[process] == set(), process


def test_each_process_is_in_a_row() -> None:
    """None is left out."""
    assert sorted(process for row in ROWS for process in row) == sorted(PROCESSES)


SERVES = """
import importlib, json, sys
from hedgerow.common.runtime.starting import import_structlog
import_structlog()
import hedgerow.gateway.cli.up
from hedgerow.gateway.local.programs import MODULES
for module in MODULES:
    importlib.import_module(module)
loaded = sorted({name.partition(".")[0] for name in sys.modules})
import rich.console
print(json.dumps([loaded, hasattr(rich.console, "Console")]))
"""


def test_programs_that_serve_load_no_rich_and_may_still() -> None:
    """Neither structlog nor `gateway up` loads rich for them; afterwards it can be imported."""
    told = subprocess.run(
        [sys.executable, "-c", SERVES], capture_output=True, text=True, check=True
    )
    loaded, can_import = json.loads(told.stdout)
    assert set(loaded) & COLOURS == set()
    assert {"structlog", "redis", "tantivy"} <= set(loaded)
    assert can_import
