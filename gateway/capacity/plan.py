"""How many processes a load needs: `plan(inputs, costs)`, a pure function.

A larger load never needs less of anything. Therefore the number of shards follows from documents
and deadline alone, and a shard has as many replicas as one that is as full as shards may become.
(The nodes of a Redis Cluster are the exception: more shards are shared out more evenly.)
"""

import math
from dataclasses import dataclass
from typing import Final

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.capacity.costs import MILLION, Costs, SearchCpu, cpu_of_search
from hedgerow.gateway.capacity.redis_servers import RedisLoad, clusters_for, nodes_for

_US_PER_S: Final = 1e6
_FEWEST_SHARDS: Final = 2  # with a single one, an answer is whole or there is none
_SLOWEST: Final = 0.01  # of a shard's requests: what its p99 excludes

# Members of `Inputs`, and from where to where each makes sense.
_BOUNDS: Final = (
    ("documents", 1, 1e13),
    ("qps", 0.001, 1e9),
    ("deadline_ms", 1, 1e6),
    ("replicas", 1, 100),
    ("writes", 0, 1e9),
    ("shards", 1, 1e6),
    ("shard_documents", 1, 1e9),
    ("document_bytes", 1, 1e8),
    ("utilisation", 0.01, 0.99),
    ("cores", 1, 10_000),
    ("worker_cores", 1, 1_000),
    ("query_cost", 0.001, 1e6),
    ("ranking_ms", 0, 1e6),
    ("deadline_share", 0.01, 0.99),
    ("resident", 0, 1),
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is asked of the cluster, and what is assumed.

    Attributes:
        documents: in all shards together, each counted once.
        qps: searches a second.
        deadline_ms: of a search.
        replicas: of each shard, at least.
        fields: whether hits come with their fields.
        writes: documents written a second.
        shards: of the cluster; None for as few as the deadline and `shard_documents` permit.
        shard_documents: in a shard at most, unless `shards` is given.
        document_bytes: of a document's text.
        utilisation: share of its CPU time that a process should use at most.
        cores: of a machine.
        worker_cores: that a worker has, each with a scorer.
        query_cost: how many times the CPU of a measured query one of yours takes in a scorer.
        ranking_ms: CPU of your second phase in each shard.
        deadline_share: of the deadline, which a shard's slowest 1 % may take.
        resident: share of the workers' files that should be in memory.
        redis_cluster: whether a load that is too much for one Redis server gets the nodes of a
            Redis Cluster, instead of several clusters beside each other.
    """

    documents: float
    qps: float
    deadline_ms: float
    replicas: int
    fields: bool
    writes: float
    shards: int | None
    shard_documents: float
    document_bytes: float
    utilisation: float
    cores: int
    worker_cores: int
    query_cost: float
    ranking_ms: float
    deadline_share: float
    resident: float
    redis_cluster: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            BadRequestError: names the member and the reason.
        """
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise BadRequestError(name, f"must be from {_number(low)} to {_number(high)}")
        if self.shards is not None and self.shards > self.documents:
            raise BadRequestError("shards", "must be at most the number of documents")
        if self.worker_cores > self.cores:
            raise BadRequestError(
                "worker_cores", f"must be at most the cores of a machine, which are {self.cores}"
            )


@dataclass(frozen=True, slots=True)
class Busy:
    """Share of their CPU time that processes use, on average.

    Attributes:
        gateways: the processes, of one core each.
        redis: the busiest server, of one core.
        workers: the workers' cores.
        worker_loops: the workers' own processes, of one core each.
        one_replica_lost: the workers' cores when each shard lacks a replica; None if it has no
            other.
    """

    gateways: float
    redis: float
    workers: float
    worker_loops: float
    one_replica_lost: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the load needs.

    Attributes:
        redis_nodes: servers that carry requests and logs: each that of a cluster of its own with
            all documents, or all nodes of one Redis Cluster.
        control_servers: for the control plane, which no Redis Cluster can carry.
        node_shards: most shards on a server.
        gateways: processes, of one core each.
        workers: processes with their scorers, of `worker_cores` cores each.
        shards: of each cluster.
        copies: of each document, in all clusters together.
        machines: for all of them, by cores alone.
        cores: of all processes.
        disk_bytes: of all workers, without what optimising needs meanwhile.
        memory_mb: of all processes, with the files of workers that should be resident.
        worker_disk_bytes, worker_memory_mb: of one worker.
        busy: how much of their time processes use.
        cpu: of one search, in µs.
        shard_documents: in one shard.
        slow_shard_ms: what a shard's slowest 1 % take at this utilisation.
        waits_for_slow: share of the searches that wait for one of some shard's slowest 1 %.
        redis_searches: searches a second that the Redis of one cluster carries at the aimed
            utilisation.
        redis_shard_requests: the same in requests to shards.
        log_in_bytes, log_out_bytes: a second, of the logs in Redis: written, and read by replicas.
        snapshot_bytes: of the newest snapshot of every shard.
    """

    redis_nodes: int
    control_servers: int
    node_shards: int
    gateways: int
    workers: int
    shards: int
    copies: int
    machines: int
    cores: int
    disk_bytes: float
    memory_mb: float
    worker_disk_bytes: float
    worker_memory_mb: float
    busy: Busy
    cpu: SearchCpu
    shard_documents: float
    slow_shard_ms: float
    waits_for_slow: float
    redis_searches: float
    redis_shard_requests: float
    log_in_bytes: float
    log_out_bytes: float
    snapshot_bytes: float

    @property
    def clusters(self) -> int:
        """Clusters beside each other, each with all documents."""
        return 1 if self.control_servers else self.redis_nodes


def plan(inputs: Inputs, costs: Costs) -> Plan:
    """Compute what a load needs.

    Raises:
        BadRequestError: a shard cannot keep the deadline, or Redis cannot take the writes, or a
            Redis Cluster not the searches.
    """
    most_documents = documents_within(inputs, costs)
    shards = inputs.shards or max(_FEWEST_SHARDS, math.ceil(inputs.documents / most_documents))
    plain = _cpu(inputs, costs, shards, inputs.documents)
    aim = inputs.utilisation * _US_PER_S  # of CPU in a second of one core
    load = RedisLoad(
        qps=inputs.qps,
        search_us=plain.redis,
        node_us=costs.redis_node.redis,
        writes=inputs.writes,
        write_us=costs.redis_write,
        aim_us=aim,
    )
    redis = (nodes_for if inputs.redis_cluster else clusters_for)(load, shards)
    cpu = plain.plus(redis.nodes - 1, costs.redis_node)

    # Each cluster has all documents, so each write goes to all of them.
    writes = inputs.writes * redis.clusters
    gateway_us = inputs.qps * cpu.gateway + writes * costs.gateway_write
    gateways = max(redis.clusters, math.ceil(gateway_us / aim))

    least = redis.clusters * inputs.replicas
    copies = max(least, _copies(inputs, costs, most_documents, redis.nodes))
    loops_us = inputs.qps * cpu.workers
    workers_us = loops_us + inputs.qps * cpu.scorers + inputs.writes * copies * costs.worker_write
    workers = max(
        least,
        math.ceil(loops_us / aim),
        math.ceil(workers_us / (aim * inputs.worker_cores)),
    )

    files = inputs.documents * inputs.document_bytes * costs.disk_bytes
    worker_mb = costs.worker_mb + inputs.worker_cores * costs.scorer_mb
    resident_mb = files * copies * inputs.resident / MILLION
    control_servers = 1 if redis.nodes > 1 else 0
    servers = redis.clusters * redis.nodes + control_servers
    cores = gateways + servers + workers * inputs.worker_cores
    busy_workers = workers_us / (workers * inputs.worker_cores * _US_PER_S)
    each = copies / redis.clusters
    return Plan(
        redis_nodes=redis.clusters * redis.nodes,
        control_servers=control_servers,
        node_shards=redis.most_shards,
        gateways=gateways,
        workers=workers,
        shards=shards,
        copies=copies,
        machines=math.ceil(cores / inputs.cores),
        cores=cores,
        disk_bytes=files * copies,
        memory_mb=(
            workers * worker_mb
            + resident_mb
            + gateways * costs.gateway_mb
            + servers * costs.redis_mb
        ),
        worker_disk_bytes=files * copies / workers,
        worker_memory_mb=worker_mb + resident_mb / workers,
        busy=Busy(
            gateways=gateway_us / (gateways * _US_PER_S),
            redis=redis.busy_us / _US_PER_S,
            workers=busy_workers,
            worker_loops=loops_us / (workers * _US_PER_S),
            one_replica_lost=busy_workers * each / (each - 1) if each > 1 else None,
        ),
        cpu=cpu,
        shard_documents=inputs.documents / shards,
        slow_shard_ms=slow_shard_ms(inputs, costs, inputs.documents / shards),
        waits_for_slow=1 - (1 - _SLOWEST) ** shards,
        redis_searches=redis.searches,
        redis_shard_requests=shards * redis.searches,
        log_in_bytes=writes * inputs.document_bytes,
        log_out_bytes=inputs.writes * inputs.document_bytes * copies,
        snapshot_bytes=files,
    )


def slow_shard_ms(inputs: Inputs, costs: Costs, documents: float) -> float:
    """Return what the slowest 1 % of a shard's requests take at the aimed utilisation.

    The measured time of a shard of a million documents grows as its CPU does. Waiting for a free
    scorer lengthens it as in a queue with one server, which is pessimistic for a worker with
    several scorers.
    """
    measured = costs.scorer_us(MILLION, fields=False)
    alone = costs.slow_search_ms * costs.scorer_us(documents, fields=False) / measured
    return (alone * inputs.query_cost + inputs.ranking_ms) / (1 - inputs.utilisation)


def documents_within(inputs: Inputs, costs: Costs) -> float:
    """Return how many documents a shard may have, by its share of the deadline.

    Raises:
        BadRequestError: none.
    """
    may_take_ms = inputs.deadline_ms * inputs.deadline_share
    least_ms = slow_shard_ms(inputs, costs, 1)
    if least_ms > may_take_ms:
        raise BadRequestError(
            "deadline_ms",
            f"too short: a shard may take {_number(may_take_ms)} ms of it, and its slowest 1 % "
            f"take {_number(least_ms)} ms even without documents",
        )
    if inputs.shards is not None:
        documents = inputs.documents / inputs.shards
        takes_ms = slow_shard_ms(inputs, costs, documents)
        if takes_ms > may_take_ms:
            raise BadRequestError(
                "shards",
                f"too few: the slowest 1 % of a shard of {documents:,.0f} documents take "
                f"{_number(takes_ms)} ms, more than its {_number(may_take_ms)} ms of the deadline",
            )
        return documents
    if slow_shard_ms(inputs, costs, inputs.shard_documents) <= may_take_ms:
        return inputs.shard_documents
    low, high = 1.0, inputs.shard_documents
    for _ in range(60):  # the time grows with the documents
        middle = (low + high) / 2
        if slow_shard_ms(inputs, costs, middle) <= may_take_ms:
            low = middle
        else:
            high = middle
    return low


def _cpu(inputs: Inputs, costs: Costs, shards: int, documents: float) -> SearchCpu:
    return cpu_of_search(
        costs,
        shards,
        documents,
        fields=inputs.fields,
        query_cost=inputs.query_cost,
        ranking_us=inputs.ranking_ms * 1000,
    )


def _copies(inputs: Inputs, costs: Costs, most_documents: float, nodes: int) -> int:
    """Return how many workers must share the requests of one shard.

    The shard is taken to be as full as shards may become, and to bear a search's whole cost in the
    worker, so that the number never falls when documents or shards are added.
    """
    documents = min(inputs.documents / (inputs.shards or _FEWEST_SHARDS), most_documents)
    full = _cpu(inputs, costs, 1, documents).plus(nodes - 1, costs.redis_node)
    aim = inputs.utilisation * _US_PER_S
    by_cores = inputs.qps * (full.workers + full.scorers) / (aim * inputs.worker_cores)
    by_loop = inputs.qps * full.workers / aim
    return math.ceil(max(by_cores, by_loop))


def _number(value: float) -> str:
    """Write a number with three digits or more, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
