"""`gateway serve`: runs the HTTP gateway alone."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Annotated, NoReturn

import structlog
import typer
from starlette.types import ASGIApp

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.lifecycle import calm_collector, stop_on_signals, stop_with_parent
from hedgerow.common.machine.descriptors import raise_descriptor_limit
from hedgerow.common.observability.telemetry import configure_logging, keep_output_steady
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.access.key_file import path_of
from hedgerow.gateway.access.key_ring import KeyRing
from hedgerow.gateway.access.key_watch import KeyWatch
from hedgerow.gateway.cli.main import run_call
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.http.protocol.connection_policy import connections_within
from hedgerow.gateway.http.server.certificate import Certificate
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server import BACKLOG, HttpServer
from hedgerow.gateway.transport.wake_up_coalescing import CoalescingSelector

log = structlog.get_logger()


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to bind; the setting if not given.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to bind, 0 for any; the setting if not given."),
    ] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="Redis server; the setting if not given.")
    ] = None,
    num_shards: Annotated[
        int | None,
        typer.Option(min=1, help="Shards of the cluster; read from Redis if not given."),
    ] = None,
    parent_pipe: Annotated[
        int | None,
        typer.Option(metavar="FD", help="Drain and exit when this descriptor reads end of file."),
    ] = None,
) -> None:
    """Run the HTTP gateway alone."""
    settings = _settings(host, port, redis)
    keep_output_steady(settings.log_format)
    configure_logging(settings.log_level, settings.log_format)
    selector = CoalescingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(_serve(settings, num_shards, parent_pipe, selector))


def run_with(host: str, port: int, redis: str, parent_pipe: int) -> NoReturn:
    """Run the command without a command line, in a forked process; exits as the command does."""
    run_call(partial(serve, host=host, port=port, redis=redis, parent_pipe=parent_pipe))


def _settings(host: str | None, port: int | None, redis: str | None) -> Settings:
    """Read the settings; the command's options override them."""
    settings = load_settings()
    http = {"host": host, "port": port}
    gateway = settings.gateway.model_copy(
        update={name: value for name, value in http.items() if value is not None}
    )
    server = settings.redis.model_copy(update={"url": redis} if redis else {})
    return settings.model_copy(update={"gateway": gateway, "redis": server})


async def _serve(
    settings: Settings,
    num_shards: int | None,
    parent_pipe: int | None,
    selector: CoalescingSelector,
) -> None:
    stopped = asyncio.Event()
    http = settings.gateway
    ring = KeyRing()
    keys = KeyWatch(path_of(settings), ring)
    keys.load()
    access = AccessControl(http, ring, has_public_metrics=settings.metrics.public)
    if access.warning:
        log.warning("open_to_the_network", host=http.host, reason=access.warning)
    certificate = Certificate.of(http)
    with (
        stop_on_signals(stopped.set),
        stop_with_parent(parent_pipe, stopped.set),
        # Bound first, so that a port in use is found before anything else starts.
        contextlib.closing(listen(http.host, http.port)) as listener,
    ):
        async with (
            Gateway.connect(settings, num_shards, load_settings) as gateway,
            keys.running(on_change=gateway.keep_keys),
            certificate.running() if certificate else contextlib.nullcontext(),
        ):
            selector.sleep_s = gateway.coalescing_s
            asyncio.get_running_loop().set_exception_handler(gateway.shortages.on_loop_error)
            app = create_app(gateway, http, access)
            table = ConnectionTable(_within_descriptors(http), gateway.counters)
            calm_collector()
            await run_server(
                app,
                listener,
                http.drain_timeout_s,
                stopped,
                table,
                certificate,
                on_drain=gateway.live.close,  # streams of events would outlast it
            )
        # The gateway is closed here, after the last answer, since queries in flight need it.
    log.info("stopped")


def _within_descriptors(settings: ConnectionSettings) -> ConnectionSettings:
    """Lower the number of connections to what the process's descriptors allow."""
    max_descriptors = raise_descriptor_limit()
    max_connections = connections_within(settings.max_connections, max_descriptors)
    if max_connections < settings.max_connections:
        log.warning(
            "too_few_descriptors",
            max_descriptors=max_descriptors,
            max_connections=max_connections,
            wanted=settings.max_connections,
            hint="raise the hard limit of open files (ulimit -Hn, LimitNOFILE=)",
        )
    return settings.model_copy(update={"max_connections": max_connections})


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot bind {host} port {port}: {error.strerror}") from error
    # Accepted connections inherit it. asyncio sets it by itself only if the socket names TCP as
    # its protocol, which create_server does not: each answer would wait 40 ms for a delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def run_server(
    app: ASGIApp,
    listener: socket.socket,
    drain_timeout_s: float,
    stopped: asyncio.Event,
    table: ConnectionTable,
    certificate: Certificate | None = None,
    on_drain: Callable[[], None] = lambda: None,
) -> None:
    """Serve `app` until `stopped` is set, then finish what is in flight.

    Args:
        app: an ASGI application.
        listener: a bound socket, which is closed when the drain begins.
        drain_timeout_s: longest wait for requests in flight, in s.
        stopped: set by a signal, or when the parent ends.
        table: limits the connections.
        certificate: shown to clients; None to serve plain HTTP.
        on_drain: called when the drain begins.
    """
    server = HttpServer(app, table, certificate)
    await server.start(listener)
    host, port = listener.getsockname()[:2]
    scheme = "http" if certificate is None else "https"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    log.info("ready", url=url, pid=os.getpid())
    await stopped.wait()
    on_drain()
    log.info("draining", in_flight=server.num_in_flight)
    await server.drain(drain_timeout_s)
