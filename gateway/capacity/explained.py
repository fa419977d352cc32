"""What a plan rests on, and where it ends: its assumptions with their sources, and its limits."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hedgerow.gateway.capacity import figures as of
from hedgerow.gateway.capacity.costs import FIT_POWER, Costs
from hedgerow.gateway.capacity.plan import Inputs, Plan

# Over this many shards, half of the searches wait for one of some shard's slowest 1 %.
SHARDS_UNTIL_MEDIAN: Final = round(math.log(0.5) / math.log(0.99))


@dataclass(frozen=True, slots=True)
class Assumption:
    """A figure that the plan is computed from.

    Attributes:
        what: what is assumed.
        value: the figure, with its unit.
        source: the page in docs/ where it was measured, or why it was chosen.
        option: sets it; "" for a measured cost.
    """

    what: str
    value: str
    source: str
    option: str = ""


def assumptions(inputs: Inputs, planned: Plan, costs: Costs) -> list[Assumption]:
    """Return everything that the plan assumes, costs of a search first."""
    cpu = planned.cpu
    hits = "with fields" if inputs.fields else "without fields"
    by_part = f"{of.USED}; more shards: {of.BENCH}"
    documents = f"{planned.shard_documents:,.0f} documents"
    found = [
        Assumption(f"gateway, a search {hits}", f"{cpu.gateway:,.0f} µs", by_part, "--no-fields"),
        Assumption("Redis, a search, file included", f"{cpu.redis:,.0f} µs", by_part),
        Assumption("Redis, a request to a shard", f"{cpu.redis / planned.shards:.1f} µs", by_part),
        Assumption("workers' own, a search", f"{cpu.workers:,.0f} µs", by_part),
        Assumption(
            f"scorer, a shard of {documents}",
            f"{cpu.scorers / planned.shards:,.0f} µs",
            f"{of.USED}; growth with documents^{FIT_POWER} up to a million: {of.BENCH}; "
            "in proportion beyond: assumed",
        ),
        Assumption(
            "a query's cost, of a measured one", f"{inputs.query_cost:g}", "chosen", "--query-cost"
        ),
        Assumption("second phase, each shard", f"{inputs.ranking_ms:g} ms", "chosen", "--ranking"),
        Assumption(
            "a shard's slowest 1 %, alone, with a million documents",
            f"{costs.slow_search_ms:g} ms",
            of.BENCH,
        ),
        Assumption(
            "a shard may take, of the deadline",
            f"{inputs.deadline_share:.0%}",
            f"{of.SIZING}: a third",
            "--deadline-share",
        ),
        Assumption(
            "documents in a shard, at most",
            f"{inputs.shard_documents:,.0f}",
            f"chosen; measured: {of.MOST_DOCUMENTS.value:,}",
            "--shard-documents, --shards",
        ),
        Assumption("utilisation, at most", f"{inputs.utilisation:.0%}", "chosen", "--utilisation"),
        Assumption(
            "cores of a worker",
            f"{inputs.worker_cores}",
            f"{of.SIZING}: it keeps about four busy",
            "--worker-cores",
        ),
        Assumption("cores of a machine", f"{inputs.cores}", "chosen", "--cores"),
        Assumption(
            "text of a document",
            f"{inputs.document_bytes:g} bytes",
            f"{of.COSTS}: {of.TEXT_MB.value:g} MB of {of.TEXTS.value:,} documents",
            "--document-bytes",
        ),
        Assumption("on disk, per byte of text", f"{costs.disk_bytes:g} bytes", of.COSTS),
        Assumption(
            "files of workers that are in memory",
            f"{inputs.resident:.0%}",
            "as in all measurements",
            "--resident",
        ),
        Assumption(
            "memory of a worker, a scorer, a gateway",
            f"{costs.worker_mb:g}, {costs.scorer_mb:g}, {costs.gateway_mb:g} MB",
            of.DEPLOYING,
        ),
        Assumption(
            "memory of a Redis server's machine", f"{costs.redis_mb:,.0f} MB", of.REDIS_NEEDS
        ),
        Assumption(
            "a write: gateway, Redis, each replica",
            f"{costs.gateway_write:g}, {costs.redis_write:g}, {costs.worker_write:g} µs",
            of.COSTS,
        ),
        Assumption("documents written a second", f"{inputs.writes:,.0f}", "chosen", "--writes"),
    ]
    if planned.control_servers:
        found.append(
            Assumption(
                "a search, more for each further node of a Redis Cluster",
                f"{costs.redis_node.total:g} µs",
                of.REDIS_SERVERS,
                "--redis-cluster",
            )
        )
    return found


def limits(inputs: Inputs, planned: Plan) -> list[str]:
    """Return what bounds the plan, and where it goes beyond what was measured."""
    return [*_bounds(inputs, planned), *_extrapolations(planned)]


def _bounds(inputs: Inputs, planned: Plan) -> Iterator[str]:
    share = planned.waits_for_slow
    waiting = f"{share:.1%}" if share < 0.999 else "nearly all"
    hedged = "Hedging removes most of this (docs/tail.md)."
    yield (
        f"Tail: {waiting} of the searches wait for one of some shard's slowest "
        f"1 %, if shards are slow independently; over {SHARDS_UNTIL_MEDIAN} shards, half of them "
        f"do. {hedged if inputs.replicas > 1 else 'Without replicas, nothing can be hedged.'}"
    )
    yield from _of_redis(inputs, planned)
    wanted = planned.clusters * inputs.replicas
    if planned.copies > wanted:
        yield (
            f"Copies: {planned.copies:,} of each document instead of {wanted:,}, since fewer "
            f"workers of {inputs.worker_cores} cores cannot carry the requests of a full shard."
        )
    places = planned.shards * planned.copies
    if planned.workers > places:
        yield (
            f"Writes: only {places:,} of the workers have a shard; the writes need more shards "
            "(--shards)."
        )
    lost = planned.busy.one_replica_lost
    if lost is None:
        yield "Failures: documents are missing from answers while a worker restarts."
    else:
        yield (
            "Failures: while each shard lacks a replica, the other workers are busy for "
            f"{lost:.0%} of their time."
        )
    yield (
        "Not counted: spare machines, standby Redis servers, a second index while one is "
        "optimised, networks."
    )


def _of_redis(inputs: Inputs, planned: Plan) -> Iterator[str]:
    carries = (
        f"{planned.redis_searches:,.0f} such searches a second, or "
        f"{planned.redis_shard_requests:,.0f} requests to shards"
    )
    if planned.control_servers:
        yield (
            f"Redis: the nodes carry {carries}, since the busiest has {planned.node_shards:,} of "
            f"{planned.shards:,} shards, and one core executes all its commands. Another server is "
            "for the control plane (docs/redis-servers.md)."
        )
        return
    yield f"Redis: a server carries {carries}, since one core executes all its commands."
    if planned.clusters > 1:
        yield (
            f"Several Redis servers: {planned.clusters:,} are as many clusters beside each "
            "other, each with all documents, among which callers are spread in proportion to "
            "their workers. Fewer shards need fewer servers. With --redis-cluster, the nodes of a "
            "Redis Cluster share the shards of a single cluster instead."
        )
    elif inputs.redis_cluster:
        yield "Redis Cluster: not needed, since one server is enough."


def _extrapolations(planned: Plan) -> Iterator[str]:
    cores = of.CORES.value
    if planned.cores > cores:
        yield (
            f"Extrapolated: everything was measured on {cores:g} cores, and this plan has "
            f"{planned.cores:,}. Cores of one machine share caches and memory, which costs speed; "
            "several machines add a network. Neither was measured."
        )
    most_nodes = of.MOST_NODES.value
    if planned.control_servers and planned.redis_nodes > most_nodes:
        yield (
            f"Extrapolated: {planned.redis_nodes:,} nodes of a Redis Cluster, when at most "
            f"{most_nodes:g} were measured. Each is taken to cost a search as much as those did."
        )
    if planned.shard_documents > of.MOST_DOCUMENTS.value:
        yield (
            f"Extrapolated: shards of {planned.shard_documents:,.0f} documents, when at most "
            f"{of.MOST_DOCUMENTS.value:,} were measured. Load one such shard, and compare."
        )
    if planned.shards > of.MOST_SHARDS.value:
        yield (
            f"Extrapolated: {planned.shards:,} shards, when at most {of.MOST_SHARDS.value:g} were "
            "measured; more were only simulated (docs/tail.md)."
        )
