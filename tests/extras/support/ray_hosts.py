"""Hosts that are nodes of Ray: containers on a network of their own, with a server beside them.

Each has an address, a host name, a file system and a /data of its own. They share a volume for
snapshots. The engine starts a node again that ends by itself, as docs/ray.md tells users to.
"""

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.containers.engine import IMAGES, docker, free_port
from tests.support.waiting import block_until

ROOT = Path(__file__).parents[3]
NUM_HOSTS = 3
NUM_DOCUMENTS = 100
BUILD_S = 600.0
PATIENCE_S = 240.0
EVERY_S = 0.25
_TOKEN = "a-token-of-the-hosts"
_HEAD = ["--head", "--port=6379", "--include-dashboard=false"]


@dataclass
class RayHosts:
    """The hosts, and `gateway up` on the first of them.

    Attributes:
        folder: for what `gateway up` prints.
        project: part of the names of everything that the engine has to remove.
        http: a client of the gateway on the first host.
        up: `gateway up`, once started.
    """

    folder: Path
    project: str = field(default_factory=lambda: f"hedgerow-ray-{secrets.token_hex(4)}")
    http: httpx.Client = field(init=False)
    up: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.port = free_port()
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {_TOKEN}"},
            timeout=20.0,
            trust_env=False,
        )

    # The containers

    def build(self) -> None:
        """Build the image as docs/ray.md says."""
        ours, with_ray = f"hedgerow:{self.project}", f"hedgerow-ray:{self.project}"
        docker("build", "--quiet", "--tag", ours, str(ROOT), timeout_s=BUILD_S)
        docker(
            "build",
            "--quiet",
            f"--tag={with_ray}",
            f"--build-arg=HEDGEROW_IMAGE={ours}",
            f"--file={ROOT / 'deploy' / 'ray' / 'Dockerfile'}",
            str(ROOT),
            timeout_s=BUILD_S,
        )

    def start(self) -> None:
        """Start all of them; returns when every host is a node of Ray."""
        docker("network", "create", self.project)
        docker("volume", "create", self.project)
        self._run("redis", IMAGES[0], "valkey-server", "--save", "", "--protected-mode", "no")
        self._start_node("host-0", [f"--publish=127.0.0.1:{self.port}:8080"], _HEAD)
        for number in range(1, NUM_HOSTS):
            self._start_node(f"host-{number}", [], ["--address=host-0:6379"])
        block_until(
            lambda: self.num_nodes() == NUM_HOSTS, PATIENCE_S, what="the nodes", every_s=EVERY_S
        )

    def _start_node(self, name: str, of_container: list[str], of_ray: list[str]) -> None:
        """Start a host, with these options of its container and of `ray start`."""
        container = [
            "--init",
            "--restart=always",
            "--shm-size=128m",
            f"--volume={self.project}:/snapshots",
            "--env=RAY_USAGE_STATS_ENABLED=0",
            "--env=RAY_AUTH_MODE=token",
            f"--env=RAY_AUTH_TOKEN={self.project}",
        ]
        image = f"hedgerow-ray:{self.project}"
        command = ["ray", "start", "--block", "--num-cpus=2", "--object-store-memory=80000000"]
        self._run(name, *container, *of_container, image, *command, *of_ray)

    def _run(self, name: str, *arguments: str) -> None:
        network = ("--network", self.project, "--network-alias", name)
        names = ("--name", self.container(name), "--hostname", name)
        docker("run", "--detach", *names, *network, *arguments)

    def container(self, name: str) -> str:
        """The name of a container: "redis", or "host-N"."""
        return f"{self.project}-{name}"

    def address(self, number: int) -> str:
        """The address of a host."""
        found = json.loads(docker("inspect", self.container(f"host-{number}")))[0]
        address: str = found["NetworkSettings"]["Networks"][self.project]["IPAddress"]
        return address

    def num_nodes(self) -> int:
        """How many live nodes the Ray cluster has; 0 while it does not answer."""
        try:
            status = self.execute(0, "ray", "status")
        except subprocess.CalledProcessError:
            return 0
        return status.partition("Pending:")[0].count("node_")

    def execute(self, number: int, *command: str) -> str:
        """Run a command on a host; returns what it prints."""
        environment = ("--env", f"HEDGEROW_GATEWAY__TOKEN={_TOKEN}")
        return docker("exec", *environment, self.container(f"host-{number}"), *command)

    def processes(self, number: int) -> list[str]:
        """The processes of Hedgerow on a host, and the actors."""
        lines = docker("top", self.container(f"host-{number}"), "-eo", "pid,args").splitlines()
        return [line for line in lines if "-m hedgerow." in line or "ray::RayProcesses" in line]

    def kill(self, number: int) -> None:
        """End a host without notice."""
        docker("kill", self.container(f"host-{number}"))

    def restart(self, number: int) -> None:
        """Start a host that was killed, with its file system."""
        docker("start", self.container(f"host-{number}"))

    def cut_off(self, number: int) -> None:
        """Take a host's network away."""
        docker("network", "disconnect", self.project, self.container(f"host-{number}"))

    def connect(self, number: int) -> None:
        """Give it back."""
        name = f"host-{number}"
        docker("network", "connect", "--alias", name, self.project, self.container(name))

    # The cluster

    def start_cluster(self) -> None:
        """Run `gateway up --ray` on the first host; returns when it is ready, with documents."""
        with (self.folder / "up.log").open("wb") as log:
            self.up = subprocess.Popen(
                [
                    "docker",
                    "exec",
                    f"--env=HEDGEROW_GATEWAY__TOKEN={_TOKEN}",
                    "--env=HEDGEROW_SNAPSHOTS__URL=/snapshots",
                    "--env=HEDGEROW_PLACEMENT__REPLACE_AFTER_S=3",
                    self.container("host-0"),
                    "sh",
                    "-c",
                    'echo $$ >/tmp/up.pid; exec gateway up "$@"',
                    "sh",
                    "--ray=auto",
                    "--redis=redis://redis:6379/0",
                    f"--gateways={NUM_HOSTS}",
                    "--shards=6",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        block_until(self._is_ready, PATIENCE_S, what="ready", every_s=EVERY_S)
        fields = {"fields": {"name": "text"}}
        self.http.put("/v1/collections/fruit", json=fields).raise_for_status()
        lines = "".join(
            json.dumps({"id": f"f{n}", "name": f"green fruit {n}"}) + "\n"
            for n in range(NUM_DOCUMENTS)
        )
        report = self.http.post("/v1/collections/fruit/documents", content=lines.encode())
        assert report.json()["accepted"] == NUM_DOCUMENTS, report.text
        self.until_whole(NUM_HOSTS)
        self.execute(0, "gateway", "snapshot", "create")  # which waits until they are complete

    @property
    def output(self) -> str:
        """What `gateway up` has printed."""
        return (self.folder / "up.log").read_text(encoding="utf-8")

    def _is_ready(self) -> bool:
        assert self.up is not None
        assert self.up.poll() is None, self.output
        return self.output.count("ready at ") == NUM_HOSTS

    def interrupt(self) -> int:
        """Have `gateway up` get what Ctrl-C sends; returns its exit status."""
        assert self.up is not None
        self.execute(0, "sh", "-c", "kill -INT $(cat /tmp/up.pid)")
        return self.up.wait(PATIENCE_S)

    def workers(self) -> set[str]:
        """The names of the workers that are live."""
        placement = self._placement()
        return {one["id"] for one in placement["workers"] if one["live"]}

    def until_whole(self, num_workers: int) -> None:
        """Wait until each shard has two replicas on this many workers, and answers are whole."""

        def is_whole() -> bool:
            try:
                placement, answer = self._placement(), self._search()
            except httpx.HTTPError:
                return False
            num_live = sum(one["live"] for one in placement["workers"])
            num_serving = [len(one["serving"]) for one in placement["shards"]]
            return (
                bool(placement["is_settled"])
                and num_live == num_workers
                and set(num_serving) == {2}
                and answer["coverage"]["is_full"]
                and answer["coverage"]["documents"] == NUM_DOCUMENTS
            )

        try:
            block_until(is_whole, PATIENCE_S, what=f"{num_workers} workers", every_s=EVERY_S)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self._placement()}\n{self.output}") from None

    def _placement(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/v1/placement").raise_for_status().json()
        return found

    def _search(self) -> dict[str, Any]:
        body = {"query": "green", "deadline_ms": 5000}
        answer = self.http.post("/v1/collections/fruit/search", json=body)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def remove(self) -> None:
        """Leave nothing behind."""
        self.http.close()
        names = [self.container(f"host-{number}") for number in range(NUM_HOSTS)]
        for command in (
            ("rm", "--force", "--volumes", *names, self.container("redis")),
            ("network", "rm", self.project),
            ("volume", "rm", self.project),
            ("image", "rm", "--force", f"hedgerow-ray:{self.project}", f"hedgerow:{self.project}"),
        ):
            subprocess.run(["docker", *command], capture_output=True, timeout=120, check=False)
        if self.up is not None:
            self.up.kill()
            self.up.wait(60)


@contextmanager
def running_hosts(folder: Path) -> Iterator[RayHosts]:
    """Hosts with a cluster for the block."""
    hosts = RayHosts(folder)
    try:
        hosts.build()
        hosts.start()
        hosts.start_cluster()
        yield hosts
    finally:
        hosts.remove()
