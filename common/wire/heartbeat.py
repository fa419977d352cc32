"""The heartbeat: what a worker reports about itself, twice a second by default."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

import msgpack

from hedgerow.common.errors import WireError


@dataclass(frozen=True)
class Heartbeat:
    """One worker's last heartbeat; on the wire a MessagePack map; unknown keys are ignored.

    Attributes:
        id: the worker's name.
        pid: its process.
        host: the machine that it runs on.
        shards: which shards it serves.
        version: Hedgerow's version.
        beat_at_ms: when it was sent, an instant on the Redis server's clock.
        started_at_ms: when the worker started, on the same clock.
        documents: shard → collection uid → how many documents of it the shard holds.
        changes: shard → collection uid → how many documents were ever added, replaced or deleted.
        segments: shard → collection uid → segments of its text index.
        indexed: shard → collection uid → how many fields its text index has; of collections to
            which fields were added. Empty from a worker that cannot add fields.
        filled: shard → collection uid → documents of the index that will have the others, about.
        lanes: lane → capacity, busy, waiting, lost and the like.
        counters: name → number of such events since the start.
        applied: shard → id of the last log entry applied.
        replicas: shard → id of the replica (of the store on disk) that this worker serves.
        log_backlog: shard → log entries that some replica of it has yet to apply.
        gaps: shards that it has but does not serve, since it has missed a part of their logs.
        leaves: shards whose requests it leaves to other workers, since it is on probation.
        ledger: how requests have ended (`serving.work_accounting.End`) → `count`, `work_us` and
            `cpu_us`.
        behind: shards that it does not serve yet, since other replicas have applied more.
        statistics: collection uid → version of the term statistics with which the worker ranks.
        shortages: what runs out at the worker (`common.machine.shortage.Shortage.to_json`).
        set_aside: `bytes` on disk of documents that could not be indexed, and how many of those
            documents have been `dropped` since the start to make room.
        attaches: whether it supports searches that ask for documents (`wire.Attach`).
        traces: whether it takes the context of a trace (`wire.Request.trace`): tracing is on.
        metrics: what only metrics need (`common.metrics.worker_metrics`): `usage` of its
            processes, `loop_lag`, `redis_reconnects`; and whether the worker is `scraped` itself.
        joins: whether it serves what the placement assigns to it (`common.placement`); if not, its
            shards are pinned.
        capacity: how many shards it should get in relation to others that join.
        zone: where it is, such as a rack; "" if that is not known.
        stored: the shards whose data is on its disk, whether it serves them or not, or that it can
            clone in a split.
        placement: the version of the placement that it has carried out; 0 for none.
        unready: shard → why the worker cannot serve it, though the placement assigns it to it: the
            last attempt to take it up has failed, or it has missed a part of the log.
        splits: whether it can take part in a split of the shards.
        writes: which operations of the log it knows beside the first ones; 1: conditional writes
            (`shard_log.operations.Write`); 2: pairs of collections (`MirrorOp`), too.
        search_options: the level of the options of a search that it knows
            (`common.wire.search_options`); 0 for none.
        mirrors: shard → id of a pair of collections of which one follows the other → what
            `shard_log.mirror_report.MirrorReport` has of it, without the id.
        vectors: whether it can index vectors, for which it needs the extra of that name.
        retracts: whether it retracts the summary of a shard before it adds documents to the shard
            (`common.state.summaries`).
        bounds_scores: whether no document scores more than `common.query.score_bounds` says.
        clones: whether it makes new shards of a split from the old ones that it serves.
        embedding: what its indexer has embedded since the start (`EmbeddingCounts`), and the
            `share` of the last minute that this took; empty for nothing.
        splits_servers: whether it can take part in a split of shards whose logs are on servers of
            their own.
    """

    id: str
    pid: int
    host: str
    shards: list[int]
    version: str
    beat_at_ms: int
    started_at_ms: int
    documents: dict[int, dict[str, int]] = field(default_factory=dict)
    changes: dict[int, dict[str, int]] = field(default_factory=dict)
    segments: dict[int, dict[str, int]] = field(default_factory=dict)
    lanes: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    applied: dict[int, str] = field(default_factory=dict)
    replicas: dict[int, str] = field(default_factory=dict)
    log_backlog: dict[int, int] = field(default_factory=dict)
    gaps: list[int] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)
    ledger: dict[str, dict[str, int]] = field(default_factory=dict)
    behind: list[int] = field(default_factory=list)
    statistics: dict[str, str] = field(default_factory=dict)
    shortages: list[dict[str, Any]] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)
    attaches: bool = False
    traces: bool = False
    metrics: dict[str, Any] = field(default_factory=dict)
    indexed: dict[int, dict[str, int]] = field(default_factory=dict)
    filled: dict[int, dict[str, int]] = field(default_factory=dict)
    joins: bool = False
    capacity: float = 1.0
    zone: str = ""
    stored: list[int] = field(default_factory=list)
    placement: int = 0
    unready: dict[int, str] = field(default_factory=dict)
    splits: bool = False
    writes: int = 0
    search_options: int = 0
    mirrors: dict[int, dict[str, list[Any]]] = field(default_factory=dict)
    vectors: bool = False
    retracts: bool = False
    bounds_scores: bool = False
    clones: bool = False
    embedding: dict[str, Any] = field(default_factory=dict)
    splits_servers: bool = False

    def pack(self) -> bytes:
        """Pack for the wire."""
        # `dataclasses.asdict` would copy every value first, which takes thirty times as long.
        packed: bytes = msgpack.packb({name: getattr(self, name) for name in _TYPES})
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> "Heartbeat":
        """Unpack a heartbeat, which may be of another version.

        Raises:
            WireError: it is malformed, or lacks a member that every version has.
        """
        try:
            parts = msgpack.unpackb(data, strict_map_key=False)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise WireError(f"a malformed heartbeat: {error or type(error).__name__}") from error
        if not isinstance(parts, Mapping):
            raise WireError("a heartbeat is a map")
        known = {key: value for key, value in parts.items() if key in _TYPES}
        for name, kind in _TYPES.items():
            if name in known and not _CHECKS[name]((known[name],)):
                raise WireError(f"a heartbeat's {name} is not of type {kind}")
        try:
            return cls(**known)
        except TypeError as error:  # a member is missing
            raise WireError(f"an incomplete heartbeat: {error}") from error


def _check_of(kind: Any) -> Callable[[Iterable[Any]], bool]:
    """What returns whether all values from the wire are of a type such as dict[int, list[str]]."""
    if kind is Any:
        return lambda _values: True
    outer, inner = get_origin(kind) or kind, [_check_of(one) for one in get_args(kind)]
    match inner:
        case [check]:
            return lambda values: all(type(one) is outer and check(one) for one in values)
        case [check_key, check]:
            return lambda values: all(
                type(one) is outer and check_key(one) and check(one.values()) for one in values
            )
        case _:
            # One pass in C: with many collections, a heartbeat has tens of thousands of values.
            return lambda values: {outer}.issuperset(map(type, values))


_TYPES = get_type_hints(Heartbeat)
# Made once: each process reads the heartbeats of all workers every second.
_CHECKS = {name: _check_of(kind) for name, kind in _TYPES.items()}
