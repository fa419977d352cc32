"""The command `shard-worker`: one worker process."""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.common import __version__
from hedgerow.common.errors import ConfigurationError, HedgerowError
from hedgerow.common.lifecycle import calm_collector, stop_on_signals, stop_with_parent
from hedgerow.common.machine.descriptors import raise_descriptor_limit
from hedgerow.common.machine.private_folder import make_private, write_privately
from hedgerow.common.machine.shared_pages import share_pages
from hedgerow.common.observability.printable import printable
from hedgerow.common.observability.telemetry import configure_logging, keep_output_steady
from hedgerow.common.observability.tracing import load_if_on
from hedgerow.common.partition import parse_shards
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.common.state.layout import Layout
from hedgerow.common.user_function import import_path
from hedgerow.shard_worker.executors.process_pool.forkserver_start import WaitingForkservers
from hedgerow.shard_worker.layouts.layout_host import LayoutHost, pinned_layout
from hedgerow.shard_worker.placement.worker_name import named_worker
from hedgerow.shard_worker.reporting.metrics_server import MetricsServer
from hedgerow.shard_worker.wiring import SCORER_FACTORY
from hedgerow.shard_worker.worker import Worker

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"shard-worker {__version__}\n")
        raise typer.Exit


@app.command()
def serve(
    shards: Annotated[
        str | None, typer.Option(metavar="N[,N…]", help="Shards to serve, as in 0,1 or 0-3.")
    ] = None,
    join: Annotated[
        bool | None,
        typer.Option(
            "--join",
            help="Serve the shards that the placement assigns to it; the setting if unset.",
        ),
    ] = None,
    worker_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="NAME",
            help="Name in the cluster; if unset, host and pid, or the name that is kept in the "
            "data folder of a worker that joins.",
        ),
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
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Serve some of a cluster's shards: those that are named, or with --join those assigned."""
    # A parent has several workers, and its gateway serves their metrics.
    settings = _settings(data, redis, join, has_parent=parent_pipe is not None)
    served = _named_shards(shards, is_joining=settings.worker.join)
    keep_output_steady(settings.log_format)
    configure_logging(settings.log_level, settings.log_format)
    raise_descriptor_limit()
    write_privately()
    is_new_folder = not settings.data.exists()
    make_private(settings.data)
    # Users' functions are imported from where the worker is started, as `python -m` would.
    folders = import_path()
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    load_if_on(settings.tracing)
    share_pages()  # with the forkservers
    # For the indexer, and for scorers that are supervised.
    num_forkservers = 2 if settings.worker.process_pool == "supervised" else 1
    with (
        WaitingForkservers.forked(num_forkservers) as forkservers,
        _name(worker_id, settings, is_joining=served is None) as name,
    ):
        read = partial(_settings, data, redis, join, has_parent=parent_pipe is not None)

        layouts: set[int] = set()

        def connect(layout: Layout) -> AbstractAsyncContextManager[Worker]:
            # Later layouts get the rank profiles that may have been reloaded since the start.
            now = read() if layouts else settings
            layouts.add(layout.id)
            return Worker.connect(
                _of_layout(now, layout),
                name,
                served,
                folders,
                num_shards,
                forkservers,
                lambda: _of_layout(read(), layout),
                layout.id,
            )

        serve = _serve_assigned if served is None else _serve_named
        try:
            asyncio.run(serve(connect, settings, name, num_shards, parent_pipe))
        except HedgerowError:
            if is_new_folder:  # and still empty, if the start was refused
                with contextlib.suppress(OSError):
                    settings.data.rmdir()
            raise


def _named_shards(shards: str | None, *, is_joining: bool) -> tuple[int, ...] | None:
    """The shards to serve; None for those that the placement assigns.

    Raises:
        ConfigurationError: it is neither or both that are asked for, or they cannot be read.
    """
    if is_joining and shards is not None:
        raise ConfigurationError("--shards: a worker that joins (worker.join) is assigned shards")
    if not is_joining and shards is None:
        raise ConfigurationError("--shards: name the shards to serve, or use --join")
    return None if shards is None else parse_shards(shards)


def _name(
    worker_id: str | None, settings: Settings, *, is_joining: bool
) -> AbstractContextManager[str]:
    if is_joining:
        return named_worker(settings.data, worker_id, settings.worker.drain_timeout_s)
    own = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    return contextlib.nullcontext(worker_id or own)


def _settings(
    data: Path | None, redis: str | None, join: bool | None, *, has_parent: bool
) -> Settings:
    """Read the settings, the command's options over them."""
    settings = load_settings()
    server = settings.redis.model_copy(update={"url": redis} if redis else {})
    worker: dict[str, object] = {} if join is None else {"join": join}
    if has_parent:
        worker["metrics_port"] = None
    update: dict[str, object] = {
        "redis": server,
        "worker": settings.worker.model_copy(update=worker),
        **({"data": data} if data else {}),
    }
    return settings.model_copy(update=update)


def _of_layout(settings: Settings, layout: Layout) -> Settings:
    """The settings for the shards of one layout, which have a folder of their own."""
    return settings.model_copy(update={"data": layout.data(settings.data)})


Connect = Callable[[Layout], AbstractAsyncContextManager[Worker]]


async def _serve_assigned(
    connect: Connect,
    settings: Settings,
    name: str,
    num_shards: int | None,
    parent_pipe: int | None,
) -> None:
    """Serve what the placement assigns, in each layout that there is."""
    stopped = asyncio.Event()
    with stop_on_signals(stopped.set), stop_with_parent(parent_pipe, stopped.set):
        await LayoutHost(settings, name, num_shards, connect).run(stopped)


async def _serve_named(
    connect: Connect,
    settings: Settings,
    _name: str,
    num_shards: int | None,
    parent_pipe: int | None,
) -> None:
    """Serve the shards that the command names."""
    stopped = asyncio.Event()
    with stop_on_signals(stopped.set), stop_with_parent(parent_pipe, stopped.set):
        async with connect(await pinned_layout(settings, num_shards)) as worker:
            metrics = MetricsServer(settings.worker, worker.heartbeat, settings.metrics.max_names)
            async with metrics.running():
                calm_collector()
                await worker.run(stopped)


def run() -> None:
    """Run the command; the entry point of `shard-worker`."""
    _run(app)


def run_with(
    shards: str | None, num_shards: int, worker_id: str, data: str, redis: str, parent_pipe: int
) -> None:
    """Run the command without a command line to parse: what a forked process does.

    Without `shards`, the worker joins.
    """
    _run(
        lambda: serve(
            shards=shards,
            join=shards is None,
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
