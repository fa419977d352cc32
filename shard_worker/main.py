"""The command `shard-worker`: one worker process."""

import asyncio
import gc
import os
import secrets
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.common.errors import HedgerowError
from hedgerow.common.lifecycle import calm_collector, stop_on_signals, stop_with_parent
from hedgerow.common.machine.descriptors import raise_descriptor_limit
from hedgerow.common.machine.private_folder import make_private, write_privately
from hedgerow.common.observability.printable import printable
from hedgerow.common.observability.telemetry import configure_logging, keep_output_steady
from hedgerow.common.partition import parse_shards
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.common.user_function import import_path
from hedgerow.shard_worker.executors.process_pool.forkserver_start import WaitingForkservers
from hedgerow.shard_worker.worker import Worker

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve(
    shards: Annotated[
        str, typer.Option(metavar="N[,N…]", help="Shards to serve, as in 0,1 or 0-3.")
    ],
    worker_id: Annotated[
        str | None,
        typer.Option("--id", metavar="NAME", help="Name in the cluster; host and pid if unset."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of what is stored; the setting if unset."),
    ] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="Redis server; the setting if unset.")
    ] = None,
    num_shards: Annotated[
        int | None,
        typer.Option(min=1, help="Shards of the cluster; read from Redis if unset."),
    ] = None,
    parent_pipe: Annotated[
        int | None,
        typer.Option(metavar="FD", help="Drain and exit when this descriptor reads end of file."),
    ] = None,
) -> None:
    """Serve some of a cluster's shards."""
    settings = _settings(data, redis)
    keep_output_steady(settings.log_format)
    configure_logging(settings.log_level, settings.log_format)
    raise_descriptor_limit()
    write_privately()
    make_private(settings.data)
    name = worker_id or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    served = parse_shards(shards)
    # Users' functions are imported from where the worker is started, as `python -m` would.
    folders = import_path()
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    gc.collect()
    gc.freeze()  # pages that no collector writes to stay shared with the forkservers
    # For the indexer, and for scorers that are supervised.
    num_forkservers = 2 if settings.worker.process_pool == "supervised" else 1
    with WaitingForkservers.forked(num_forkservers) as forkservers:
        connect = partial(Worker.connect, settings, name, served, folders, num_shards, forkservers)
        asyncio.run(_serve(connect, parent_pipe))


def _settings(data: Path | None, redis: str | None) -> Settings:
    """Read the settings, the command's options over them."""
    settings = load_settings()
    server = settings.redis.model_copy(update={"url": redis} if redis else {})
    return settings.model_copy(update={"redis": server, **({"data": data} if data else {})})


async def _serve(
    connect: Callable[[], AbstractAsyncContextManager[Worker]], parent_pipe: int | None
) -> None:
    stopped = asyncio.Event()
    with stop_on_signals(stopped.set), stop_with_parent(parent_pipe, stopped.set):
        async with connect() as worker:
            calm_collector()
            await worker.run(stopped)


def run() -> None:
    """Run the command; the entry point of `shard-worker`."""
    _run(app)


def run_with(
    shards: str, num_shards: int, worker_id: str, data: str, redis: str, parent_pipe: int
) -> None:
    """Run the command without a command line to parse: what a forked process does."""
    _run(
        lambda: serve(
            shards=shards,
            num_shards=num_shards,
            worker_id=worker_id,
            data=Path(data),
            redis=redis,
            parent_pipe=parent_pipe,
        )
    )


def _run(call: Callable[[], object]) -> None:
    try:
        call()
    except HedgerowError as error:
        sys.stderr.write(f"shard-worker: {printable(' '.join(str(error).split()))}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
