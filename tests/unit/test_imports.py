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
REDIS = {"hiredis", "redis"}
WIRE = {"msgpack", "msgspec", "typing_extensions"}
INDEX = {"tantivy"}
HTTP_SERVER = {
    "anyio",
    "click",
    "fastapi",
    "httptools",
    "opentelemetry",
    "sniffio",
    "starlette",
    "uvicorn",
    # Likewise FastAPI and Starlette.
    "orjson",
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

LOADED = """
import importlib, json, site, sys
importlib.import_module(sys.argv[1])
folders = tuple(site.getsitepackages())
found = set()
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and file.startswith(folders):
        found.add(name.partition(".")[0])
print(json.dumps(sorted(found)))
"""


@pytest.mark.parametrize("module", PROCESSES)
def test_a_process_loads_what_it_needs_and_no_more(module: str) -> None:
    """The packages in `sys.modules` are among those that the process is known to use."""
    told = subprocess.run(
        [sys.executable, "-c", LOADED, module], capture_output=True, text=True, check=True
    )
    # What an editable install or a test's coverage adds to every interpreter.
    loaded = set(json.loads(told.stdout)) - {"_distutils_hack", "_virtualenv"}
    assert loaded - PROCESSES[module] == set()
