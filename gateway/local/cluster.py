"""A whole cluster on this machine: Redis, the workers and the HTTP gateway, as processes."""

import asyncio
import hashlib
import os
import secrets
import socket
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from hedgerow.common.errors import ConfigurationError, HedgerowError, RedisUnavailableError
from hedgerow.common.machine.private_folder import make_private
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.kept_layout import read_layout
from hedgerow.common.state.layout import FIRST, Layout, LayoutStore, current_keys
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.access import key_file
from hedgerow.gateway.access.control import token_of
from hedgerow.gateway.client import AsyncClient, calls
from hedgerow.gateway.http.server.certificate import Certificate
from hedgerow.gateway.local import replica_folders
from hedgerow.gateway.local.cluster_options import ClusterOptions
from hedgerow.gateway.local.cluster_redis import ClusterRedis
from hedgerow.gateway.local.cluster_size import size_cluster
from hedgerow.gateway.local.gateway_group import check_can_share
from hedgerow.gateway.local.locks import check_port, hold_port, lock_folder, url_of
from hedgerow.gateway.local.own_placement import OwnPlacement
from hedgerow.gateway.local.placement import place
from hedgerow.gateway.local.processes.child import Program
from hedgerow.gateway.local.processes.start_watch import StartWatch, Waiting
from hedgerow.gateway.local.processes.supervisor import Event, Supervisor
from hedgerow.gateway.local.processes.template import Template
from hedgerow.gateway.local.programs import (
    DRAIN_MARGIN_S,
    DRAIN_PARTS,
    JSON_LOGS,
    gateway_programs,
    worker_program,
)
from hedgerow.gateway.local.refused_start import RefusedStart
from hedgerow.gateway.local.sizing import Sizing

_START_TIMEOUT_S = 60.0

log = structlog.get_logger()


class ProcessLine(NamedTuple):
    """A process of the cluster, as shown to people; `pid` is None while it is down."""

    name: str
    pid: int | None
    what: str


class LocalCluster:
    """Starts, watches and stops the processes of a cluster.

    Args:
        options: what to run.
        settings: the settings of this process; the children read the same ones.
        on_event: called on the loop for each event of a child.
        template: forks the workers and the gateway; None to start them by exec.

    Attributes:
        url: the gateway's URL; set once started.
        token: with which this process authenticates to the gateway; None if it needs none.
        sizing: what runs on this machine, and why; set once started.
    """

    def __init__(
        self,
        options: ClusterOptions,
        settings: Settings,
        on_event: Callable[[Event | Waiting], None],
        template: Template | None = None,
    ) -> None:
        self.url = ""
        self._options = options
        self._settings = settings
        self._on_event = on_event
        self._data = options.data.resolve()
        self._keys_file = settings.gateway.keys_file or self._data / key_file.FILE_NAME
        self.token = self._token()
        self.sizing: Sizing | None = None
        self._shards: dict[str, list[int]] = {}
        self._homes: dict[str, Path] = {}
        self._layout = FIRST
        self._placement: OwnPlacement | None = None  # None if the workers are pinned
        self._gateways: list[str] = []
        self._control: RedisClient | None = None
        self._registry: Registry | None = None
        self._lock = -1
        self._port_holder: socket.socket | None = None
        self._refused_start: RefusedStart | None = None  # until the start is over
        self.supervisor = Supervisor(
            self._data, options.restart, self._note, self._on_death, template
        )
        snapshots = settings.snapshots  # empty workers restore them before they are live
        self._starting = StartWatch(
            self.supervisor,
            self._data / "logs",
            _START_TIMEOUT_S + (snapshots.timeout_s if snapshots.url else 0.0),
            on_event,
        )
        self._redis = ClusterRedis(options, settings, self._data, self.supervisor, self._starting)

    @property
    def redis_url(self) -> str:
        """The Redis server's URL; set once started."""
        return self._redis.url

    async def start(self) -> None:
        """Start everything; returns once every worker is live and the gateway is ready.

        Raises:
            ConfigurationError: the port or the folder is in use, or the options do not fit the
                folder's contents. Call `stop` to end what was started before.
            UnavailableError: a process died while starting, or took too long; says which.
        """
        check_can_share(self._settings.gateway)
        certificate = Certificate.of(self._settings.gateway)  # which the gateway process reads too
        port = self._lock_folder_and_port()
        scheme = "http" if certificate is None else "https"
        self.url = url_of(self._options.host, port, scheme)
        await self._redis.start()
        self._control = control = await self._redis.join()
        self.sizing = size = await self._size(control)
        if self._options.redis_url is not None:
            self._refused_start = None  # from here on, workers may store others' documents
        elif self._refused_start is not None:
            self._refused_start.keeps_logs = True
        await self._forget(*self._shards)
        await self._starting.or_death(
            self.supervisor.start(*self._worker_programs(size.num_shards))
        )
        if size.num_replicas > 1:
            # Until the logs know every replica, they drop entries that the known ones have
            # applied: a document loaded before would be missing in a replica that comes later.
            # Workers that join are alive before they hold a shard.
            silent = self._unplaced if self._placement else partial(self._silent, control)
            await self._starting.wait_until_there("the workers", silent)
        gateways = self._gateway_programs(port)
        self._gateways = [program.name for program in gateways]
        await self._starting.or_death(self.supervisor.start(*gateways))
        await self._wait_until_ready()
        self._refused_start = None

    async def stop(self) -> None:
        """Drain in order; returns when no process is left."""
        # The gateway stops first, so that no query is sent to stopping workers. Then the workers,
        # which need Redis until they have answered and recorded their position. Redis stops last,
        # when there are no more writes, so that its file is complete.
        for tier in (self._gateways, list(self._shards)):
            await self.supervisor.stop(tier)
        await self._redis.stop_tending()
        is_refused = self._refused_start is not None and await self._is_empty()
        if self._control is not None:
            await self._control.close()
        await self.supervisor.close()
        self._redis.close()
        if self._refused_start is not None and is_refused:
            await asyncio.to_thread(self._refused_start.undo)
            self._refused_start = None
        if self._port_holder is not None:
            self._port_holder.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _is_empty(self) -> bool:
        """Whether nothing was stored: the gateway may have answered before the start was over."""
        if self._registry is None:
            return True
        try:
            return not await self._registry.collections()
        except RedisUnavailableError:
            return False

    def processes(self) -> list[ProcessLine]:
        """The processes, in the order of their start."""
        what = {
            **self._redis.lines(),
            **{
                name: "shards " + ", ".join(map(str, shards))
                for name, shards in self._shards.items()
            },
            **dict.fromkeys(self._gateways, self.url),
        }
        lines = []
        for name, text in what.items():
            child = self.supervisor.child(name)
            lines.append(ProcessLine(name, child.pid if child is not None else None, text))
        return lines

    def shards_of(self, worker: str) -> list[int]:
        """The shards with which a worker starts."""
        return self._shards[worker]

    @property
    def is_open(self) -> bool:
        """Whether the gateway needs no authentication: there is neither a token nor a key file."""
        return self.token is None

    @property
    def workers(self) -> list[str]:
        """The workers' names."""
        return list(self._shards)

    # Starting

    def _token(self) -> str | None:
        """The token of the settings; if there are only keys, one for these two processes."""
        token = token_of(self._settings.gateway)
        if token is None and self._keys_file.exists():
            return secrets.token_urlsafe()
        return token

    def _lock_folder_and_port(self) -> int:
        """Lock the folder and check the port; if the port is in use, no new folder is left."""
        if self._data.is_dir():  # report its holder rather than the port's
            self._lock = lock_folder(self._data)
        port = check_port(self._options.host, self._options.port)
        self._port_holder = hold_port(self._options.host, port)
        self._refused_start = RefusedStart(self._data)
        make_private(self._data)
        if self._lock < 0:
            self._lock = lock_folder(self._data)
        return port

    async def _size(self, control: RedisClient) -> Sizing:
        """Decide which worker serves which shards, and move these into the workers' folders."""
        keys = Keys.of(self._redis.settings)
        folders = await asyncio.to_thread(replica_folders.worker_folders, self._data)
        await read_layout(LayoutStore(control, keys), folders)  # Redis may have lost it
        keys = await current_keys(control, keys)
        self._registry = Registry(control, keys)
        self._layout = Layout(keys.layout, 0)
        find = replica_folders.find_replicas
        found = await asyncio.to_thread(find, self._data, self._layout)
        # On a server that other machines use too, each of them serves all shards by itself.
        own = OwnPlacement(control, keys) if self._options.redis_url is None else None
        placed = await own.num_replicas() if own is not None else None
        size = await size_cluster(
            self._options.asked, self._settings, found, self._registry, placed
        )
        self._homes = {
            self._worker_name(number): replica_folders.home_of(
                self._data, number, size.num_replicas
            )
            for number in range(size.num_workers)
        }
        if own is not None and size.num_replicas > 1:
            self._placement = own
            stored = {
                name: replica_folders.shards_in(found, self._layout.data(home))
                for name, home in self._homes.items()
            }
            served = await own.decide(size.num_shards, size.num_replicas, stored)
        else:
            served = place(size.num_shards, size.num_workers, size.num_replicas)
        self._shards = dict(zip(self._homes, served, strict=True))
        await self._settle(found, size.num_shards, ShardLog(control, keys))
        if self._placement is not None:
            await self._placement.keep()
        elif own is not None:
            await own.clear()
        return size

    async def _settle(
        self, found: list[replica_folders.ReplicaFolder], num_shards: int, shard_log: ShardLog
    ) -> None:
        homes: dict[int, list[Path]] = {shard: [] for shard in range(num_shards)}
        for name, shards in self._shards.items():
            for shard in shards:
                homes[shard].append(self._layout.data(self._homes[name]))
        data = self._layout.data(self._data)
        await replica_folders.settle(found, homes, data, shard_log, self._drain_s)

    def _worker_name(self, number: int) -> str:
        if self._options.redis_url is None:
            return f"worker-{number}"
        # On a shared server, names must differ between machines, and between folders of one.
        folder = hashlib.blake2s(os.fsencode(self._data), digest_size=3).hexdigest()
        return f"{socket.gethostname()}-{folder}-worker-{number}"

    @property
    def _drain_s(self) -> float:
        return DRAIN_PARTS * self._settings.worker.drain_timeout_s + DRAIN_MARGIN_S

    def _worker_programs(self, num_shards: int) -> list[Program]:
        environment = {
            **self._environment(),
            "HEDGEROW_WORKER__WORKERS_ON_HOST": str(len(self._shards)),
            **self._placement_settings(),
        }
        return [
            worker_program(
                name,
                None if self._placement else shards,
                num_shards,
                self._homes[name],
                self.redis_url,
                self._drain_s,
                environment,
            )
            for name, shards in self._shards.items()
        ]

    def _environment(self) -> dict[str, str]:
        """Variables of all workers and gateways."""
        return {**self._options.environment, **self._redis.environment}

    def _placement_settings(self) -> dict[str, str]:
        if self._placement is None or self.sizing is None:
            return {}
        return {"HEDGEROW_PLACEMENT__REPLICAS": str(self.sizing.num_replicas)}

    def _gateway_programs(self, port: int) -> list[Program]:
        environment = {
            **self._environment(),
            **self._placement_settings(),
            **JSON_LOGS,
            "HEDGEROW_GATEWAY__KEYS_FILE": str(self._keys_file),
        }
        if self.token is not None:
            # Not as an argument, which other users could see.
            environment["HEDGEROW_GATEWAY__TOKEN"] = self.token
        return gateway_programs(
            self._settings.gateway, self._options.host, port, self.redis_url, environment
        )

    async def _wait_until_ready(self) -> None:
        # Unverified: the certificate is for the names that clients use, not for this address.
        async with AsyncClient(self.url, self.token, verify=False) as client:
            missing = partial(self._missing, client)
            await self._starting.wait_until_there("the workers", missing)

    async def _missing(self, client: AsyncClient) -> str:
        try:
            # Not a StatusAnswer: on a shared server, other hosts' workers may be of any version.
            status = (await client.exchange(calls.status())).json()
            is_ready = await client.is_ready()
        except HedgerowError:
            return "the gateway"
        late = self._late({worker["pid"] for worker in status["workers"]})
        if not late and len(self._gateways) > 1:
            host = socket.gethostname()
            here = {one["pid"] for one in status["gateways"] if one["host"] == host}
            late = ", ".join(name for name in self._gateways if self._pid(name) not in here)
        return late or ("" if is_ready else "the gateway")

    async def _silent(self, control: RedisClient) -> str:
        """Name the workers without a heartbeat."""
        keys = await current_keys(control, Keys.of(self._redis.settings))
        registry = Registry(control, keys)
        beats = await registry.heartbeats()  # of other hosts too, whose pids mean nothing here
        return self._late({beat.pid for name, beat in beats.items() if name in self._shards})

    async def _unplaced(self) -> str:
        """Name the workers that do not hold their shards yet."""
        lacking = {} if self._placement is None else await self._placement.lacking(self._shards)
        return ", ".join(f"{name} ({why})" if why else name for name, why in lacking.items())

    def _late(self, live: Collection[int | None]) -> str:
        return ", ".join(name for name in self._shards if self._pid(name) not in live)

    def _pid(self, name: str) -> int | None:
        child = self.supervisor.child(name)
        return child.pid if child is not None else None

    # Running

    def _note(self, event: Event) -> None:
        self._starting.on_event(event)
        self._on_event(event)

    async def _on_death(self, name: str) -> None:
        if name in self._shards and self._options.announces_deaths:
            await self._forget(name)

    async def _forget(self, *workers: str) -> None:
        """Delete dead workers' heartbeats, so that the gateway stops asking them at once."""
        if self._control is None or self._registry is None:
            return
        for name in workers:
            try:
                # The shards may have been split since the start.
                keys = await current_keys(self._control, Keys.of(self._redis.settings))
                await Registry(self._control, keys).forget_worker(name)
            except (RedisUnavailableError, ConfigurationError) as error:
                # The heartbeat will expire by itself, a little later.
                log.warning("forget_worker_failed", worker=name, reason=str(error))
