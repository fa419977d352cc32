"""The cluster of compose.yaml under a name, a port and a password of its own."""

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from hedgerow.gateway.local.placement import place
from tests.containers.engine import docker, free_port
from tests.support.waiting import block_until

ROOT = Path(__file__).parents[2]
WORKERS = {f"worker-{number}": tuple(shards) for number, shards in enumerate(place(8, 4, 2))}
SERVICES = ("redis", "gateway", *WORKERS)
UP_TIMEOUT_S = 400.0


class ComposeCluster:
    """A running cluster, seen from outside: by HTTP and by the engine.

    Attributes:
        http: a client of the published gateway.
    """

    def __init__(self, password: str) -> None:
        self.project = f"hedgerow-test-{secrets.token_hex(4)}"
        self.port = free_port()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self._environment = {
            **os.environ,
            "HEDGEROW_REDIS_PASSWORD": password,
            "HEDGEROW_PORT": str(self.port),
            "HEDGEROW_BIND": "127.0.0.1",
            "HEDGEROW_TAG": self.project,
        }
        self._files: tuple[str, ...] = ("compose.yaml",)

    def compose(self, *args: str, timeout_s: float = 60.0) -> str:
        """Run a command of Compose's and return what it prints."""
        files = [part for file in self._files for part in ("--file", file)]
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.project, *files, *args],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"compose {' '.join(args)}:\n{done.stderr[-3000:]}"
        return done.stdout

    def up(self, *overrides: str, options: tuple[str, ...] = ()) -> None:
        """Build and start as `make up` does, and wait until all are healthy.

        Args:
            overrides: further compose files, which users would name compose.override.yaml.
            options: further options of `docker compose up`.
        """
        self._files = ("compose.yaml", *overrides)
        try:
            self.compose("up", "--build", "--detach", "--wait", *options, timeout_s=UP_TIMEOUT_S)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail', '20')}") from error

    @contextmanager
    def with_variables(self, *services: str, override: str, **variables: str) -> Iterator[None]:
        """Run services with variables as from a shell or .env, and at the end without them again.

        Args:
            services: those that are started again.
            override: one more compose file, for the block.
            variables: the shell's.
        """
        before = self._environment, self._files
        self._environment = {**self._environment, **variables}
        self._files = (*self._files, override)
        try:
            self.compose("up", "--detach", "--wait", *services, timeout_s=UP_TIMEOUT_S)
            yield
        finally:
            self._environment, self._files = before
            self.compose("up", "--detach", "--wait", *services, timeout_s=UP_TIMEOUT_S)

    def remove(self) -> None:
        """Leave nothing behind, volumes and image included."""
        self.http.close()
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        docker("image", "rm", "--force", f"hedgerow:{self.project}")

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"{self.project}-{service}-1"

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine says of a service's container."""
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.container(service)))
        return found[0]

    def starts(self) -> dict[str, str]:
        """Service → when its container was last started: changes with each restart."""
        return {service: self.inspect(service)["State"]["StartedAt"] for service in SERVICES}

    def execute(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside a service's container, as its user."""
        return subprocess.run(
            ["docker", "exec", self.container(service), *command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def crash(self, service: str) -> None:
        """Kill the service's process from inside: unlike `docker kill`, the engine restarts it."""
        self.execute(service, "sh", "-c", "kill -KILL $(cat /proc/1/task/1/children)")

    def search(self, query: str, **body: object) -> httpx.Response:
        """Search the collection `fruit`."""
        return self.http.post("/v1/collections/fruit/search", json={"query": query, **body})

    def whole_answer(self, query: str, **body: object) -> dict[str, Any]:
        """Ask until the answer is whole, and return it.

        A worker that has just lost Redis may be missed once more after the first whole answer: its
        last heartbeat is still there when the server is back, and the next comes when it has
        connected again.
        """
        found: list[httpx.Response] = []

        def is_whole() -> bool:
            found.append(self.search(query, deadline_ms=5000, **body))
            return found[-1].status_code == 200 and found[-1].json()["coverage"]["is_full"]

        self.until(is_whole, "a whole answer")
        answer: dict[str, Any] = found[-1].json()
        return answer

    def until(self, is_true: Callable[[], bool], what: str, timeout_s: float = 90.0) -> None:
        """Wait until `is_true` says so; fail, with status and logs, if that takes too long."""
        try:
            block_until(is_true, timeout_s, what=what, every_s=0.1)
        except TimeoutError as error:
            logs = self.compose("logs", "--no-color", "--tail", "12")
            status = self.http.get("/v1/status").text
            raise AssertionError(f"{error}\n{status}\n{logs}") from None

    def is_whole(self) -> bool:
        """Whether every shard answers a query in time."""
        try:
            found = self.search("fruit", deadline_ms=2000, k=1)
        except httpx.TransportError:
            return False
        return found.status_code == 200 and bool(found.json()["coverage"]["is_full"])


@contextmanager
def running_cluster(password: str) -> Iterator[ComposeCluster]:
    """Start a cluster, and remove every trace of it at the end of the block."""
    cluster = ComposeCluster(password)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.remove()
