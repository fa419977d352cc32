"""All peers run at once and are measured in turns, while the others are stopped."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.harness.environment import InstallError
from bench.harness.rounds import say, turns
from bench.harness.subject import IN_FLIGHT
from bench.peers.catalogue import Peer
from bench.peers.figures import Round
from bench.peers.process import PeerError, PeerProcess, run_peer

_SETTLE_S = 0.2  # after a pause, during which timers may have fallen due
_WARM_UP_S = 0.3


@dataclass(slots=True)
class Measured:
    """The figures of a peer.

    Attributes:
        reason: why figures are missing; empty if all went well.
    """

    peer: Peer
    versions: dict[str, str] = field(default_factory=dict)
    settings: list[tuple[str, str, str]] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    reason: str = ""


@dataclass(slots=True)
class Comparison:
    """The figures of all peers so far; they remain if `run` is interrupted.

    Attributes:
        results: one for each peer, in the order of the turns.
        load_averages: over a minute, before each round.
    """

    results: list[Measured]
    load_averages: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, peers: Sequence[Peer]) -> "Comparison":
        """A comparison of these peers, without any figures yet."""
        return cls([Measured(peer) for peer in peers])

    async def run(self, num_rounds: int, seconds: float) -> None:
        """Start all, run the rounds, end all.

        Args:
            num_rounds: how many rounds.
            seconds: the length of a load, alone and with 32 in flight.
        """
        async with contextlib.AsyncExitStack() as started:
            running = [(result, await _start(started, result)) for result in self.results]
            loads = self.load_averages
            for _, (result, process) in turns(running, num_rounds, "peers", loads):
                if process and not result.reason:
                    await _measure_one(result, process, seconds)


async def _start(started: contextlib.AsyncExitStack, result: Measured) -> PeerProcess | None:
    say("peers", f"starting {result.peer.name}")
    try:
        process = await started.enter_async_context(run_peer(result.peer))
    except (InstallError, PeerError) as error:
        result.reason = str(error)
        say("peers", f"{result.peer.name}: {error}")
        return None
    result.versions, result.settings = process.versions, process.settings
    process.pause()
    return process


async def _measure_one(result: Measured, process: PeerProcess, seconds: float) -> None:
    process.resume()
    try:
        await asyncio.sleep(_SETTLE_S)
        await process.run(IN_FLIGHT, min(_WARM_UP_S, seconds))  # failures do not count here
        alone, _ = await process.run(1, seconds)
        together, usage = await process.run(IN_FLIGHT, seconds)
        result.rounds.append(Round(alone, together, usage))
    except PeerError as error:
        result.reason = f"{error} (in round {len(result.rounds) + 1})"
        say("peers", f"{result.peer.name}: {result.reason}")
    finally:
        process.pause()
