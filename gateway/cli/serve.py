"""`gateway serve`: runs the HTTP gateway alone, in one process or in several."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NoReturn, Protocol

import structlog
import typer
from starlette.types import ASGIApp

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.lifecycle import calm_collector, stop_on_signals, stop_with_parent
from hedgerow.common.machine.descriptors import raise_descriptor_limit
from hedgerow.common.machine.shared_pages import release_files
from hedgerow.common.observability.telemetry import configure_logging, keep_output_steady
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.gateway.access.control import OPEN_EVENT, AccessControl
from hedgerow.gateway.access.key_file import path_of
from hedgerow.gateway.access.key_ring import KeyRing
from hedgerow.gateway.access.key_watch import KeyWatch
from hedgerow.gateway.cli.main import run_call
from hedgerow.gateway.cli.serve_several import serve_several
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.http.protocol.connection_policy import connections_within
from hedgerow.gateway.http.server.certificate import Certificate
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server import BACKLOG, HttpServer
from hedgerow.gateway.local.gateway_group import check_can_share
from hedgerow.gateway.operations.presence import ProcessPlace
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
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Gateway processes that share the port; the setting if not given.",
        ),
    ] = None,
    process: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="K",
            help="Be process K of them, counted from 0, and start no others.",
        ),
    ] = None,
    parent_pipe: Annotated[
        int | None,
        typer.Option(metavar="FD", help="Drain and exit when this descriptor reads end of file."),
    ] = None,
) -> None:
    """Run the HTTP gateway alone."""
    settings = _settings(host, port, redis, processes)
    if process is None and settings.gateway.processes > 1:
        serve_several(settings, num_shards, redis, parent_pipe)
        return
    place = _place(settings.gateway, process or 0)
    keep_output_steady(settings.log_format)
    configure_logging(settings.log_level, settings.log_format)
    selector = CoalescingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(_serve(settings, num_shards, place, parent_pipe, selector))


def run_with(
    host: str,
    port: int,
    processes: int,
    process: int,
    parent_pipe: int,
    redis: str | None = None,
    num_shards: int | None = None,
) -> NoReturn:
    """Run the command without a command line, in a forked process; exits as the command does."""
    run_call(
        partial(
            serve,
            host=host,
            port=port,
            redis=redis,
            num_shards=num_shards,
            processes=processes,
            process=process,
            parent_pipe=parent_pipe,
        )
    )


def _settings(
    host: str | None, port: int | None, redis: str | None, processes: int | None
) -> Settings:
    """Read the settings; the command's options override them."""
    settings = load_settings()
    http = {"host": host, "port": port, "processes": processes}
    gateway = settings.gateway.model_copy(
        update={name: value for name, value in http.items() if value is not None}
    )
    server = settings.redis.model_copy(update={"url": redis} if redis else {})
    return settings.model_copy(update={"gateway": gateway, "redis": server})


def _place(settings: GatewaySettings, number: int) -> ProcessPlace:
    """Return which process this is.

    Raises:
        ConfigurationError: there are not as many.
    """
    check_can_share(settings)
    if number >= settings.processes:
        raise ConfigurationError(
            f"--process: {number} is not one of {settings.processes}, counted from 0"
        )
    has_port = settings.processes > 1 and settings.process_port is not None
    return ProcessPlace(
        number, settings.processes, (settings.process_port or 0) + number if has_port else 0
    )


async def _serve(
    settings: Settings,
    num_shards: int | None,
    place: ProcessPlace,
    parent_pipe: int | None,
    selector: CoalescingSelector,
) -> None:
    signalled = asyncio.Event()
    http = settings.gateway
    ring = KeyRing(place.of)
    keys = KeyWatch(path_of(settings), ring)
    keys.load()
    access = AccessControl(http, ring, has_public_metrics=settings.metrics.public)
    if access.warning:
        log.warning(OPEN_EVENT, host=http.host, reason=access.warning)
    certificate = Certificate.of(http)
    with (
        stop_on_signals(signalled.set),
        stop_with_parent(parent_pipe, signalled.set),
        # Bound first, so that a port in use is found before anything else starts.
        contextlib.closing(listen(http.host, http.port, is_shared=place.of > 1)) as listener,
        contextlib.ExitStack() as opened,
    ):
        own = listen(http.host, place.port) if place.port else None
        if own is not None:
            opened.callback(own.close)
        async with (
            Gateway.connect(settings, num_shards, load_settings, place) as gateway,
            keys.running(on_change=gateway.keep_keys),
            certificate.running() if certificate else contextlib.nullcontext(),
        ):
            selector.sleep_s = gateway.coalescing_s
            asyncio.get_running_loop().set_exception_handler(gateway.shortages.on_loop_error)
            app = create_app(gateway, http, access)
            table = ConnectionTable(_within_descriptors(http), gateway.counters)
            calm_collector()
            release_files()  # of what only the start has read
            await run_server(
                app,
                listener,
                http.drain_timeout_s,
                Departure(signalled, gateway.leave, http.drain_delay_s),
                table,
                certificate,
                on_drain=gateway.live.close,  # streams of events would outlast it
                own_listener=own,
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


class Waitable(Protocol):
    """Something to wait for, such as an event."""

    async def wait(self) -> Any:
        """Wait until it is so."""


class Departure:
    """What comes between the signal to stop and the drain."""

    def __init__(self, signalled: asyncio.Event, leave: Callable[[], None], delay_s: float) -> None:
        """Call `leave` when `signalled` is set; the drain begins `delay_s` later."""
        self._signalled = signalled
        self._leave = leave
        self._delay_s = delay_s

    async def wait(self) -> None:
        """Wait until the drain may begin."""
        await self._signalled.wait()
        self._leave()
        if self._delay_s:
            log.info("leaving", drain_in_s=self._delay_s)
            await asyncio.sleep(self._delay_s)


def listen(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Bind and listen.

    Args:
        host: the address.
        port: 0 for any free one.
        is_shared: whether other processes listen at the same port too. Then it is only bound:
            Linux would give it connections before this process is ready to serve them.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = (
            _bound_to_share((host, port), family)
            if is_shared
            else socket.create_server((host, port), family=family, backlog=BACKLOG)
        )
    except OSError as error:
        raise ConfigurationError(f"cannot bind {host} port {port}: {error.strerror}") from error
    # Accepted connections inherit it. asyncio sets it by itself only if the socket names TCP as
    # its protocol, which create_server does not: each answer would wait 40 ms for a delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _bound_to_share(address: tuple[str, int], family: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as create_server does
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


async def run_server(
    app: ASGIApp,
    listener: socket.socket,
    drain_timeout_s: float,
    stopped: Waitable,
    table: ConnectionTable,
    certificate: Certificate | None = None,
    on_drain: Callable[[], None] = lambda: None,
    own_listener: socket.socket | None = None,
) -> None:
    """Serve `app` until it is to stop, then finish what is in flight.

    Args:
        app: an ASGI application.
        listener: a bound socket, which is closed when the drain begins.
        drain_timeout_s: longest wait for requests in flight, in s.
        stopped: awaited: a signal, or the end of the parent.
        table: limits the connections.
        certificate: shown to clients; None to serve plain HTTP.
        on_drain: called when the drain begins.
        own_listener: another such socket, for this process alone, if it shares `listener`'s port.
    """
    server = HttpServer(app, table, certificate)
    if own_listener is not None:
        await server.start(own_listener)
        log.info("own_port", port=own_listener.getsockname()[1], pid=os.getpid())
    await server.start(listener)
    host, port = listener.getsockname()[:2]
    scheme = "http" if certificate is None else "https"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    log.info("ready", url=url, pid=os.getpid())
    await stopped.wait()
    on_drain()
    log.info("draining", in_flight=server.num_in_flight)
    await server.drain(drain_timeout_s)
