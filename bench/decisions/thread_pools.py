"""`python -m bench.decisions.thread_pools`: the batched threads beside ThreadPoolExecutor.

A call reads ten documents of 300 bytes from SQLite, as a fetch does. An event loop makes one call
at a time, and then keeps 32 under way, in four threads.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.harness.report import machine, median
from hedgerow.shard_worker.executors.thread_pool.batched_threads import BatchedThreads
from hedgerow.shard_worker.executors.thread_pool.threads import Spent, ThreadLane
from hedgerow.shard_worker.storage.store import Store

_NUM_THREADS = 4
_IN_FLIGHT = 32
_NUM_DOCUMENTS = 50_000
_UID = "c"


@dataclass(slots=True)
class _Way:
    name: str
    call: Callable[[], Awaitable[object]]
    alone_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


def _filled(folder: Path) -> Store:
    store = Store.open(folder / "documents.sqlite")
    body = b'{"text": "%s"}' % (b"x" * 285)
    documents = {f"id-{number:06}": body for number in range(_NUM_DOCUMENTS)}
    store.apply("1-0", definitions={_UID: "{}"}, documents={_UID: documents})
    return store


def _ways(store: Store) -> tuple[list[_Way], Callable[[], Awaitable[None]]]:
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

    return [
        _Way("on the loop, which it blocks", on_the_loop),
        _Way("ThreadPoolExecutor", lambda: loop.run_in_executor(pool, read)),
        _Way("ThreadLane, a call a turn", lambda: plain.run(read, 5.0)),
        _Way("BatchedThreads", lambda: batched.run(read, 5.0, spent)),
    ], close


async def _round(way: _Way, seconds: float) -> None:
    times = []
    ends_at = time.perf_counter() + seconds / 2
    while (began_at := time.perf_counter()) < ends_at:
        await way.call()
        times.append(time.perf_counter() - began_at)
    way.alone_us.append(median(times) * 1e6)
    number = 0
    began_at, cpu_s = time.perf_counter(), time.process_time()
    ends_at = began_at + seconds

    async def ask() -> None:
        nonlocal number
        while time.perf_counter() < ends_at:
            await way.call()
            number += 1

    await asyncio.gather(*(ask() for _ in range(_IN_FLIGHT)))
    way.cpu_us.append((time.process_time() - cpu_s) / number * 1e6)
    way.per_s.append(number / (time.perf_counter() - began_at))


async def _measure(num_rounds: int, seconds: float, folder: Path) -> list[_Way]:
    store = _filled(folder)
    ways, close = _ways(store)
    for _ in range(num_rounds):
        for way in ways:
            await _round(way, seconds)
    await close()
    store.close()
    return ways


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.decisions.thread_pools", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=9, help="of each (9)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement (0.5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hedgerow-threads-") as folder:
        ways = asyncio.run(_measure(arguments.rounds, arguments.seconds, Path(folder)))
    say = sys.stdout.write
    say(f"{machine()}; load average {os.getloadavg()[0]:.1f}; ")
    say(f"medians of {arguments.rounds} rounds in turns; {_IN_FLIGHT} calls under way\n\n")
    say("|  | alone, µs | calls/s | CPU µs a call |\n| --- | --- | --- | --- |\n")
    for way in ways:
        say(f"| {way.name} | {median(way.alone_us):,.0f} | {median(way.per_s):,.0f} | ")
        say(f"{median(way.cpu_us):.0f} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
