"""`python -m bench.decisions.thread_pools`: the batched threads beside ThreadPoolExecutor.

A call reads ten documents of 300 bytes from SQLite, as a fetch does. An event loop makes one call
at a time, and then keeps 32 in flight, in four threads.
"""

import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.harness.load import Ask
from bench.harness.options import make_parser
from bench.harness.report import show
from bench.harness.rounds import turns
from bench.harness.subject import IN_FLIGHT, Subject
from hedgerow.shard_worker.executors.thread_pool.batched_threads import BatchedThreads
from hedgerow.shard_worker.executors.thread_pool.threads import Spent, ThreadLane
from hedgerow.shard_worker.storage.store import Store

_NUM_THREADS = 4
_NUM_DOCUMENTS = 50_000
_UID = "c"


def _filled(folder: Path) -> Store:
    store = Store.open(folder / "documents.sqlite")
    body = b'{"text": "%s"}' % (b"x" * 285)
    documents = {f"id-{number:06}": body for number in range(_NUM_DOCUMENTS)}
    store.apply("1-0", definitions={_UID: "{}"}, documents={_UID: documents})
    return store


def _ways(store: Store) -> tuple[list[Subject], Callable[[], Awaitable[None]]]:
    rng = random.Random(1)
    chosen = [[f"id-{rng.randrange(_NUM_DOCUMENTS):06}" for _ in range(10)] for _ in range(1_000)]
    numbers = iter(range(10**9))

    def read() -> object:
        return store.get(_UID, chosen[next(numbers) % len(chosen)])

    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(_NUM_THREADS)
    plain, batched_in = (
        ThreadLane(num_threads=_NUM_THREADS, lost_after_s=10, name=name)
        for name in ("plain", "batched")
    )
    batched = BatchedThreads(batched_in, 64)
    spent = Spent()

    async def close() -> None:
        pool.shutdown()
        await plain.close(1.0)
        await batched.close(1.0)

    async def on_the_loop() -> object:
        return read()

    ways: dict[str, Ask] = {
        "on the loop, which it blocks": on_the_loop,
        "ThreadPoolExecutor": lambda: loop.run_in_executor(pool, read),
        "ThreadLane, a call a turn": lambda: plain.run(read, 5.0),
        "BatchedThreads": lambda: batched.run(read, 5.0, spent),
    }
    parts = {"process": [os.getpid()]}
    return [Subject(name, call, parts) for name, call in ways.items()], close


async def _measure(num_rounds: int, seconds: float, folder: Path) -> list[Subject]:
    store = _filled(folder)
    ways, close = _ways(store)
    for _, way in turns(ways, num_rounds):
        await way.measure_alone(seconds / 2)
        await way.measure_together(seconds)
        way.check()
    await close()
    store.close()
    return ways


def main() -> int:
    """Measure; returns the exit status."""
    arguments = make_parser("bench.decisions.thread_pools", __doc__, 9, 0.5).parse_args()
    with tempfile.TemporaryDirectory(prefix="hedgerow-threads-") as folder:
        ways = asyncio.run(_measure(arguments.rounds, arguments.seconds, Path(folder)))
    show(
        f"medians of {arguments.rounds} rounds in turns; {IN_FLIGHT} calls in flight",
        ("", "alone, µs", "calls/s", "CPU µs a call"),
        [
            (
                way.name,
                f"{way.alone_ms * 1e3:,.0f}",
                f"{way.throughput:,.0f}",
                f"{way.cpu_of('process'):.0f}",
            )
            for way in ways
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
