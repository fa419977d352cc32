"""`gateway up`: runs a whole cluster on this machine, in the foreground."""

import asyncio
import signal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.lifecycle import stop_on_signals
from hedgerow.common.machine.descriptors import raise_descriptor_limit
from hedgerow.common.observability.telemetry import Throttle, configure_logging
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.gateway.access.control import OPEN_EVENT, OPEN_WARNING
from hedgerow.gateway.access.hosts import is_loopback
from hedgerow.gateway.cli.terminal import Style, Styled, Terminal
from hedgerow.gateway.local.cluster import LocalCluster
from hedgerow.gateway.local.cluster_options import ClusterOptions
from hedgerow.gateway.local.processes.start_watch import Waiting
from hedgerow.gateway.local.processes.supervisor import Died, Event, Said, Started, Stopped
from hedgerow.gateway.local.processes.template import Template
from hedgerow.gateway.local.programs import MODULES

_SAME_EVENT_S = 5.0


def up(
    shards: Annotated[
        int | None,
        typer.Option(
            min=1, help="Shards of a new cluster.", show_default="as in the folder, or by cores"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes.", show_default="by cores")
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Replicas of each shard, each served by a different worker.",
            show_default="as in the folder, or 1",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for all stored data.", show_default="hedgerow-data"
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address that the gateway binds.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port that the gateway binds; 0 for any.", show_default="8080"
        ),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Redis server.", show_default="an embedded Valkey"),
    ] = None,
    redis_nodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=16,
            help="Nodes of an embedded Valkey Cluster for queries and logs, to try one.",
            show_default="as in the folder, or none",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, help="Gateway processes that share the port.", show_default="1"
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run it on the nodes of this Ray cluster; `auto` for the one of this machine.",
            show_default="on this machine",
        ),
    ] = None,
    gateways: Annotated[
        int | None,
        typer.Option(
            min=0, help="With --ray: gateways, each on another node.", show_default="2, or 1"
        ),
    ] = None,
    worker_cpus: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="With --ray: CPUs that each worker reserves.",
            show_default="by the smallest node",
        ),
    ] = None,
) -> None:
    """Run a whole cluster on this machine: Redis, shard workers and the HTTP gateway."""
    settings = _with_processes(load_settings(), processes)
    if ray is not None:
        if redis_nodes:
            raise ConfigurationError(
                "--redis-nodes: is for a cluster on this machine, without --ray"
            )
        _on_ray().up_on_ray(
            settings,
            ray,
            data=data or settings.data,
            num_shards=shards,
            wanted=(workers, worker_cpus, gateways, replicas),
            host=host,
            port=port,
            redis_url=redis,
        )
        return
    for option, value in (("--gateways", gateways), ("--worker-cpus", worker_cpus)):
        if value is not None:
            raise ConfigurationError(f"{option}: is for a cluster on Ray (--ray)")
    options = ClusterOptions(
        data=data or settings.data,
        num_shards=shards,
        num_workers=workers,
        num_replicas=replicas,
        host=host or settings.gateway.host,
        port=settings.gateway.port if port is None else port,
        redis_url=redis or _named_server(settings.redis),
        redis_nodes=redis_nodes or 0,
    )
    if redis_nodes and options.redis_url is not None:
        raise ConfigurationError("--redis-nodes: starts nodes, but a server is named as well")
    with Template.started(MODULES) as template:
        configure_logging(settings.log_level, settings.log_format)
        raise_descriptor_limit()
        asyncio.run(_up(options, settings, Terminal(), template))


def _on_ray() -> Any:
    """Load the code for Ray.

    Raises:
        ConfigurationError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ConfigurationError(
            "--ray needs the extra ray, here and on all nodes: pip install 'hedgerow[ray]'"
        )
    return import_module("hedgerow.gateway.cli.up_on_ray")


def _named_server(redis: RedisSettings) -> str | None:
    """The URL of the settings, if they say that there are servers; None for an embedded one."""
    return redis.url if redis.sentinels or redis.is_split else None


def _with_processes(settings: Settings, processes: int | None) -> Settings:
    if processes is None:
        return settings
    gateway = settings.gateway.model_copy(update={"processes": processes})
    return settings.model_copy(update={"gateway": gateway})


async def _up(
    options: ClusterOptions, settings: Settings, terminal: Terminal, template: Template | None
) -> None:
    stopped = asyncio.Event()
    story = Story(terminal)
    cluster = LocalCluster(options, settings, story.tell, template)

    def stop() -> None:
        # A second signal means that the user will not wait for requests in flight.
        if stopped.is_set():
            cluster.supervisor.kill_all()
        stopped.set()

    # Closing a terminal sends SIGHUP.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop)
    with stop_on_signals(stop):
        try:
            with terminal.while_saying(f"starting a cluster in {options.data} …"):
                is_up = await unless_stopped(stopped, cluster)
            if is_up:
                terminal.say(str(cluster.sizing))
                show_ready(terminal, cluster)
                if cluster.is_open and not is_loopback(options.host):
                    terminal.say(open_warning())
                story.is_live = True
                await stopped.wait()
        finally:
            story.is_live = False
            runs = any(line.pid for line in cluster.processes())
            if runs:
                terminal.say("draining …")
            await cluster.stop()
            if runs:
                terminal.say("stopped; no process is left")


class Startable(Protocol):
    """A cluster."""

    async def start(self) -> None:
        """Start it; returns when it is ready."""


async def unless_stopped(stopped: asyncio.Event, cluster: Startable) -> bool:
    """Start the cluster, unless `stopped` is set before; returns whether it runs."""
    start = asyncio.create_task(cluster.start())
    stop = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            await start
            return True
        return False
    finally:
        start.cancel()
        stop.cancel()
        await asyncio.gather(start, stop, return_exceptions=True)


def open_warning() -> Styled:
    """The warning that a gateway which others can reach needs no key."""
    return Styled(f"{OPEN_WARNING[0].upper()}{OPEN_WARNING[1:]}.", Style.BOLD_RED)


def show_ready(terminal: Terminal, cluster: LocalCluster) -> None:
    """Show the processes, and the gateway's URL."""
    rows = [(line.name, str(line.pid or "-"), line.what) for line in cluster.processes()]
    terminal.table(("process", "pid", ""), rows)
    say_ready(terminal, cluster.url)


def say_ready(terminal: Terminal, url: str) -> None:
    """Say where a gateway answers."""
    terminal.say(
        Styled("ready", Style.BOLD_GREEN),
        " at ",
        Styled(url, Style.BOLD),
        f", in a browser too; its API at {url}/docs",
    )


class Story:
    """Prints the events of the processes, one line each.

    Args:
        terminal: takes the output.
        least: least severe level of the processes' log lines that are printed: warning or error.

    Attributes:
        is_live: whether the cluster runs; while it starts or stops, events are not printed.
    """

    def __init__(self, terminal: Terminal, least: Literal["warning", "error"] = "warning") -> None:
        self.is_live = False
        self._terminal = terminal
        self._least = least
        # When Redis goes away, every connection of every process logs it; once is enough here.
        self._throttle = Throttle(_SAME_EVENT_S)

    def tell(self, event: Event | Waiting) -> None:
        """Print an event, if it is worth a line."""
        match event:
            case Waiting(missing):
                self.say(Styled(f"still waiting for {missing}", Style.YELLOW))
            case Died(name, pid, how, restart_in_s) if self.is_live:
                who = f"{name} (pid {pid})" if pid else name
                self.say(Styled(f"{who} {how}", Style.RED), f"; again in {restart_in_s:.1f} s")
            case Started(name, pid, num_restarts) if self.is_live:
                what = Styled(f"{name} is back", Style.GREEN)
                self.say(what, f" (pid {pid}, restart {num_restarts})")
            case Said(_, "warning", _) if self._least == "error":
                pass
            case Said(_, _, text) if text.startswith(f"{OPEN_EVENT} "):
                pass  # the command says so itself, once for all gateways (`open_warning`)
            case Said(name, level, text) if self.is_live and self._is_new(text):
                style = Style.YELLOW if level == "warning" else Style.RED
                self.say(Styled(f"{name}: {text}", style))
            case Stopped(name, pid, _, is_overdue=True):
                late = f"{name} (pid {pid}) did not drain in time and was killed"
                self.say(Styled(late, Style.YELLOW))
            case Stopped(name, pid, "was killed by SIGKILL"):
                cut = f"{name} (pid {pid}) was killed before it had drained"
                self.say(Styled(cut, Style.YELLOW))
            case _:
                pass

    def say(self, *parts: str | Styled) -> None:
        """Print a line."""
        self._terminal.say(*parts)

    def _is_new(self, text: str) -> bool:
        return self._throttle.allows(text.partition(" ")[0], asyncio.get_running_loop().time())
