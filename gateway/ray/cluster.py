"""A whole cluster on the nodes of Ray: starts its workers and gateways, watches them, ends them."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from hedgerow.common import __version__
from hedgerow.common.errors import ConfigurationError, UnavailableError
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.gateways import GatewayStore
from hedgerow.common.state.layout import current_keys
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.local.cluster_size import settle_shards
from hedgerow.gateway.local.gateway_group import check_can_share
from hedgerow.gateway.local.processes.supervisor import Died, Event
from hedgerow.gateway.local.programs import DRAIN_MARGIN_S, DRAIN_PARTS
from hedgerow.gateway.ray.engine import Actor, Engine
from hedgerow.gateway.ray.node_processes import Report
from hedgerow.gateway.ray.nodes import GATEWAY_CPUS, NodePlan, Wanted, plan_for_nodes
from hedgerow.gateway.ray.orders import Order, Place, check_reachable, sent_environment
from hedgerow.gateway.ray.own_redis import OwnRedis
from hedgerow.gateway.ray.programs import GATEWAY, WORKER

_START_S: Final = 60.0
_PLACE_S: Final = 30.0
_POLL_S: Final = 0.25
_WATCH_S: Final = 1.0
_CLOSE_S: Final = 30.0
_UNKNOWN_S: Final = 2.0  # for an actor that does not answer
_LIVE_S: Final = 5.0  # without a heartbeat, after which a worker counts as lost here

log = structlog.get_logger()


class Lost(NamedTuple):
    """An actor no longer answers; Ray restarts it if it has ended."""

    name: str
    place: Place


class Back(NamedTuple):
    """An actor has been restarted, on this node or another one."""

    name: str
    report: Report


RayEvent = Event | Lost | Back


@dataclass(frozen=True, slots=True)
class RayOptions:
    """What to run.

    Attributes:
        address: of the Ray cluster.
        data: the folder on each node for all stored data.
        num_shards: None for as many as the cluster has; for a new one, by the CPUs.
        wanted: the numbers of what runs on the nodes.
        host: the address that each gateway binds; "" for that of its node.
        port: the port that each gateway binds; 0 for any free one.
        redis_url: the server to use; None for an embedded one.
    """

    address: str
    data: Path
    num_shards: int | None
    wanted: Wanted
    host: str
    port: int
    redis_url: str | None


@dataclass(slots=True)
class _Watched:
    """An actor, and what is known of it."""

    name: str
    actor: Actor
    report: Report | None = None
    is_lost: bool = False


class RayCluster:
    """Starts, watches and stops the actors of a cluster.

    Args:
        engine: a connection to the Ray cluster.
        options: what to run.
        settings: the settings of this process, which are sent to the nodes.
        settings_file: the text of the settings file that they were read from; "" without one.
        on_event: called on the loop for each event of an actor or of its processes.

    Attributes:
        plan: what runs on the nodes; set once started.
        num_shards: shards of the cluster; set once started.
        redis_url: the Redis server's URL; set once started.
    """

    def __init__(
        self,
        engine: Engine,
        options: RayOptions,
        settings: Settings,
        settings_file: str,
        on_event: Callable[[RayEvent], None],
    ) -> None:
        self.plan: NodePlan | None = None
        self.num_shards = 0
        self.redis_url = options.redis_url or ""
        self._engine = engine
        self._options = options
        self._settings = settings
        self._settings_file = settings_file
        self._on_event = on_event
        self._redis: OwnRedis | None = None
        self._control: RedisClient | None = None
        self._workers: list[_Watched] = []
        self._gateways: list[_Watched] = []
        self._watch: asyncio.Task[None] | None = None
        self._keys = Keys.of(settings.redis)

    async def start(self) -> None:
        """Start everything; returns once every shard is served and the gateways are ready.

        Raises:
            ConfigurationError: the nodes, the Redis server or the options do not fit each other.
                Call `stop` to end what was started before.
            UnavailableError: a process died while starting, or took too long; says which.
        """
        check_can_share(self._settings.gateway)
        nodes = await asyncio.to_thread(self._engine.nodes)
        self.plan = plan = plan_for_nodes(nodes, self._options.wanted)
        if self._options.redis_url is not None:
            for url in self._named_urls(self._options.redis_url):
                check_reachable(url, nodes, socket.gethostname())
        else:
            await self._start_redis([node.host for node in nodes])
        control = self._control = await connect(
            self._settings.redis.model_copy(update={"url": self.redis_url})
        )
        if self._redis is not None:
            self._redis.keep(control, self._keys)
        keys = await current_keys(control, self._keys)
        registry = Registry(control, keys)
        self.num_shards, _ = await settle_shards(
            registry, self._options.num_shards, 0, plan.num_shards
        )
        store = PlacementStore(control, keys)
        plan = self.plan = replace(plan, num_replicas=await self._settle_replicas(plan, store))
        self._workers = await self._started(WORKER, plan.num_workers, plan.worker_cpus)
        await self._wait_for("the workers", lambda: self._missing_workers(registry))
        # Until the logs know every replica, they drop entries that the known ones have applied.
        await self._wait_until_placed(registry, store)
        if plan.num_gateways:
            self._gateways = await self._started(GATEWAY, plan.num_gateways, GATEWAY_CPUS)
            await self._wait_for("the gateways", lambda: self._missing_gateways(control))
        self._watch = asyncio.create_task(self._keep_watching(), name="watch the actors")

    async def stop(self) -> None:
        """Drain in order; returns when no actor is left."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        # As on one machine: no query is sent to stopping workers, and these still need Redis.
        http = self._settings.gateway
        gateway_s = http.drain_delay_s + DRAIN_PARTS * http.drain_timeout_s + DRAIN_MARGIN_S
        for tier, drain_s in ((self._gateways, gateway_s), (self._workers, self._drain_s)):
            await asyncio.gather(*(self._stop(one, drain_s) for one in tier))
        await self._close_engine()
        if self._redis is not None:
            await self._redis.rest()
        if self._control is not None:
            await self._control.close()
        if self._redis is not None:
            await self._redis.stop()

    def kill_all(self) -> None:
        """Kill all processes of the actors, if the user will not wait; `stop` still ends these."""
        for one in (*self._gateways, *self._workers):
            one.actor.kill()

    def reports(self) -> list[tuple[str, Report | None]]:
        """The name and the last report of each actor, in the order of their start."""
        return [(one.name, one.report) for one in (*self._workers, *self._gateways)]

    @property
    def urls(self) -> list[str]:
        """Where the gateways answer."""
        return [one.report.url for one in self._gateways if one.report is not None]

    # Starting

    def _named_urls(self, redis_url: str) -> list[str]:
        """The URLs of servers, of which there may be others that only sentinels or nodes know."""
        redis = self._settings.redis
        urls = [] if redis.sentinels or redis.cluster_nodes else [redis_url]
        return urls if redis.control_url is None else [*urls, redis.control_url]

    async def _start_redis(self, hosts: Sequence[str]) -> None:
        if len({socket.gethostname(), *hosts}) > 1:
            raise ConfigurationError(
                f"redis.url: the nodes of Ray are on {len(set(hosts))} machines, and the embedded "
                "server is reached from one alone; name a server that all of them reach, with "
                "--redis"
            )
        if self._settings.redis.password or self._settings.redis.username:
            raise ConfigurationError(
                "redis.password: the embedded server takes none; name a server with --redis"
            )
        self._redis = OwnRedis(self._options.data.resolve(), self._settings.storage, self._on_event)
        self.redis_url = self._redis.url
        await self._redis.start()

    async def _settle_replicas(self, plan: NodePlan, store: PlacementStore) -> int:
        """Decide how many replicas each shard should have: all workers must agree on that."""
        if self._options.wanted.num_replicas is None:
            present = await store.read()
            if present is not None:
                return present.replicas
            if "replicas" in self._settings.placement.model_fields_set:
                return self._settings.placement.replicas
        return plan.num_replicas

    async def _started(self, kind: str, number: int, cpus: float) -> list[_Watched]:
        names = [f"{kind}-{one}" for one in range(number)]
        actors = await asyncio.to_thread(
            self._engine.start,
            names,
            cpus,
            self._order(kind),
            is_apart=kind == GATEWAY,
            timeout_s=_START_S,
        )
        return [_Watched(*one) for one in zip(names, actors, strict=True)]

    def _order(self, kind: str) -> Order:
        assert self.plan is not None  # noqa: S101 - set before anything is started
        settings = self._settings
        environment = {
            **sent_environment(os.environ),
            "HEDGEROW_REDIS__URL": self.redis_url,
            "HEDGEROW_PLACEMENT__REPLICAS": str(self.plan.num_replicas),
            "HEDGEROW_GATEWAY__PROCESSES": str(settings.gateway.processes),
        }
        if kind == WORKER:
            environment["HEDGEROW_WORKER__CAPACITY"] = f"{self.plan.worker_cpus:g}"
            environment["HEDGEROW_WORKER__SCORERS"] = str(
                settings.worker.scorers or self.plan.scorers
            )
        return Order(
            kind=kind,
            version=__version__,
            data=str(self._options.data.resolve()),
            environment=environment,
            file=self._settings_file,
            drain_s=self._drain_s,
            gateway=settings.gateway,
            host=self._options.host,
            port=self._options.port,
        )

    @property
    def _drain_s(self) -> float:
        return DRAIN_PARTS * self._settings.worker.drain_timeout_s + DRAIN_MARGIN_S

    async def _wait_for(self, what: str, missing: Callable[[], Awaitable[str]]) -> None:
        """Wait until nothing is missing.

        Args:
            what: is awaited, for the message if `missing` does not return in time.
            missing: returns what is missing, in words; "" if nothing is.

        Raises:
            UnavailableError: an actor's processes do not start, or something is still missing.
        """
        snapshots = self._settings.snapshots  # which empty workers may restore before they are live
        timeout_s = _START_S + (snapshots.timeout_s if snapshots.url else 0.0)
        try:
            async with asyncio.timeout(timeout_s):
                while what:
                    await self._look(is_starting=True)
                    what = await missing()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise UnavailableError(f"after {timeout_s:g} s there is no sign of {what}") from None

    async def _missing_workers(self, registry: Registry) -> str:
        live = await registry.live_heartbeats(_LIVE_S)
        return ", ".join(
            one.name
            for one in self._workers
            if one.report is None
            or (beat := live.get(one.report.worker)) is None
            or beat.pid not in one.report.pids.values()
        )

    async def _missing_gateways(self, control: RedisClient) -> str:
        live = {
            (one.host, one.pid)
            for one in await GatewayStore(control, self._keys).live(await control.now_ms())
        }
        return ", ".join(
            one.name
            for one in self._gateways
            if one.report is None
            or not one.report.pids
            or not {(one.report.place.host, pid) for pid in one.report.pids.values()} <= live
        )

    async def _wait_until_placed(self, registry: Registry, store: PlacementStore) -> None:
        """Wait until each shard has its replicas, if that does not take too long."""
        unserved: list[int] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PLACE_S):
                while True:
                    unserved = await self._short_of_replicas(registry, store)
                    if not unserved:
                        return
                    await asyncio.sleep(_POLL_S)
        # As after a restart with fewer nodes: the placement goes on, and coverage tells.
        log.warning("shards_lack_replicas", shards=unserved, hint="`gateway placement` says why")

    async def _short_of_replicas(self, registry: Registry, store: PlacementStore) -> list[int]:
        assert self.plan is not None  # noqa: S101 - as above
        beats = (await registry.live_heartbeats(_LIVE_S)).values()
        joined = sum(beat.joins for beat in beats)
        wanted = min(self.plan.num_replicas, joined)
        placement = await store.read()
        serving = [sum(shard in beat.shards for beat in beats) for shard in range(self.num_shards)]
        if placement is None:
            return list(range(self.num_shards))
        return [shard for shard, number in enumerate(serving) if number < wanted]

    # Running

    async def _keep_watching(self) -> None:
        while True:
            await self._look(is_starting=False)
            await asyncio.sleep(_WATCH_S)

    async def _look(self, *, is_starting: bool) -> None:
        """Read the reports of all actors, and pass on what has happened.

        Raises:
            UnavailableError: at the start, the processes of an actor do not start.
        """
        watched = [*self._workers, *self._gateways]
        reports = await asyncio.gather(*(one.actor.report(one.report) for one in watched))
        for one, report in zip(watched, reports, strict=True):
            if report is not None and is_starting:
                _check_start(one.name, report)
            self._note(one, report)

    def _note(self, one: _Watched, report: Report | None) -> None:
        before = one.report
        if report is None:
            if before is not None and not one.is_lost:
                one.is_lost = True
                self._on_event(Lost(one.name, before.place))
            return
        if before is not None and (one.is_lost or report.life != before.life) and report.pids:
            self._on_event(Back(one.name, report))
            one.is_lost = False
        for event in report.events:
            self._on_event(event._replace(name=_named(one.name, event.name)))
        one.report = report

    async def _stop(self, one: _Watched, drain_s: float) -> None:
        is_there = one.report is not None and not one.is_lost
        if not await one.actor.stop(drain_s if is_there else _UNKNOWN_S) and is_there:
            log.warning("actor_not_stopped", actor=one.name)

    async def _close_engine(self) -> None:
        # In a thread that may be left behind: without a head, Ray waits for long.
        closing = threading.Thread(target=self._engine.close, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSE_S)
        if closing.is_alive():
            log.warning("ray_does_not_answer", hint="it ends the actors once its head is back")


def _check_start(name: str, report: Report) -> None:
    where = f"{name}, on the node {report.place.host} ({report.place.address})"
    if report.trouble:
        raise UnavailableError(f"{where}: {report.trouble}")
    for event in report.events:
        if isinstance(event, Died):
            words = report.last_words.get(event.name) or "nothing"
            raise UnavailableError(
                f"{where} {event.how} while starting; its last log line: {words} (its log is "
                f"{Path(report.folder) / 'logs' / event.name}.log on that node)"
            )


def _named(actor: str, process: str) -> str:
    """The name of a process in messages: the actor's, with the process's if it has several."""
    number = process.rpartition("-")[2]
    return f"{actor}.{number}" if number.isdigit() else actor
