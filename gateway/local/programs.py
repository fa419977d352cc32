"""A cluster's processes, as children of the one that supervises them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from hedgerow.gateway.local.processes.child import Call, Program
from hedgerow.gateway.local.processes.template_process import PARENT_PIPE

# What a template process imports for the processes below, and for those that a worker forks.
MODULES = (
    "hedgerow.gateway.cli.serve",
    "hedgerow.shard_worker.main",
    "hedgerow.shard_worker.scoring.scorer",
    "hedgerow.shard_worker.indexing.indexer",
    # FastAPI imports it for its first route, up to Python 3.13.
    *(("pydantic.v1",) if sys.version_info < (3, 14) else ()),
    "encodings.idna",  # the first look-up of a host imports it
)

# glibc gives each thread an arena of its own, and hardly ever gives memory of one back. The threads
# of an indexer's writers leave some 200 MB behind in theirs; with two arenas for all, nearly none,
# for the same CPU.
_WORKER_DEFAULTS = MappingProxyType({"MALLOC_ARENA_MAX": "2"})
# glibc keeps freed blocks of up to twice the largest that was freed so far. The lines of loads that
# break off have a megabyte each; blocks over this many bytes go back to the system at once. It is
# just above the 256 KiB that asyncio allocates for each read from a socket: to map and unmap those
# takes 5 of the 20 µs of a read.
_GATEWAY_DEFAULTS = MappingProxyType({"MALLOC_MMAP_THRESHOLD_": "270336"})


def worker_program(
    name: str,
    shards: Sequence[int],
    num_shards: int,
    home: Path,
    redis_url: str,
    drain_s: float,
    environment: Mapping[str, str],
) -> Program:
    """A shard worker.

    Args:
        name: its id in the cluster.
        shards: those that it serves.
        num_shards: of the cluster.
        home: its data folder.
        redis_url: the server.
        drain_s: how long it may take to end.
        environment: variables beside those that this process has.
    """
    served = ",".join(map(str, shards))
    command = (
        "hedgerow.shard_worker.main",
        "--shards",
        served,
        "--num-shards",
        str(num_shards),
        "--id",
        name,
        "--data",
        str(home),
        "--redis",
        redis_url,
    )
    options: dict[str, str | int] = {
        "shards": served,
        "num_shards": num_shards,
        "worker_id": name,
        "data": str(home),
        "redis": redis_url,
    }
    call = Call("hedgerow.shard_worker.main", options)
    return _python_program(name, command, call, drain_s, environment, _WORKER_DEFAULTS)


def gateway_program(
    name: str,
    host: str,
    port: int,
    redis_url: str,
    drain_s: float,
    environment: Mapping[str, str],
) -> Program:
    """The HTTP gateway, on this address; the rest as of a worker."""
    command = (
        "hedgerow.gateway.cli.main",
        "serve",
        "--host",
        host,
        "--port",
        str(port),
        "--redis",
        redis_url,
    )
    call = Call("hedgerow.gateway.cli.serve", {"host": host, "port": port, "redis": redis_url})
    return _python_program(name, command, call, drain_s, environment, _GATEWAY_DEFAULTS)


def _python_program(
    name: str,
    command: Sequence[str],
    call: Call,
    drain_s: float,
    environment: Mapping[str, str],
    defaults: Mapping[str, str],
) -> Program:
    return Program(
        name=name,
        # -P: a folder `common` where the user happens to be must not be taken for ours.
        arguments=(sys.executable, "-P", "-m", *command, "--parent-pipe", PARENT_PIPE),
        drain_s=drain_s,
        environment={**environment, "HEDGEROW_LOG_FORMAT": "json", "PYTHONUNBUFFERED": "1"},
        defaults=defaults,
        call=Call(call.module, {**call.options, "parent_pipe": PARENT_PIPE}),
    )
