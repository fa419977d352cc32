"""The command `shard-worker`: one worker process."""

import asyncio
import contextlib
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
from hedgerow.common.observability.tracing import load_if_on
from hedgerow.common.partition import parse_shards
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.common.user_function import import_path
from hedgerow.shard_worker.executors.process_pool.forkserver_start import WaitingForkservers
from hedgerow.shard_worker.metrics_server import MetricsServer
from hedgerow.shard_worker.wiring import SCORER_FACTORY
from hedgerow.shard_worker.worker import Worker

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    # A parent has several workers, and its gateway serves their metrics.
    settings = _settings(data, redis, has_parent=parent_pipe is not None)
    keep_output_steady(settings.log_format)
    configure_logging(settings.log_level, settings.log_format)
    raise_descriptor_limit()
    write_privately()
    is_new_folder = not settings.data.exists()
    make_private(settings.data)
    name = worker_id or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    served = parse_shards(shards)
    # Users' functions are imported from where the worker is started, as `python -m` would.
    folders = import_path()
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    load_if_on(settings.tracing)
    gc.collect()
    gc.freeze()  # pages that no collector writes to stay shared with the forkservers
    # For the indexer, and for scorers that are supervised.
    num_forkservers = 2 if settings.worker.process_pool == "supervised" else 1
    with WaitingForkservers.forked(num_forkservers) as forkservers:
        read = partial(_settings, data, redis, has_parent=parent_pipe is not None)
        connect = partial(
            Worker.connect, settings, name, served, folders, num_shards, forkservers, read
        )
        try:
            asyncio.run(_serve(connect, settings, parent_pipe))
        except HedgerowError:
            if is_new_folder:  # and still empty, if the start was refused
                with contextlib.suppress(OSError):
                    settings.data.rmdir()
            raise


def _settings(data: Path | None, redis: str | None, *, has_parent: bool) -> Settings:
    """Read the settings, the command's options over them."""
    settings = load_settings()
    server = settings.redis.model_copy(update={"url": redis} if redis else {})
    update: dict[str, object] = {"redis": server, **({"data": data} if data else {})}
    if has_parent:
        update["worker"] = settings.worker.model_copy(update={"metrics_port": None})
    return settings.model_copy(update=update)


async def _serve(
    connect: Callable[[], AbstractAsyncContextManager[Worker]],
    settings: Settings,
    parent_pipe: int | None,
) -> None:
    stopped = asyncio.Event()
    with stop_on_signals(stopped.set), stop_with_parent(parent_pipe, stopped.set):
        async with connect() as worker:
            metrics = MetricsServer(settings.worker, worker.heartbeat, settings.metrics.max_names)
            async with metrics.running():
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
        text = str(error).removeprefix(f"{SCORER_FACTORY}: ")  # who reads it has not named it
        sys.stderr.write(f"shard-worker: {printable(' '.join(text.split()))}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
