"""`gateway demo`: shows a cluster at work, and how it copes when a worker is killed.

It is a test too: it checks what each step claims, and the exit code says whether all steps passed.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hedgerow.common.errors import ConfigurationError, HedgerowError
from hedgerow.common.lifecycle import stop_on_signals
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.gateway.cli.demo_story import DemoStory, Interrupted, Victim
from hedgerow.gateway.cli.terminal import Terminal
from hedgerow.gateway.cli.up import Story, show_ready
from hedgerow.gateway.client import Client
from hedgerow.gateway.local.cluster import LocalCluster
from hedgerow.gateway.local.cluster_options import ClusterOptions
from hedgerow.gateway.local.locks import check_port
from hedgerow.gateway.local.processes.child import is_running
from hedgerow.gateway.local.processes.restart_policy import RestartPolicy
from hedgerow.gateway.local.processes.template import Template
from hedgerow.gateway.local.programs import MODULES

_PREFERRED_PORT = 8080
# Long enough for five answers at their deadline, so that the breaker opens before the restart.
_RESTART = RestartPolicy(initial_s=5.0, max_s=10.0, jitter=0.0)
# As when a whole machine fails, no message tells the gateway of the death: its breakers find out.
_SILENT_DEATHS = {"HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "60"}


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the cluster running until Ctrl-C.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port that the gateway binds.",
            show_default="8080 if it is free, else any free port",
        ),
    ] = None,
) -> None:
    """Show a cluster at work on this machine, and how it copes when a worker is killed."""
    settings = load_settings()
    data = Path(tempfile.mkdtemp(prefix="hedgerow-demo-"))
    options = ClusterOptions(
        data=data,
        num_shards=8,
        num_workers=4,
        port=_free_port() if port is None else port,
        restart=_RESTART,
        announces_deaths=False,
        environment=_SILENT_DEATHS,
    )
    try:
        with Template.started(MODULES) as template:
            configure_logging("error", settings.log_format)
            console = Console(highlight=False, emoji=False)
            is_done = asyncio.run(_demo(options, settings, console, template, keep=keep))
    except HedgerowError as error:
        raise HedgerowError(f"{error} (its files remain in {data})") from error
    shutil.rmtree(data)
    if not is_done:
        raise typer.Exit(128 + signal.SIGINT)


def _free_port() -> int:
    try:
        return check_port("127.0.0.1", _PREFERRED_PORT)
    except ConfigurationError:
        return 0


async def _demo(
    options: ClusterOptions,
    settings: Settings,
    console: Console,
    template: Template | None,
    *,
    keep: bool,
) -> bool:
    """Run the demo; returns whether it ran to its end."""
    started_at = time.monotonic()
    stopped = threading.Event()
    terminal = Terminal()
    story = Story(terminal, least="error")
    cluster = LocalCluster(options, settings, story.tell, template)
    pids: set[int] = set()
    is_done = False

    def stop() -> None:
        if stopped.is_set():
            cluster.supervisor.kill_all()
        stopped.set()

    with stop_on_signals(stop):
        async with _stopping(cluster, console, pids):
            console.print("[bold]1. A cluster of real processes on this machine[/]")
            with terminal.while_saying("starting it …"):
                await cluster.start()
            show_ready(terminal, cluster)
            story.is_live = True
            # Unverified: the certificate is for the names that clients use, not for this address.
            with Client(cluster.url, cluster.token, verify=False) as client:
                tale = DemoStory(console, client, stopped)
                try:
                    await asyncio.to_thread(tale.tell, _victim(cluster))
                    console.print(
                        f"\n[bold green]Every step did what it says[/], "
                        f"in {time.monotonic() - started_at:.0f} s."
                    )
                    is_done = True
                    if keep:
                        await _wait(console, cluster, stopped)
                except Interrupted:
                    console.print("\ninterrupted")
            story.is_live = False
    return is_done


@contextlib.asynccontextmanager
async def _stopping(cluster: LocalCluster, console: Console, pids: set[int]) -> AsyncIterator[None]:
    """Stop the cluster at the end of the block, and check that no process is left."""
    try:
        yield
    finally:
        pids.update(line.pid for line in cluster.processes() if line.pid is not None)
        console.print("stopping the cluster …")
        await cluster.stop()
        left = sorted(filter(is_running, pids))
        if left:
            raise HedgerowError(f"processes are left: {left}")
        console.print("stopped; no process is left")


def _victim(cluster: LocalCluster) -> Victim:
    name = cluster.workers[len(cluster.workers) // 2]

    def kill() -> int:
        child = cluster.supervisor.child(name)
        if child is None:
            raise HedgerowError(f"{name} died before it was to be killed")
        os.kill(child.pid, signal.SIGKILL)
        return child.pid

    return Victim(name, cluster.shards_of(name), kill)


async def _wait(console: Console, cluster: LocalCluster, stopped: threading.Event) -> None:
    console.print(
        f"The cluster stays up at [bold]{cluster.url}[/] until Ctrl-C: open that in a browser, or "
        "in another terminal:\n"
        f'  gateway query "read a csv file" --collection python-docs --url {cluster.url} --explain',
        soft_wrap=True,
    )
    await asyncio.to_thread(stopped.wait)
