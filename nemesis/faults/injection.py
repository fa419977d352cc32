"""The types of a fault's function and of what it says."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from nemesis.cluster.cluster import Cluster
from nemesis.schedule import Fault


class Spared(str):
    """A sentence about why nothing was done; the fault does not count as injected."""

    __slots__ = ()


# Begins the fault, gives a sentence about what was done, and ends it with the block.
Inject = Callable[[Cluster, Fault], AbstractAsyncContextManager[str]]
