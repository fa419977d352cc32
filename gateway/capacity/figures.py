"""The measured figures that a plan is computed from, each as its page in docs/ has it.

A test compares each of them with its page, so a page that is measured again changes the plan.
"""

from dataclasses import dataclass
from typing import Final

USED: Final = "search-used.md"
BENCH: Final = "search-bench.md"
COSTS: Final = "benchmarks.md"
SIZING: Final = "sizing.md"
DEPLOYING: Final = "deploying.md"
REDIS_NEEDS: Final = "redis.md"
REDIS_SERVERS: Final = "redis-servers.md"


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure in a table.

    Attributes:
        value: the figure.
        page: the page in docs/.
        row: the row's first cell.
        column: the column's heading.
    """

    value: float
    page: str
    row: str
    column: str


@dataclass(frozen=True, slots=True)
class Quote:
    """A figure in a sentence.

    Attributes:
        value: the figure.
        page: the page in docs/.
        text: the words around it, as they are on the page.
    """

    value: float
    page: str
    text: str


_PLAIN: Final = "`gateway up`, HTTP, `fields: false`"
_FIELDS: Final = "`gateway up`, HTTP"

# The default on two cores (two shards, 327,859 short texts): CPU of a search by part, in µs.
GATEWAY: Final = Cell(113, USED, _PLAIN, "gateway")
REDIS: Final = Cell(22, USED, _PLAIN, "Redis")
WORKERS: Final = Cell(55, USED, _PLAIN, "workers")
SCORERS: Final = Cell(233, USED, _PLAIN, "scorers")
GATEWAY_FIELDS: Final = Cell(129, USED, _FIELDS, "gateway")
REDIS_FIELDS: Final = Cell(27, USED, _FIELDS, "Redis")
WORKERS_FIELDS: Final = Cell(67, USED, _FIELDS, "workers")
SCORERS_FIELDS: Final = Cell(291, USED, _FIELDS, "scorers")
USED_DOCUMENTS: Final = Quote(327_859, USED, "327,859 short texts with a name each")
USED_SHARDS: Final = Quote(2, USED, "1 worker with 2 scorers for 2 shards")

# The same million documents in 1 and in 8 shards, without fields: what a shard adds, in µs.
GATEWAY_1_SHARD: Final = Cell(91, BENCH, "Hedgerow, 1 shard, HTTP", "gateway")
GATEWAY_8_SHARDS: Final = Cell(155, BENCH, "Hedgerow, 8 shards, HTTP", "gateway")
REDIS_1_SHARD: Final = Cell(12, BENCH, "Hedgerow, 1 shard, HTTP", "Redis")
REDIS_8_SHARDS: Final = Cell(43, BENCH, "Hedgerow, 8 shards, HTTP", "Redis")
WORKERS_1_SHARD: Final = Cell(34, BENCH, "Hedgerow, 1 shard, HTTP", "workers")
WORKERS_8_SHARDS: Final = Cell(134, BENCH, "Hedgerow, 8 shards, HTTP", "workers")

# A search of eight shards with one Redis server, and with three nodes of a Redis Cluster, in µs.
_SERVER: Final = "a plain server"
_NODES: Final = "a Valkey Cluster of three nodes"
GATEWAY_1_SERVER: Final = Cell(58, REDIS_SERVERS, _SERVER, "gateway, µs")
GATEWAY_3_NODES: Final = Cell(72, REDIS_SERVERS, _NODES, "gateway, µs")
REDIS_1_SERVER: Final = Cell(9, REDIS_SERVERS, _SERVER, "Redis, µs")
REDIS_3_NODES: Final = Cell(18, REDIS_SERVERS, _NODES, "Redis, µs")
WORKERS_1_SERVER: Final = Cell(29, REDIS_SERVERS, _SERVER, "workers, µs")
WORKERS_3_NODES: Final = Cell(33, REDIS_SERVERS, _NODES, "workers, µs")

# Scorers, for a million documents in 1, 2, 4 and 8 shards: what a shard's documents cost.
SCORERS_BY_SHARDS: Final = {
    1: Cell(163, BENCH, "Hedgerow, 1 shard, HTTP", "scorers"),
    2: Cell(223, BENCH, "Hedgerow, 2 shards, HTTP", "scorers"),
    4: Cell(317, BENCH, "Hedgerow, 4 shards, HTTP", "scorers"),
    8: Cell(484, BENCH, "Hedgerow, 8 shards, HTTP", "scorers"),
}
SLOW_SEARCH_MS: Final = Cell(3.16, BENCH, "Hedgerow, 1 shard, HTTP", "p99 alone, ms")

# Indexing, without replicas: CPU per document in µs, and what is on disk afterwards.
WRITE_CPU: Final = "| 8, 1, 80 |"
GATEWAY_WRITE: Final = Quote(8, COSTS, WRITE_CPU)
REDIS_WRITE: Final = Quote(1, COSTS, WRITE_CPU)
WORKERS_WRITE: Final = Quote(80, COSTS, WRITE_CPU)
DISK_BYTES: Final = Cell(4.87, COSTS, "243,899", "bytes on disk per byte of text")
TEXT_MB: Final = Cell(46.8, COSTS, "243,899", "text, MB")
TEXTS: Final = Cell(243_899, COSTS, "243,899", "documents")

# Memory in MB, and what a worker and a shard can be expected to carry.
WORKER_MB: Final = Quote(120, DEPLOYING, "on two cores, each worker uses 120 MB")
SCORER_MB: Final = Quote(14, DEPLOYING, "a scorer uses about 14 MB of its own")
GATEWAY_MB: Final = Quote(51, DEPLOYING, "the gateway 51 MB")
REDIS_GB: Final = Quote(1, REDIS_NEEDS, "A Redis of 1 GB suits most clusters")
REDIS_TIMES: Final = Quote(2, REDIS_NEEDS, "give the machine or the container twice as much memory")
WORKER_CORES: Final = Quote(4, SIZING, "so it keeps about four cores busy")
DEADLINE_PART: Final = Quote(
    3, SIZING, "double the shards while the slowest shard takes more than a third"
)

# How far measurements reach.
MOST_DOCUMENTS: Final = Quote(1_000_000, BENCH, "1,000,000 documents, and the 962 queries")
MOST_SHARDS: Final = Quote(64, BENCH, "64 times as many make a query")
MOST_NODES: Final = Quote(3, REDIS_SERVERS, "its third node little more than its first")
CORES: Final = Quote(2, USED, "on 2 cores (AMD EPYC)")
