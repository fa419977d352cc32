"""`gateway serve --processes N`: supervises several gateway processes that share a port."""

import asyncio

import structlog

from hedgerow.common.lifecycle import stop_on_signals, stop_with_parent
from hedgerow.common.observability.telemetry import configure_logging, keep_output_steady
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.local.gateway_group import GatewayGroup
from hedgerow.gateway.local.processes.supervisor import Died, Event, Started, Stopped
from hedgerow.gateway.local.processes.template import Template
from hedgerow.gateway.local.programs import GATEWAY_MODULES

log = structlog.get_logger()


def serve_several(
    settings: Settings, num_shards: int | None, redis: str | None, parent_pipe: int | None
) -> None:
    """Run as many gateway processes as the settings say, until a signal.

    Args:
        settings: those of the command line included.
        num_shards: shards of the cluster; None to read the number from Redis.
        redis: the server that the command line names; None without.
        parent_pipe: a descriptor that reads end of file when the parent has ended; None without.
    """
    with Template.started(GATEWAY_MODULES) as template:
        keep_output_steady(settings.log_format)
        configure_logging(settings.log_level, settings.log_format)
        asyncio.run(_supervise(settings, num_shards, redis, parent_pipe, template))


async def _supervise(
    settings: Settings,
    num_shards: int | None,
    redis: str | None,
    parent_pipe: int | None,
    template: Template | None,
) -> None:
    stopped = asyncio.Event()
    group = GatewayGroup(settings, num_shards, redis, _log, template)

    def stop() -> None:
        # A second signal means that the user will not wait for requests in flight.
        if stopped.is_set():
            group.supervisor.kill_all()
        stopped.set()

    with stop_on_signals(stop), stop_with_parent(parent_pipe, stop):
        start = asyncio.create_task(group.start())
        stopping = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({start, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                await start
                log.info("all_ready", processes=settings.gateway.processes)
                await stopping
        finally:
            start.cancel()
            stopping.cancel()
            await asyncio.gather(start, stopping, return_exceptions=True)
            await group.stop()
    log.info("all_stopped")


def _log(event: Event) -> None:
    match event:
        case Died(name, pid, how, restart_in_s):
            log.error("process_died", process=name, pid=pid, how=how, again_in_s=restart_in_s)
        case Started(name, pid, num_restarts) if num_restarts:
            log.info("process_restarted", process=name, pid=pid, restarts=num_restarts)
        case Stopped(name, pid, how, is_overdue=True):
            log.error("process_killed", process=name, pid=pid, how=how)
