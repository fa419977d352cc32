"""A real Valkey Cluster on this machine, and a server beside it for the control plane."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from bench.harness.ports import free_ports
from bench.harness.sentinels import Node, Tls, wait_until
from hedgerow.common.redis.cluster_view import read_nodes
from hedgerow.common.redis.hash_slots import NUM_HASH_SLOTS, hash_slot, tags
from hedgerow.common.settings.redis import RedisSettings

NODE_TIMEOUT_MS = 1000  # without an answer for this long, a node counts as failing
_START_TIMEOUT_S = 30.0
_MIGRATE_TIMEOUT_MS = 5000
_ERRORS = (redis.RedisError, OSError)


@dataclass
class RedisCluster:
    """The nodes of a cluster, and a plain server.

    Attributes:
        num_nodes: how many nodes share the hash slots.
        num_replicas: how many replicas each of them has.
        num_slots: over how many hash slots Hedgerow's shards are spread.
        tls: None if all of them speak plainly.
        control: the plain server.
        nodes: all nodes; the first `num_nodes` have the slots at the start.
    """

    folder: Path
    num_nodes: int = 3
    num_replicas: int = 0
    num_slots: int = 3
    tls: Tls | None = None
    control: Node = field(init=False)
    nodes: list[Node] = field(default_factory=list)

    @property
    def control_url(self) -> str:
        """The URL of the plain server."""
        return f"{self._scheme}://{self.control.address}/0"

    @property
    def _scheme(self) -> str:
        return "redis" if self.tls is None else "rediss"

    def settings(self, **changes: Any) -> RedisSettings:
        """The settings of a client."""
        return RedisSettings(
            **{
                "url": f"{self._scheme}:///0",
                "tls_ca_file": None if self.tls is None else str(self.tls.ca),
                "cluster_nodes": [str(node.address) for node in self.nodes],
                "cluster_slots": self.num_slots,
                "control_url": self.control_url,
                "reconnect_max_s": 0.3,
                **changes,
            }
        )

    @property
    def environment(self) -> dict[str, str]:
        """The same, as variables."""
        ca = {} if self.tls is None else {"HEDGEROW_REDIS__TLS_CA_FILE": str(self.tls.ca)}
        return {
            **ca,
            "HEDGEROW_REDIS__URL": f"{self._scheme}:///0",
            "HEDGEROW_REDIS__CLUSTER_NODES": json.dumps([str(one.address) for one in self.nodes]),
            "HEDGEROW_REDIS__CLUSTER_SLOTS": str(self.num_slots),
            "HEDGEROW_REDIS__CONTROL_URL": self.control_url,
            "HEDGEROW_REDIS__RECONNECT_MAX_S": "0.3",
        }

    @property
    def pids(self) -> list[int]:
        """The processes of all servers that are up."""
        servers = [*self.nodes, self.control]
        return [one.process.pid for one in servers if one.process is not None]

    def start(self) -> None:
        """Start everything; returns when all nodes agree on who has which slot."""
        num_all = self.num_nodes * (1 + self.num_replicas)
        control, *ports = free_ports(1 + 2 * num_all)
        self.control = Node(self.folder, control, self.tls)
        self.control.start(*self._options(control))
        self.nodes = [Node(self.folder, port, self.tls) for port in ports[:num_all]]
        for node, bus in zip(self.nodes, ports[num_all:], strict=True):
            self.start_node(node, bus)
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if node is not first:
                # With the bus's port, which is not the usual one.
                first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, ports[num_all + number])
        for number in range(self.num_nodes):
            begin, end = (NUM_HASH_SLOTS * at // self.num_nodes for at in (number, number + 1))
            self.nodes[number].ask("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        wait_until(self._know_each_other, _START_TIMEOUT_S, what="the nodes know each other")
        for number, node in enumerate(self.nodes[self.num_nodes :]):
            node.ask("CLUSTER", "REPLICATE", self.id_of(self.nodes[number % self.num_nodes]))
        wait_until(self.is_whole, _START_TIMEOUT_S, what="the cluster is whole")

    def start_node(self, node: Node, bus_port: int | None = None) -> None:
        """Start a node, also one that was killed; it knows the others from its file."""
        cluster = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            f"nodes-{node.port}.conf",
            "--cluster-node-timeout",
            str(NODE_TIMEOUT_MS),
            "--cluster-port",
            str(bus_port or self._buses[node.port]),
            "--cluster-require-full-coverage",
            "no",
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
        ]
        if self.tls is not None:
            cluster += ["--tls-cluster", "yes"]
        if bus_port is not None:
            self._buses[node.port] = bus_port
        node.start(*self._options(node.port), *cluster)

    def stop(self) -> None:
        """End everything."""
        for node in [*self.nodes, self.control]:
            node.kill()

    def id_of(self, node: Node) -> str:
        """A node's name in the cluster."""
        name: bytes = node.ask("CLUSTER", "MYID")
        return name.decode()

    def owner(self, slot: int, without: Node | None = None) -> Node:
        """The node that has one of Hedgerow's slots (from 0), by the newest that any node knows.

        `without` is not asked.
        """
        number = self.hash_slot(slot)
        best = None
        for node in self.nodes:
            if node is without:
                continue
            with contextlib.suppress(*_ERRORS):
                for report in read_nodes(node.ask("CLUSTER", "NODES").decode(), node.address):
                    is_its = report.is_primary and report.has(number)
                    if is_its and (best is None or report.epoch > best.epoch):
                        best = report
        assert best is not None, f"no node has hash slot {number}"
        return next(node for node in self.nodes if node.address == best.address)

    def primaries(self) -> list[Node]:
        """The nodes that have hash slots, in a cluster that is whole."""
        reports = read_nodes(self.nodes[0].ask("CLUSTER", "NODES").decode(), self.nodes[0].address)
        addresses = {one.address for one in reports if one.is_primary}
        return [node for node in self.nodes if node.address in addresses]

    def hash_slot(self, slot: int) -> int:
        """Which of the 16384 slots that is."""
        return hash_slot(f"{{{tags(self.num_slots)[slot]}}}")

    def is_whole(self) -> bool:
        """Whether every node is up, and all agree who has which slot."""
        views = set()
        for node in self.nodes:
            try:
                info = node.ask("CLUSTER", "INFO").decode()
                text = node.ask("CLUSTER", "NODES").decode()
                role = node.ask("ROLE")
            except _ERRORS:
                return False
            if "cluster_state:ok" not in info or "fail" in text:
                return False
            if role[0] == b"slave" and role[3] != b"connected":
                return False
            reports = read_nodes(text, node.address)
            views.add(tuple(sorted((one.address, one.is_primary, one.ranges) for one in reports)))
        return len(views) == 1

    def move(self, slot: int, to: Node) -> None:
        """Move one of Hedgerow's slots (from 0) to another node, key by key, as redis-cli does."""
        number, source = self.hash_slot(slot), self.owner(slot)
        self.begin_move(slot, to)
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", number, 10):
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, _MIGRATE_TIMEOUT_MS, "KEYS", *keys)
        self.end_move(slot, to)

    def begin_move(self, slot: int, to: Node) -> None:
        """Have a slot's owner send who asks for a missing key to another node (ASK)."""
        number, source = self.hash_slot(slot), self.owner(slot)
        to.ask("CLUSTER", "SETSLOT", number, "IMPORTING", self.id_of(source))
        source.ask("CLUSTER", "SETSLOT", number, "MIGRATING", self.id_of(to))

    def end_move(self, slot: int, to: Node) -> None:
        """Make a node the owner of a slot, whose keys it has."""
        number, name, source = self.hash_slot(slot), self.id_of(to), self.owner(slot)
        for node in (to, source, *self.nodes):
            with contextlib.suppress(redis.ResponseError):  # replicas may not be asked
                node.ask("CLUSTER", "SETSLOT", number, "NODE", name)

    def _know_each_other(self) -> bool:
        try:
            infos = [node.ask("CLUSTER", "INFO").decode() for node in self.nodes]
        except _ERRORS:
            return False
        known = f"cluster_known_nodes:{len(self.nodes)}"
        return all("cluster_state:ok" in info and known in info for info in infos)

    def __post_init__(self) -> None:
        self._buses: dict[int, int] = {}

    def _options(self, port: int) -> list[str]:
        ports = {"port": str(port)} if self.tls is None else self.tls.options(port)
        return [
            *(word for name, value in ports.items() for word in (f"--{name}", value)),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--dbfilename",
            f"{port}.rdb",
            "--save",
            "",
            "--loglevel",
            "warning",
        ]


@contextlib.contextmanager
def running_redis_cluster(
    num_nodes: int = 3, num_replicas: int = 0, num_slots: int = 3, tls: Tls | None = None
) -> Iterator[RedisCluster]:
    """A cluster and the server beside it, for the block; they are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-nodes-") as folder:
        cluster = RedisCluster(Path(folder), num_nodes, num_replicas, num_slots, tls)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
