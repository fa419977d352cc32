"""How many workers and gateways run on the nodes of a Ray cluster, and with how many CPUs. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.local.sizing import CORES_A_WORKER, SHARDS_A_WORKER, counted

GATEWAY_CPUS: Final = 1.0
_DEFAULT_GATEWAYS: Final = 2
_DEFAULT_REPLICAS: Final = 2


@dataclass(frozen=True, slots=True)
class Node:
    """A live node of a Ray cluster.

    Attributes:
        id: Ray's id.
        host: the name of its machine.
        cpus: the CPUs that it offers in all, whether or not other actors use them.
    """

    id: str
    host: str
    cpus: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """The numbers that were asked for; None for what fits the nodes."""

    num_workers: int | None = None
    worker_cpus: float | None = None
    num_gateways: int | None = None
    num_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What to start.

    Attributes:
        num_nodes: the nodes that offer CPUs.
        num_workers: workers.
        worker_cpus: the CPUs that each of them reserves.
        num_gateways: gateways, each on a node of its own.
        num_replicas: replicas that each shard should have.
    """

    num_nodes: int
    num_workers: int
    worker_cpus: float
    num_gateways: int
    num_replicas: int

    @property
    def num_shards(self) -> int:
        """The shards of a new cluster."""
        cores = self.num_workers * self.worker_cpus
        fitting = SHARDS_A_WORKER * math.ceil(cores / CORES_A_WORKER)
        return max(fitting, SHARDS_A_WORKER * self.num_workers)

    @property
    def scorers(self) -> int:
        """Scorer processes of each worker."""
        return max(1, int(self.worker_cpus))

    def __str__(self) -> str:
        """Write the numbers in a line."""
        workers = _with_cpus(self.num_workers, "worker", self.worker_cpus)
        gateways = counted(self.num_gateways, "gateway")
        return f"{counted(self.num_nodes, 'node')} of Ray: {workers}, {gateways}"


def _with_cpus(number: int, noun: str, cpus: float) -> str:
    each = "" if number == 1 else " each"
    return f"{counted(number, noun)} with {cpus:g} CPU{'' if cpus == 1 else 's'}{each}"


def plan_for_nodes(nodes: Sequence[Node], wanted: Wanted) -> NodePlan:
    """Decide what to start on the nodes.

    Without options: a worker on each node, with the CPUs of the smallest node but for the one that
    a gateway takes; two gateways, and two replicas of each shard, if there are two nodes.

    Raises:
        ConfigurationError: the nodes have no room for it; says which option would change that.
    """
    usable = [node.cpus for node in nodes if node.cpus >= 1.0]
    if not usable:
        raise ConfigurationError("--ray: no node of the Ray cluster offers a CPU (--num-cpus)")
    num_gateways = wanted.num_gateways
    if num_gateways is None:
        num_gateways = min(_DEFAULT_GATEWAYS, len(usable))
    if num_gateways > len(usable):
        raise ConfigurationError(
            f"--gateways {num_gateways}: each needs a node of its own, and Ray has "
            f"{counted(len(usable), 'node')}"
        )
    num_workers = wanted.num_workers or len(usable)
    worker_cpus = wanted.worker_cpus
    if worker_cpus is None:
        left = min(usable) - (GATEWAY_CPUS if num_gateways else 0.0)
        worker_cpus = float(max(1, math.floor(left / math.ceil(num_workers / len(usable)))))
    if worker_cpus > 1.0 and worker_cpus != int(worker_cpus):
        raise ConfigurationError(
            f"--worker-cpus {worker_cpus:g}: Ray reserves whole CPUs, or a part of one"
        )
    needed = num_workers * worker_cpus + num_gateways * GATEWAY_CPUS
    if needed > sum(usable):
        raise ConfigurationError(
            f"--ray: {_with_cpus(num_workers, 'worker', worker_cpus)} and "
            f"{_with_cpus(num_gateways, 'gateway', GATEWAY_CPUS)} need {needed:g} CPUs, and "
            f"the nodes of Ray offer {sum(usable):g}; --workers, --worker-cpus and --gateways "
            "change it"
        )
    num_replicas = wanted.num_replicas
    if num_replicas is None:
        num_replicas = min(_DEFAULT_REPLICAS, num_workers, len(usable))
    if num_replicas > num_workers:
        raise ConfigurationError(
            f"--replicas {num_replicas}: the replicas of a shard need a worker each, and there "
            f"{'is' if num_workers == 1 else 'are'} {counted(num_workers, 'worker')}"
        )
    return NodePlan(len(usable), num_workers, worker_cpus, num_gateways, num_replicas)
