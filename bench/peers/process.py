"""A peer as the driver sees it: a tree of processes that is started, paused, loaded and ended."""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness.environment import interpreter_of
from bench.harness.family import Family
from bench.harness.load import Load
from bench.harness.pipe import launch, receive
from bench.harness.processes import CpuMeter, num_wakeups
from bench.harness.server import Server, run_server
from bench.peers.catalogue import Peer
from bench.peers.figures import Usage

REQUIREMENTS = Path(__file__).parent / "requirements"
ENVIRONMENTS = Path(__file__).parents[2] / ".bench-peers"  # git-ignored
_START_TIMEOUT_S = 120.0
_PATIENCE_S = 20.0  # beyond the length of a load, and for an end
_MOST_LINE_BYTES = 2**26  # of a load's latencies


class PeerError(Exception):
    """A peer does not start, does not answer, or has ended; says why."""


@dataclass(slots=True)
class PeerProcess:
    """A running peer.

    Attributes:
        versions: package → version.
        settings: name, value and reason of what was tuned.
    """

    _process: asyncio.subprocess.Process
    _server: Server
    _errors: Path
    versions: dict[str, str] = field(default_factory=dict)
    settings: list[tuple[str, str, str]] = field(default_factory=list)
    _family: Family = field(init=False)

    def __post_init__(self) -> None:
        self._family = Family(self._process.pid)

    async def wait_until_ready(self) -> None:
        """Wait for the first answer.

        Raises:
            PeerError: it has not come.
        """
        ready = await self._receive(_START_TIMEOUT_S)
        self.versions = ready["versions"]
        self.settings = [(name, value, reason) for name, value, reason in ready["settings"]]

    async def run(self, in_flight: int, seconds: float) -> tuple[Load, Usage]:
        """Keep so many queries in flight for so long.

        Returns:
            The load, and what all of the peer's processes have used for it.

        Raises:
            PeerError: it has ended, or takes far longer.
        """
        pids = self.pids()
        meter, num_wakeups_before = CpuMeter({"all": pids}), num_wakeups(pids)
        command = {"in_flight": in_flight, "seconds": seconds}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        told = await self._receive(seconds + _PATIENCE_S)
        load = Load(
            seconds=told["seconds"],
            latencies_s=[one / 1e6 for one in told["latencies_us"]],
            num_failed=told["num_failed"],
            failure=told["failure"],
        )
        # A thread that has ended meanwhile takes its wakeups with it.
        num_wakeups_since = max(0, num_wakeups(pids) - num_wakeups_before)
        return load, Usage(meter.used_s()["all"], num_wakeups_since)

    def pause(self) -> None:
        """Stop every process, so that the peer costs the others nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let every process run again."""
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End every process: those that do not end by themselves are killed."""
        self.resume()
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _PATIENCE_S)
        await self._family.kill()
        await self._process.wait()

    def pids(self) -> list[int]:
        """The server, the client, and what the client has started."""
        return [self._server.pid, *self._family.pids()]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _receive(self, timeout_s: float) -> dict[str, Any]:
        return await receive(self._process, self._errors, timeout_s, PeerError)


@contextlib.asynccontextmanager
async def run_peer(peer: Peer) -> AsyncIterator[PeerProcess]:
    """Start a peer and a Redis server for it; leave none of its processes behind.

    Raises:
        InstallError: its packages could not be installed.
        PeerError: it does not answer.
    """
    python = interpreter_of(peer.environment, REQUIREMENTS, ENVIRONMENTS)
    with tempfile.NamedTemporaryFile(prefix="hedgerow-peer-") as errors, run_server() as server:
        process = await launch(
            *(str(python), "-m", f"bench.peers.inside.{peer.module}"),
            *(server.socket, *peer.arguments),
            errors=errors.file,
            most_line_bytes=_MOST_LINE_BYTES,
        )
        running = PeerProcess(process, server, Path(errors.name))
        try:
            await running.wait_until_ready()
            yield running
        finally:
            await running.stop()
