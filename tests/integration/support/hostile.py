"""A gateway process, raw connections to it that misbehave, and what they cost the gateway."""

import contextlib
import os
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.commands import serve_command
from tests.support.launching import Process, launch
from tests.support.waiting import block_until

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@dataclass
class GatewayProcess:
    """A running `gateway serve`.

    Attributes:
        process: the process.
        port: where it listens, on 127.0.0.1.
        log: the file that its log goes to.
    """

    process: Process
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory_mb(self) -> float:
        """How much memory it has, in MB."""
        return self._status_mb("VmRSS")

    @property
    def peak_memory_mb(self) -> float:
        """The most memory that it has had, in MB."""
        return self._status_mb("VmHWM")

    def _status_mb(self, name: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1000

    @property
    def num_descriptors(self) -> int:
        """How many file descriptors it has."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def counters(self) -> dict[str, int]:
        """What it has counted."""
        counters: dict[str, int] = httpx.get(f"{self.url}/v1/status", timeout=60).json()["gateway"][
            "counters"
        ]
        return counters

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


@contextlib.contextmanager
def gateway_process(
    redis: str,
    prefix: str,
    folder: Path,
    *,
    max_descriptors: int | None = None,
    **settings: Any,
) -> Iterator[GatewayProcess]:
    """Run `gateway serve` with `settings` of the group `gateway`."""
    log = folder / "gateway.log"
    environment = {
        **os.environ,
        "HEDGEROW_REDIS__KEY_PREFIX": prefix,
        **{f"HEDGEROW_GATEWAY__{name.upper()}": str(value) for name, value in settings.items()},
    }

    limits = {} if max_descriptors is None else {resource.RLIMIT_NOFILE: (max_descriptors,) * 2}
    with log.open("wb") as written:
        process = launch(serve_command(redis, 1), stderr=written, env=environment, limits=limits)
    try:
        yield GatewayProcess(process, _port(process, log), log)
    finally:
        process.kill()
        process.wait(60)


def _port(process: Process, log: Path) -> int:
    found: list[bytes] = []

    def is_ready() -> bool:
        assert process.poll() is None, f"it has ended: {log.read_text()}"
        found[:] = re.findall(rb"ready\s.*url=http://127\.0\.0\.1:(\d+)", log.read_bytes())
        return bool(found)

    block_until(is_ready, what="the gateway is ready")
    return int(found[0])


@dataclass
class NormalClient:
    """A client that asks every 50 ms, in turn on a lasting connection and on a new one.

    Attributes:
        num_answered: how many requests were answered.
        failed: what went wrong instead.
        has_asked: set once it has asked on both.
    """

    url: str
    num_answered: int = 0
    failed: list[str] = field(default_factory=list)
    has_asked: threading.Event = field(default_factory=threading.Event)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until the end, and once more after it."""
        with httpx.Client(timeout=60) as client:
            is_over = False
            while not is_over:
                is_over = self._is_over.wait(0.05)
                self._ask(client.get)
                self._ask(httpx.get)
                self.has_asked.set()

    def _ask(self, get: Any) -> None:
        try:
            status = get(f"{self.url}/healthz").status_code
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return
        if status == 200:
            self.num_answered += 1
        else:
            self.failed.append(str(status))

    def wait_until_answered(self) -> None:
        """Wait until it has asked once more, on both connections."""
        wanted = self.num_answered + 2
        block_until(lambda: self.num_answered >= wanted or bool(self.failed), what="its answers")
        assert self.failed == [], self.failed

    def end(self) -> None:
        """Ask no more."""
        self._is_over.set()


@contextlib.contextmanager
def normal_client(gateway: GatewayProcess) -> Iterator[NormalClient]:
    """A normal client beside what the block does; all that it asks must be answered."""
    client = NormalClient(gateway.url)
    thread = threading.Thread(target=client.run)
    thread.start()
    try:
        client.has_asked.wait()
        yield client
    finally:
        client.end()
        thread.join()
    assert client.failed == [], client.failed


def read_response(connection: socket.socket) -> tuple[int, bytes]:
    """The status and the body of the response after which the connection is closed."""
    received = b""
    while data := connection.recv(65_536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


def send_all(connection: socket.socket, data: bytes, seconds: float) -> int:
    """Send for some seconds, or until the other end takes no more; return how much was taken."""
    connection.settimeout(1.0)
    num_sent = 0
    until = time.monotonic() + seconds
    view = memoryview(data)
    while num_sent < len(data) and time.monotonic() < until:
        try:
            num_sent += connection.send(view[num_sent : num_sent + 262_144])
        except OSError:
            break
    connection.settimeout(60.0)
    return num_sent
