"""A cluster whose processes are of this version and of the one before."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hedgerow.gateway.client import Client, calls
from tests.integration.support.previous_version import environment
from tests.support.commands import serve_command
from tests.support.launching import Process, launch
from tests.support.servers import RedisServer, temporary_server
from tests.support.waiting import block_until

Version = Literal["previous", "present"]
VERSIONS: tuple[Version, ...] = ("previous", "present")
NUM_SHARDS = 2
START_TIMEOUT_S = 60.0
FAST = {
    "HEDGEROW_WORKER__SCORERS": "1",
    "HEDGEROW_WORKER__HEARTBEAT_INTERVAL_S": "0.2",
    "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "1.0",
    "HEDGEROW_GATEWAY__MEMBERSHIP_POLL_S": "0.2",
}


@dataclass
class MixedCluster:
    """Gateways and workers over one server; each worker serves every shard.

    Attributes:
        site: where the package of the version before is.
        environment: what all processes have in theirs.
    """

    server: RedisServer
    site: Path
    environment: dict[str, str]
    workers: dict[str, Process] = field(default_factory=dict)
    gateways: list[Process] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        return self.server.folder

    def data(self, worker: str) -> Path:
        """The data folder of a worker."""
        return self.folder / f"data-{worker}"

    def start_worker(self, name: str, version: Version, *, joins: bool = False) -> None:
        """Start a worker, which serves every shard or joins; it may not serve yet afterwards."""
        command = [sys.executable, "-m", "hedgerow.shard_worker.main", "--id", name]
        command += ["--join"] if joins else ["--shards", f"0-{NUM_SHARDS - 1}"]
        command += ["--num-shards", str(NUM_SHARDS), "--redis", self.server.url]
        command += ["--data", str(self.data(name))]
        self.workers[name] = self._start(command, version, f"{name}.log")

    def stop_worker(self, name: str) -> None:
        """Drain a worker."""
        process = self.workers.pop(name)
        process.terminate()
        process.wait(START_TIMEOUT_S)

    def lose_worker(self, name: str) -> None:
        """Drain a worker, and remove its data folder."""
        self.stop_worker(name)
        shutil.rmtree(self.data(name))

    @contextmanager
    def gateway(self, version: Version) -> Iterator[Client]:
        """Start a gateway, and ask it in the block."""
        log = f"gateway-{len(self.gateways)}.log"
        command = serve_command(self.server.url, NUM_SHARDS)
        self.gateways.append(self._start(command, version, log))

        def url() -> str:
            assert self.gateways[-1].poll() is None, (self.folder / log).read_text()
            found = re.search(r"ready\s.*url=(\S+)", (self.folder / log).read_text())
            return found[1] if found else ""

        block_until(lambda: bool(url()), START_TIMEOUT_S, what="the gateway is ready")
        with Client(url()) as client:
            yield client

    def stop(self) -> None:
        """End all processes."""
        processes = [*self.workers.values(), *self.gateways]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(START_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(START_TIMEOUT_S)

    def _start(self, command: list[str], version: Version, log: str) -> Process:
        site = self.site if version == "previous" else None
        with (self.folder / log).open("ab") as stderr:
            return launch(
                command,
                by_exec=version == "previous",  # a launch pad has imported the present one
                cwd=self.folder,  # `python -m` imports from there first
                env={**environment(site), **FAST, **self.environment},
                stderr=stderr,
            )


@contextmanager
def mixed_cluster(site: Path, **settings: str) -> Iterator[MixedCluster]:
    """A cluster without processes yet, over a server of its own; all end with the block."""
    with temporary_server() as server:
        cluster = MixedCluster(server, site, settings)
        try:
            yield cluster
        finally:
            cluster.stop()


def status(client: Client) -> dict[str, Any]:
    """The state of the cluster; not typed, since a gateway of the version before reports less."""
    found: dict[str, Any] = client.exchange(calls.status()).json()
    return found


def wait_for_workers(client: Client, *names: str) -> None:
    """Wait until exactly these workers serve every shard, as a gateway sees it."""

    def are_there() -> bool:
        shards = status(client)["shards"]
        return all(sorted(shard["workers"]) == sorted(names) for shard in shards)

    block_until(are_there, START_TIMEOUT_S, what=f"{names} serve", every_s=0.05)
