"""`gateway up --ray`: runs a whole cluster on the nodes of a Ray cluster, in the foreground."""

import asyncio
import signal
from pathlib import Path

from hedgerow.common.lifecycle import stop_on_signals
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.common.settings.settings import Settings, settings_file
from hedgerow.gateway.access.control import token_of
from hedgerow.gateway.access.hosts import is_loopback
from hedgerow.gateway.access.key_file import path_of
from hedgerow.gateway.cli.terminal import Style, Styled, Terminal
from hedgerow.gateway.cli.up import Story, open_warning, say_ready, unless_stopped
from hedgerow.gateway.local.processes.supervisor import Started
from hedgerow.gateway.ray.cluster import Back, Lost, RayCluster, RayEvent, RayOptions
from hedgerow.gateway.ray.engine import Engine
from hedgerow.gateway.ray.nodes import Wanted

_NO_SNAPSHOTS = (
    "snapshots.url is not set: a shard whose documents were lost with a node is not copied to "
    "another node"
)


def up_on_ray(
    settings: Settings,
    address: str,
    *,
    data: Path,
    num_shards: int | None,
    wanted: tuple[int | None, float | None, int | None, int | None],
    host: str | None,
    port: int | None,
    redis_url: str | None,
) -> None:
    """Run a cluster until a signal; all but the settings is as on the command line.

    Args:
        settings: the settings of this process.
        address: of the Ray cluster.
        data: the folder on each node.
        num_shards: shards of a new cluster.
        wanted: workers, the CPUs of each, gateways, and replicas of each shard.
        host: the address that gateways bind; None for the setting, or that of their node.
        port: the port that gateways bind; None for the setting.
        redis_url: the Redis server; None for the setting, or an embedded one.

    Raises:
        ConfigurationError: there is no such Ray cluster, or it does not fit the options.
        UnavailableError: a process died while starting, or took too long.
    """
    http, redis = settings.gateway, settings.redis
    is_named = redis.is_split or bool(redis.sentinels) or "url" in redis.model_fields_set
    options = RayOptions(
        address=address,
        data=data,
        num_shards=num_shards,
        wanted=Wanted(*wanted),
        host=host or (http.host if "host" in http.model_fields_set else ""),
        port=http.port if port is None else port,
        redis_url=redis_url or (redis.url if is_named else None),
    )
    # Before the event loop, whose handlers of signals replace Ray's.
    engine = Engine(options.address)
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(_up(engine, options, settings, Terminal()))


async def _up(engine: Engine, options: RayOptions, settings: Settings, terminal: Terminal) -> None:
    stopped = asyncio.Event()
    story = RayStory(terminal)
    path = settings_file()
    sent = path.read_text(encoding="utf-8") if path.is_file() else ""
    cluster = RayCluster(engine, options, settings, sent, story.tell_of_ray)

    def stop() -> None:
        # A second signal means that the user will not wait for requests in flight.
        if stopped.is_set():
            cluster.kill_all()
        stopped.set()

    # Closing a terminal sends SIGHUP.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop)
    with stop_on_signals(stop):
        try:
            with terminal.while_saying(f"starting a cluster on Ray ({options.address}) …"):
                is_up = await unless_stopped(stopped, cluster)
            if is_up:
                show_ready_on_ray(terminal, cluster)
                if not settings.snapshots.url:
                    terminal.say(Styled(_NO_SNAPSHOTS, Style.YELLOW))
                is_open = token_of(settings.gateway) is None and not path_of(settings).exists()
                if is_open and not is_loopback(options.host):
                    terminal.say(open_warning())
                story.is_live = True
                await stopped.wait()
        finally:
            story.is_live = False
            runs = bool(cluster.reports())
            if runs:
                terminal.say("draining …")
            await cluster.stop()
            if runs:
                terminal.say("stopped; no actor is left")


def show_ready_on_ray(terminal: Terminal, cluster: RayCluster) -> None:
    """Show the actors, their nodes and the gateways' URLs."""
    terminal.say(f"{cluster.plan}, for {cluster.num_shards} shards")
    rows = []
    for name, report in cluster.reports():
        if report is None:
            rows.append((name, "-", "-", ""))
            continue
        pids = ", ".join(map(str, report.pids.values())) or "-"
        node = f"{report.place.zone} ({report.place.address})"
        rows.append((name, node, pids, report.url or report.folder))
    terminal.table(("actor", "node", "pid", ""), rows)
    for url in cluster.urls:
        say_ready(terminal, url)


class RayStory(Story):
    """Prints the events of the actors and of their processes, a line each."""

    def tell_of_ray(self, event: RayEvent) -> None:
        """Print an event, if it is worth a line."""
        match event:
            case Lost(name, place) if self.is_live:
                silent = f"{name} on the node {place.zone} ({place.address}) does not answer"
                self.say(Styled(silent, Style.RED), "; if it is lost, Ray starts it again")
            case Back(name, report) if self.is_live:
                place = report.place
                where = f" at {report.url}" if report.url else ""
                self.say(
                    Styled(f"{name} is back", Style.GREEN),
                    f" on the node {place.zone} ({place.address}){where}",
                )
            case Lost() | Back() | Started(num_restarts=0):  # the last comes with `Back`
                pass
            case _:
                self.tell(event)
