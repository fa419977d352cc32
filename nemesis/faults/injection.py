"""The type of a fault's function."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from nemesis.cluster.cluster import Cluster
from nemesis.schedule import Fault

# Begins the fault, gives a sentence about what was done, and ends it with the block.
Inject = Callable[[Cluster, Fault], AbstractAsyncContextManager[str]]
