"""The worker's lanes without a worker, and how late the loop is beside them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from bench.harness.load import quantile
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane

NUM_PROCESSES = 2
_LAG_INTERVAL_S = 0.005


class Lanes(NamedTuple):
    """The two lanes that are not the loop itself."""

    thread: ThreadLane
    process: ProcessLane


@asynccontextmanager
async def open_lanes(num_threads: int) -> AsyncIterator[Lanes]:
    """Open them; the process lane runs `lab.kinds`, two works at a time."""
    thread = ThreadLane(num_threads=num_threads, lost_after_s=10.0, name="threads")
    process = ProcessLane(
        factory="lab.kinds:make_handler",
        config=None,
        num_processes=NUM_PROCESSES,
        max_batch=64,
        batch_window_ms=4.0,
        kill_grace_ms=250.0,
        gate=None,
        name="processes",
    )
    await process.start()
    try:
        yield Lanes(thread, process)
    finally:
        await process.close(0.0)
        await thread.close(1.0)


class Lag:
    """How late the loop ran what was due, in ms, once every few ms."""

    def __init__(self) -> None:
        self.lags_ms: list[float] = []

    @property
    def max_ms(self) -> float:
        """The worst."""
        return max(self.lags_ms, default=float("nan"))

    def quantile_ms(self, share: float) -> float:
        """What a share of the looks did not exceed."""
        return quantile(self.lags_ms, share)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            due = time.perf_counter() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            self.lags_ms.append(max(0.0, time.perf_counter() - due) * 1000)


@contextmanager
def watched_loop() -> Iterator[Lag]:
    """Watch the running loop's lag while the block runs."""
    lag = Lag()
    task = asyncio.get_running_loop().create_task(lag.watch())
    try:
        yield lag
    finally:
        task.cancel()
