"""The worker's lanes without a worker, and the lag of the loop beside them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from bench.harness.load import quantile
from bench.harness.pools import make_lane, running
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane

NUM_PROCESSES = 2
_LAG_INTERVAL_S = 0.005


class Lanes(NamedTuple):
    """The two lanes other than the loop itself."""

    thread: ThreadLane
    process: ProcessLane


@asynccontextmanager
async def open_lanes(num_threads: int) -> AsyncIterator[Lanes]:
    """Open the lanes; the process lane runs `lab.kinds`, two tasks at a time."""
    thread = ThreadLane(num_threads=num_threads, lost_after_s=10.0, name="threads")
    try:
        async with running(make_lane("lab.kinds:make_handler", NUM_PROCESSES), 0.0) as process:
            yield Lanes(thread, process)
    finally:
        await thread.close(1.0)


class Lag:
    """How late the loop ran a timer, in ms, sampled every few ms."""

    def __init__(self) -> None:
        self.lags_ms: list[float] = []

    @property
    def max_ms(self) -> float:
        """The largest lag."""
        return max(self.lags_ms, default=float("nan"))

    def quantile_ms(self, share: float) -> float:
        """The lag that a share of the samples did not exceed."""
        return quantile(self.lags_ms, share)

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            due = time.perf_counter() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            self.lags_ms.append(max(0.0, time.perf_counter() - due) * 1000)


@contextmanager
def watched_loop() -> Iterator[Lag]:
    """Measure the running loop's lag during the block."""
    lag = Lag()
    task = asyncio.get_running_loop().create_task(lag.watch())
    try:
        yield lag
    finally:
        task.cancel()
