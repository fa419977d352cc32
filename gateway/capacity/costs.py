"""What a search and a write cost, as formulas over the measured figures."""

from dataclasses import dataclass
from typing import Final

from hedgerow.gateway.capacity import figures as of

MILLION: Final = 1_000_000

# Fitted to the scorers' CPU for a million documents in 1, 2, 4 and 8 shards; within 3 % of each. A
# test repeats the comparison.
FIT_SHARD_US: Final = 32.0
FIT_MILLION_US: Final = 131.0
FIT_POWER: Final = 0.72


@dataclass(frozen=True, slots=True)
class PartCost:
    """CPU of a search in one part of the cluster, in µs.

    Attributes:
        search: whatever the number of shards.
        shard: for each shard that is asked.
        fields_search: more for a search with fields.
        fields_shard: more for each shard of a search with fields.
    """

    search: float
    shard: float
    fields_search: float = 0.0
    fields_shard: float = 0.0

    def us(self, shards: int, *, fields: bool) -> float:
        """Return the CPU of one search over `shards` shards, in µs."""
        search = self.search + (self.fields_search if fields else 0.0)
        return search + shards * (self.shard + (self.fields_shard if fields else 0.0))


@dataclass(frozen=True, slots=True)
class SearchCpu:
    """CPU of a search by part, in µs."""

    gateway: float
    redis: float
    workers: float
    scorers: float

    @property
    def total(self) -> float:
        """Of all parts."""
        return self.gateway + self.redis + self.workers + self.scorers

    def plus(self, times: float, other: "SearchCpu") -> "SearchCpu":
        """Return the sum of this and `times` times `other`."""
        return SearchCpu(
            gateway=self.gateway + times * other.gateway,
            redis=self.redis + times * other.redis,
            workers=self.workers + times * other.workers,
            scorers=self.scorers + times * other.scorers,
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """What the plan multiplies; times of CPU in µs.

    Attributes:
        gateway, redis, worker: of a search, by part. `worker` is the process itself.
        redis_node: of a search, more for each further node of a Redis Cluster.
        scorer_shard: of a shard's request in a scorer, whatever the shard's documents.
        scorer_million: more, for a shard of a million documents.
        scorer_power: how this grows with the documents, up to a million; beyond, in proportion.
        scorer_fields: more for each shard of a search with fields.
        gateway_write, redis_write, worker_write: of a document that is written; the last in each
            replica.
        slow_search_ms: the slowest 1 % of the searches of one shard of a million documents, when
            nothing else runs.
        disk_bytes: on disk, per byte of a document's text.
        worker_mb, scorer_mb, gateway_mb, redis_mb: memory of a process; of a worker without
            scorers, and without the files that it maps.
    """

    gateway: PartCost
    redis: PartCost
    worker: PartCost
    redis_node: SearchCpu
    scorer_shard: float
    scorer_million: float
    scorer_power: float
    scorer_fields: float
    gateway_write: float
    redis_write: float
    worker_write: float
    slow_search_ms: float
    disk_bytes: float
    worker_mb: float
    scorer_mb: float
    gateway_mb: float
    redis_mb: float

    def scorer_us(self, documents: float, *, fields: bool) -> float:
        """Return the CPU of one shard's request in a scorer.

        Below a million documents, the time grows with less than their number, as measured. Beyond,
        nothing was measured, and it is taken to grow in proportion.
        """
        millions = documents / MILLION
        grown = millions if millions > 1 else millions**self.scorer_power
        own = self.scorer_shard + self.scorer_million * grown
        return own + (self.scorer_fields if fields else 0.0)


def cpu_of_search(
    costs: Costs,
    shards: int,
    documents: float,
    *,
    fields: bool,
    query_cost: float = 1.0,
    ranking_us: float = 0.0,
) -> SearchCpu:
    """Return what one search takes, by part.

    Args:
        costs: the measured costs.
        shards: the shards that it asks.
        documents: in all shards together.
        fields: whether hits come with their fields.
        query_cost: how many times the CPU of a measured query one of yours takes in a scorer.
        ranking_us: CPU of your second phase in each shard.
    """
    scorer = costs.scorer_us(documents / shards, fields=fields) * query_cost + ranking_us
    return SearchCpu(
        gateway=costs.gateway.us(shards, fields=fields),
        redis=costs.redis.us(shards, fields=fields),
        workers=costs.worker.us(shards, fields=fields),
        scorers=shards * scorer,
    )


def _part(used: of.Cell, one_shard: of.Cell, eight_shards: of.Cell) -> tuple[float, float]:
    """Return the cost of a search and of a shard.

    What a shard adds comes from the same documents in 1 and in 8 shards; the level, from the
    default as it is used.
    """
    shard = (eight_shards.value - one_shard.value) / 7
    return used.value - of.USED_SHARDS.value * shard, shard


def _node() -> SearchCpu:
    """Return what each of two further nodes of a Redis Cluster adds to a search."""
    return SearchCpu(
        gateway=(of.GATEWAY_3_NODES.value - of.GATEWAY_1_SERVER.value) / 2,
        redis=(of.REDIS_3_NODES.value - of.REDIS_1_SERVER.value) / 2,
        workers=(of.WORKERS_3_NODES.value - of.WORKERS_1_SERVER.value) / 2,
        scorers=0.0,
    )


def _measured() -> Costs:
    gateway, gateway_shard = _part(of.GATEWAY, of.GATEWAY_1_SHARD, of.GATEWAY_8_SHARDS)
    redis, redis_shard = _part(of.REDIS, of.REDIS_1_SHARD, of.REDIS_8_SHARDS)
    worker, worker_shard = _part(of.WORKERS, of.WORKERS_1_SHARD, of.WORKERS_8_SHARDS)
    shards = of.USED_SHARDS.value
    millions = of.USED_DOCUMENTS.value / shards / MILLION
    # Queries as used take longer in a scorer than those of the other page, by this factor.
    fitted = FIT_SHARD_US + FIT_MILLION_US * millions**FIT_POWER
    as_used = of.SCORERS.value / shards / fitted
    scorers_mb = of.SCORER_MB.value * of.CORES.value
    return Costs(
        gateway=PartCost(
            gateway, gateway_shard, fields_search=of.GATEWAY_FIELDS.value - of.GATEWAY.value
        ),
        redis=PartCost(
            redis, redis_shard, fields_shard=(of.REDIS_FIELDS.value - of.REDIS.value) / shards
        ),
        worker=PartCost(
            worker, worker_shard, fields_shard=(of.WORKERS_FIELDS.value - of.WORKERS.value) / shards
        ),
        redis_node=_node(),
        scorer_shard=FIT_SHARD_US * as_used,
        scorer_million=FIT_MILLION_US * as_used,
        scorer_power=FIT_POWER,
        scorer_fields=(of.SCORERS_FIELDS.value - of.SCORERS.value) / shards,
        gateway_write=of.GATEWAY_WRITE.value,
        redis_write=of.REDIS_WRITE.value,
        worker_write=of.WORKERS_WRITE.value,
        slow_search_ms=of.SLOW_SEARCH_MS.value,
        disk_bytes=of.DISK_BYTES.value,
        worker_mb=of.WORKER_MB.value - scorers_mb,
        scorer_mb=of.SCORER_MB.value,
        gateway_mb=of.GATEWAY_MB.value,
        redis_mb=of.REDIS_GB.value * of.REDIS_TIMES.value * 1024,
    )


MEASURED: Final = _measured()
