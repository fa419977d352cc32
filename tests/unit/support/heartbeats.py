"""Heartbeats of workers that do not exist."""

from hedgerow.common.wire.heartbeat import Heartbeat


def beat(worker: str, shards: list[int], at_ms: int) -> Heartbeat:
    """A heartbeat."""
    return Heartbeat(
        id=worker,
        pid=1,
        host="here",
        shards=shards,
        version="1",
        beat_at_ms=at_ms,
        started_at_ms=0,
        replicas={shard: f"replica of {shard} at {worker}" for shard in shards},
    )
