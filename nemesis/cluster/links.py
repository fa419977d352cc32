"""What the network between the processes can do; two implementations follow."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Protocol

Pair = tuple[str, str]  # from one process to another, in this direction only
LOAD = "load"  # the name of the clients' place in the network


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens to traffic in one direction.

    Attributes:
        delay_ms, jitter_ms: each packet is late by delay ± jitter; with jitter, packets overtake
            each other.
        loss: share of packets that are lost.
        reorder: share of packets that are not delayed, and so overtake those before them.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """The same for a command."""
        return asdict(self)

    def __str__(self) -> str:
        said = []
        if self.delay_ms:
            jitter = f" ± {self.jitter_ms:g}" if self.jitter_ms else ""
            said.append(f"delayed by {self.delay_ms:g}{jitter} ms")
        if self.loss:
            said.append(f"{self.loss:.0%} lost")
        if self.reorder:
            said.append(f"{self.reorder:.0%} overtaking")
        return ", ".join(said)


class Links(Protocol):
    """A network with a place for each process.

    Attributes:
        is_direct: whether processes reach each other at the addresses at which they listen, as
            sentinels need, which name the primary.
    """

    is_direct: bool

    async def open(self) -> None:
        """Create it."""

    async def close(self) -> None:
        """Remove it."""

    def enter(self, name: str) -> list[str]:
        """The beginning of a command that runs in a process's place."""

    def listens(self, name: str) -> tuple[str, int]:
        """Host and port at which a process listens, and is reached by the clients."""

    def redis(self, name: str) -> tuple[str, int]:
        """Host and port at which a process reaches Redis."""

    def cut(self, pairs: Sequence[Pair]) -> AbstractAsyncContextManager[None]:
        """Let nothing through in these directions."""

    def disturb(
        self, pairs: Sequence[Pair], disturbance: Disturbance
    ) -> AbstractAsyncContextManager[None]:
        """Disturb these directions."""


def both_ways(first: str, second: str) -> list[Pair]:
    """The two directions between two processes."""
    return [(first, second), (second, first)]
