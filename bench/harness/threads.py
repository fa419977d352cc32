"""A closed loop for a blocking client: a thread for each query in flight."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.harness.load import Load, Run


def asking_in_threads(ask: Callable[[], None], most_in_flight: int = 32) -> Run:
    """A load from a function that asks one query and blocks until it is answered."""
    threads = ThreadPoolExecutor(most_in_flight, thread_name_prefix="asker")

    async def run(in_flight: int, seconds: float) -> Load:
        load, lock = Load(), threading.Lock()
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        await asyncio.gather(
            *(
                loop.run_in_executor(threads, _keep_asking, ask, started + seconds, load, lock)
                for _ in range(in_flight)
            )
        )
        load.seconds = time.perf_counter() - started
        return load

    return run


def _keep_asking(ask: Callable[[], None], until: float, load: Load, lock: threading.Lock) -> None:
    latencies_s: list[float] = []
    num_failed, failure = 0, ""
    now = time.perf_counter()
    while now < until:
        asked_at = now
        try:
            ask()
        except Exception as error:  # noqa: BLE001 - counted; the report shows them
            num_failed, failure = num_failed + 1, repr(error)
            now = time.perf_counter()
        else:
            now = time.perf_counter()
            latencies_s.append(now - asked_at)
    with lock:
        load.latencies_s += latencies_s
        load.num_failed += num_failed
        load.failure = failure or load.failure
