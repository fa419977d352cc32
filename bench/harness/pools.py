"""Pools of processes without a worker around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool

Pool = TypeVar("Pool", bound=ScorerPool)


def make_lane(
    factory: str,
    num_processes: int,
    *,
    max_batch: int = 64,
    batch_window_ms: float = 4.0,
    kill_grace_ms: float = 250.0,
) -> ProcessLane:
    """A supervised pool that runs a factory's handler, with the defaults of a worker."""
    return ProcessLane(
        factory=factory,
        config=None,
        num_processes=num_processes,
        max_batch=max_batch,
        batch_window_ms=batch_window_ms,
        kill_grace_ms=kill_grace_ms,
        gate=None,
        name="bench",
    )


@asynccontextmanager
async def running(pool: Pool, patience_s: float = 1.0) -> AsyncIterator[Pool]:
    """Start a pool, and close it at the end of the block, within `patience_s`."""
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close(patience_s)
