"""Makes the state of the cluster as JSON; docs/http-status.md describes it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hedgerow.common.metrics.worker_metrics import number
from hedgerow.common.redis.server_info import ServerInfo
from hedgerow.common.snapshots.status import SnapshotStatus
from hedgerow.common.state.gateways import GatewayHeartbeat
from hedgerow.common.state.optimising import Optimising
from hedgerow.common.state.probation import ProbationEntry
from hedgerow.common.state.statistics import StatisticsStatus, changes_of
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.operations.optimising import index_json
from hedgerow.gateway.operations.snapshots import snapshots_json
from hedgerow.gateway.policies.breaker import BreakerSnapshot
from hedgerow.gateway.search.guards.breakers import Breakers
from hedgerow.gateway.shapes.collection import Filling


def cluster_status(
    *,
    server: ServerInfo | None,
    backlog: Mapping[int, int],
    statistics: Mapping[str, StatisticsStatus],
    quarantine: Sequence[Mapping[str, Any]],
    membership: Membership,
    probation: Mapping[str, ProbationEntry],
    breakers: Breakers,
    now: float,
    now_ms: int,
    names: Mapping[str, str],
    curves: Mapping[str, Any],
    gateway: Mapping[str, Any],
    snapshots: Mapping[int, SnapshotStatus],
    optimising: Mapping[str, Optimising],
    fillings: Mapping[str, Filling],
    shortages: Sequence[Mapping[str, Any]],
    profile_breakers: Sequence[Mapping[str, str]] = (),
    gateways: Sequence[GatewayHeartbeat] = (),
    split: Mapping[str, Any] | None = None,
    reindex: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the JSON that `gateway status --json` prints.

    Args:
        server: the Redis server; None if it does not answer.
        backlog: shard → waiting search requests.
        statistics: collection uid → state of its term statistics; empty if Redis is unavailable.
        quarantine: the queries that have killed scorers; empty if Redis is unavailable.
        membership: the view of the workers.
        probation: worker on probation → the decision about it.
        breakers: one per shard.
        now: the time, in s.
        now_ms: the Redis server's clock.
        names: collection uid → name.
        curves: collection uid → its curve at the default deadline.
        gateway: the state of this gateway.
        snapshots: shard → state of its snapshots; empty if Redis is unavailable.
        optimising: collection uid → progress of its optimising; empty if Redis is unavailable.
        fillings: collection uid → progress of fields that were added to it.
        shortages: the shortages of workers and of the server.
        profile_breakers: for each shard, profile → state of its own breaker, if not closed.
        gateways: the live gateways; empty if Redis is unavailable.
        split: the split of the shards in progress, as JSON.
        reindex: the reindex in progress, as JSON.
    """
    workers = sorted(membership.workers.values(), key=lambda worker: worker.id)
    return {
        "shards": [
            {
                "shard": shard,
                "workers": [worker.id for worker in workers if shard in worker.shards],
                "replicas": membership.num_replicas(shard),
                "breaker": breakers[shard].state(now).value,
                "breaker_detail": _breaker_json(breakers[shard].snapshot(now), now),
                "profile_breakers": dict(profile_breakers[shard]) if profile_breakers else {},
                "backlog": backlog.get(shard),
                "documents": {
                    name: membership.counts_of(uid)[shard] or 0 for uid, name in names.items()
                },
            }
            for shard in range(len(breakers))
        ],
        "workers": [
            _worker_json(worker, names, probation.get(worker.id), now_ms) for worker in workers
        ],
        "collections": [
            {
                **_collection_json(uid, name, membership, statistics.get(uid)),
                "index": index_json(uid, membership, optimising.get(uid), fillings.get(uid)),
                "coverage_curve": curves[uid],
            }
            for uid, name in sorted(names.items(), key=lambda item: item[1])
        ],
        "shortages": [dict(shortage) for shortage in shortages],
        "quarantine": list(quarantine),
        "snapshots": snapshots_json(snapshots),
        "redis": {
            "connected": server is not None,
            "name": server.name if server else None,
            "version": server.version if server else None,
            "pid": server.pid if server else None,
        },
        "gateway": dict(gateway),
        "gateways": [_gateway_json(one, now_ms) for one in gateways],
        "split": split,
        "reindex": reindex,
    }


def _collection_json(
    uid: str, name: str, membership: Membership, statistics: StatisticsStatus | None
) -> dict[str, Any]:
    counts = [count or 0 for count in membership.counts_of(uid)]
    version = statistics.version.hex() if statistics else ""
    holders = [
        worker
        for worker in membership.workers.values()
        if any(counts.get(uid) for counts in worker.documents.values())
    ]
    changes_behind = _changes_behind(uid, membership, statistics) if statistics else None
    return {
        "name": name,
        "documents": sum(counts),
        "statistics": {
            "shards": len(statistics.labels) if statistics else None,
            "changes_behind": changes_behind,
            "is_current": (
                statistics is not None
                and statistics.is_current
                and changes_behind == 0
                and all(shard in statistics.labels for shard, count in enumerate(counts) if count)
            ),
            "is_spread": all(worker.statistics.get(uid, "") == version for worker in holders),
        },
    }


def _changes_behind(uid: str, membership: Membership, statistics: StatisticsStatus) -> int:
    """Return how many changes live shards have applied that their statistics do not include."""
    behind: dict[int, int] = {}
    for worker in membership.workers.values():
        for shard, changes in worker.changes.items():
            label = statistics.labels.get(shard)
            if label is None and not worker.documents.get(shard, {}).get(uid):
                continue  # an empty shard has no statistics
            counted = changes_of(label, worker.replicas.get(shard, ""))
            lag = max(changes.get(uid, 0) - (counted or 0), 0)
            # Only one replica is asked for the shard's statistics.
            behind[shard] = min(lag, behind.get(shard, lag))
    return sum(behind.values())


def _worker_json(
    worker: Heartbeat, names: Mapping[str, str], entry: ProbationEntry | None, now_ms: int
) -> dict[str, Any]:
    return {
        "id": worker.id,
        "pid": worker.pid,
        "host": worker.host,
        "shards": worker.shards,
        "gaps": worker.gaps,
        "behind": worker.behind,
        "on_probation": entry is not None,
        "probation": None if entry is None else msgspec.structs.asdict(entry),
        "leaves": worker.leaves,
        "version": worker.version,
        "age_ms": now_ms - worker.beat_at_ms,
        "uptime_ms": worker.beat_at_ms - worker.started_at_ms,
        "lanes": worker.lanes,
        "counters": worker.counters,
        "ledger": worker.ledger,
        "log_backlog": {str(shard): count for shard, count in worker.log_backlog.items()},
        "documents": {
            str(shard): {names[uid]: count for uid, count in counts.items() if uid in names}
            for shard, counts in worker.documents.items()
        },
        "set_aside": {
            "bytes": worker.set_aside.get("bytes", 0),
            "dropped": worker.set_aside.get("dropped", 0),
        },
        "embedding": _embedding(worker.embedding),
        "memory_mb": _memory_mb(worker.metrics.get("usage")),
    }


def _embedding(found: Mapping[str, Any]) -> dict[str, Any] | None:
    if not found:
        return None
    counts = {name: int(number(found, name) or 0) for name in ("texts", "failed", "calls")}
    return counts | {name: number(found, name) or 0.0 for name in ("seconds", "share")}


def _gateway_json(gateway: GatewayHeartbeat, now_ms: int) -> dict[str, Any]:
    return {
        "id": gateway.id,
        "pid": gateway.pid,
        "host": gateway.host,
        "version": gateway.version,
        "age_ms": now_ms - gateway.beat_at_ms,
        "uptime_ms": gateway.beat_at_ms - gateway.started_at_ms,
        "in_flight": gateway.in_flight,
        "process": gateway.process,
        "processes": gateway.processes,
        "process_port": gateway.process_port or None,
        "leaving": gateway.is_leaving,
    }


def _memory_mb(usage: Any) -> dict[str, float]:
    """Name → memory in MB, by a heartbeat, which may be of another version."""
    if not isinstance(usage, Mapping):
        return {}
    known = {name: one.get("memory_mb") for name, one in usage.items() if isinstance(one, Mapping)}
    return {str(name): round(mb, 1) for name, mb in known.items() if isinstance(mb, int | float)}


def _breaker_json(snapshot: BreakerSnapshot, now: float) -> dict[str, Any]:
    return {
        "consecutive_failures": snapshot.consecutive_failures,
        "calls": snapshot.num_calls,
        "failure_rate": _finite(snapshot.failure_rate),
        "slow_call_rate": _finite(snapshot.slow_call_rate),
        "retry_in_s": snapshot.retry_in_s,
        "transitions": [
            {
                "ago_s": round(now - transition.at_s, 3),
                "before": transition.before.value,
                "after": transition.after.value,
                "reason": transition.reason,
            }
            for transition in snapshot.transitions
        ],
    }


def _finite(rate: float) -> float | None:
    return round(rate, 2) if math.isfinite(rate) else None
