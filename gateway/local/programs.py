"""The programs of a cluster's child processes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.local.processes.child import Call, Program
from hedgerow.gateway.local.processes.template_process import PARENT_PIPE
from hedgerow.gateway.operations.presence import ProcessPlace

GATEWAY = "gateway"
# Modules that a template process imports for gateways.
GATEWAY_MODULES = (
    "hedgerow.gateway.cli.serve",
    "encodings.idna",  # imported by the first look-up of a host
)
# The same for all programs below, and for a worker's forks.
MODULES = (
    *GATEWAY_MODULES,
    "hedgerow.shard_worker.main",
    "hedgerow.shard_worker.scoring.scorer",
    "hedgerow.shard_worker.indexing.indexer",
)
# For children whose logs are files.
JSON_LOGS = MappingProxyType({"HEDGEROW_LOG_FORMAT": "json"})
# A process drains in two parts (requests, then what they use), each bounded by its timeout.
DRAIN_PARTS = 2
DRAIN_MARGIN_S = 5.0

# glibc gives each thread an arena, and hardly ever returns an arena's memory to the system. The
# writer threads of an indexer leave some 200 MB in theirs; if all threads share two arenas, hardly
# any is left, for the same CPU.
WORKER_DEFAULTS = MappingProxyType({"MALLOC_ARENA_MAX": "2"})
# glibc keeps freed blocks of up to twice the size of the largest freed so far. An unfinished line
# of a load that breaks off has up to a megabyte; blocks over this many bytes are returned to the
# system at once. It is just above the 256 KiB that asyncio allocates for each read from a socket:
# mapping and unmapping those would take 5 of the 20 µs of a read.
_GATEWAY_DEFAULTS = MappingProxyType({"MALLOC_MMAP_THRESHOLD_": "270336"})


def worker_program(
    name: str,
    shards: Sequence[int] | None,
    num_shards: int,
    home: Path,
    redis_url: str,
    drain_s: float,
    environment: Mapping[str, str],
) -> Program:
    """Return the program of a shard worker.

    Args:
        name: its id in the cluster.
        shards: the shards that it serves; None for those that the placement assigns to it.
        num_shards: shards of the cluster.
        home: its data folder.
        redis_url: the Redis server.
        drain_s: how long it may take to end.
        environment: variables in addition to those of this process.
    """
    served = None if shards is None else ",".join(map(str, shards))
    place = ["--join"] if served is None else ["--shards", served]
    command = (
        "hedgerow.shard_worker.main",
        *place,
        "--num-shards",
        str(num_shards),
        "--id",
        name,
        "--data",
        str(home),
        "--redis",
        redis_url,
    )
    options: dict[str, str | int | None] = {
        "shards": served,
        "num_shards": num_shards,
        "worker_id": name,
        "data": str(home),
        "redis": redis_url,
    }
    call = Call("hedgerow.shard_worker.main", options)
    variables = {**environment, **JSON_LOGS}
    return _python_program(name, command, call, drain_s, variables, WORKER_DEFAULTS)


def gateway_programs(
    settings: GatewaySettings,
    host: str,
    port: int,
    redis_url: str | None,
    environment: Mapping[str, str],
    num_shards: int | None = None,
) -> list[Program]:
    """Return the programs of the gateway's processes, as many as the settings say.

    Args:
        settings: those that the processes read too.
        host: address to bind.
        port: port to bind, which is not 0.
        redis_url: the Redis server; None for that of the settings.
        environment: variables in addition to those of this process.
        num_shards: shards of the cluster; None to read the number from Redis.
    """
    of = settings.processes
    drain_s = settings.drain_delay_s + DRAIN_PARTS * settings.drain_timeout_s + DRAIN_MARGIN_S
    return [
        gateway_program(
            GATEWAY if of == 1 else f"{GATEWAY}-{number}",
            host,
            port,
            redis_url,
            drain_s,
            environment,
            ProcessPlace(number, of),
            num_shards,
        )
        for number in range(of)
    ]


def gateway_program(
    name: str,
    host: str,
    port: int,
    redis_url: str | None,
    drain_s: float,
    environment: Mapping[str, str],
    place: ProcessPlace = ProcessPlace(),  # noqa: B008 - frozen
    num_shards: int | None = None,
) -> Program:
    """Return the program of one of the gateway's processes; the rest is as for several."""
    options: dict[str, str | int] = {
        "host": host,
        "port": port,
        "processes": place.of,
        "process": place.number,
    }
    if redis_url is not None:
        options["redis"] = redis_url
    if num_shards is not None:
        options["num_shards"] = num_shards
    flags = [
        part
        for option, value in options.items()
        for part in (f"--{option.replace('_', '-')}", str(value))
    ]
    command = ("hedgerow.gateway.cli.main", "serve", *flags)
    call = Call("hedgerow.gateway.cli.serve", options)
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
        # -P: a folder `common` in the current directory must not be imported instead of ours.
        arguments=(sys.executable, "-P", "-m", *command, "--parent-pipe", PARENT_PIPE),
        drain_s=drain_s,
        environment={**environment, "PYTHONUNBUFFERED": "1"},
        defaults=defaults,
        call=Call(call.module, {**call.options, "parent_pipe": PARENT_PIPE}),
    )
