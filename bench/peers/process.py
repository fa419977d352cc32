"""A peer as the driver sees it: a tree of processes that is started, paused, loaded and ended."""

import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.harness.apart import Apart
from bench.harness.environment import interpreter_of
from bench.harness.load import Load
from bench.harness.processes import CpuMeter, num_wakeups, send
from bench.harness.server import Server, run_server
from bench.peers.catalogue import Peer
from bench.peers.figures import Usage

REQUIREMENTS = Path(__file__).parent / "requirements"
ENVIRONMENTS = Path(__file__).parents[2] / ".bench-peers"  # git-ignored
_START_TIMEOUT_S = 120.0
_PATIENCE_S = 20.0  # beyond the length of a load, and for an end


class PeerError(Exception):
    """A peer did not start, did not answer, or has ended; says why."""


@dataclass(slots=True)
class PeerProcess:
    """A running peer.

    Attributes:
        versions: package → version.
        settings: name, value and reason of each setting that was tuned.
    """

    _client: Apart
    _server: Server
    versions: dict[str, str] = field(default_factory=dict)
    settings: list[tuple[str, str, str]] = field(default_factory=list)

    async def wait_until_ready(self) -> None:
        """Wait for the first answer.

        Raises:
            PeerError: it did not come.
        """
        ready = await self._client.receive(_START_TIMEOUT_S)
        self.versions = ready["versions"]
        self.settings = [(name, value, reason) for name, value, reason in ready["settings"]]

    async def run(self, in_flight: int, seconds: float) -> tuple[Load, Usage]:
        """Keep `in_flight` queries in flight for a time.

        Returns:
            The load, and what all of the peer's processes used for it.

        Raises:
            PeerError: the peer has ended, or takes far longer.
        """
        pids = self.pids()
        meter, num_wakeups_before = CpuMeter({"all": pids}), num_wakeups(pids)
        told = await self._client.ask(f"{in_flight} {seconds}", seconds + _PATIENCE_S)
        # The wakeups of a thread that has ended meanwhile are lost.
        num_wakeups_since = max(0, num_wakeups(pids) - num_wakeups_before)
        return Load.from_json(told), Usage(meter.used_s()["all"], num_wakeups_since)

    def pause(self) -> None:
        """Stop all processes, so that the peer costs the others nothing."""
        send(signal.SIGSTOP, self.pids())

    def resume(self) -> None:
        """Let all processes run again."""
        send(signal.SIGCONT, self.pids())

    async def stop(self) -> None:
        """End all processes; those that do not end by themselves are killed."""
        self.resume()
        self._client.hang_up()
        await self._client.end(_PATIENCE_S)

    def pids(self) -> list[int]:
        """The server, the client, and the client's descendants."""
        return [self._server.pid, *self._client.pids()]


@contextlib.asynccontextmanager
async def run_peer(peer: Peer) -> AsyncIterator[PeerProcess]:
    """Start a peer and a Redis server for it; none of its processes is left behind.

    Raises:
        InstallError: its packages could not be installed.
        PeerError: it does not answer.
    """
    python = interpreter_of(peer.environment, REQUIREMENTS, ENVIRONMENTS)
    with tempfile.NamedTemporaryFile(prefix="hedgerow-peer-") as errors, run_server() as server:
        client = await Apart.launch(
            str(python),
            "-m",
            f"bench.peers.inside.{peer.module}",
            server.socket,
            *peer.arguments,
            errors=Path(errors.name),
            failure=PeerError,
        )
        running = PeerProcess(client, server)
        try:
            await running.wait_until_ready()
            yield running
        finally:
            await running.stop()
