"""The types of a fault's function and of what it says."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from nemesis.cluster.cluster import Cluster
from nemesis.schedule import Fault


@dataclass(frozen=True, slots=True)
class Spared:
    """Nothing was done, for a reason that a sentence says; the fault does not count as injected."""

    why: str


# Begins the fault, gives a sentence about what was done, and ends it with the block.
Inject = Callable[[Cluster, Fault], AbstractAsyncContextManager[str | Spared]]
