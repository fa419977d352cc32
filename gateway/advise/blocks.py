"""Timed blocks of calls, of which experiments consist. Runs in the user function's process."""

import asyncio
import contextlib
import hashlib
import math
import selectors
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hedgerow.common.user_function import last_line
from hedgerow.gateway.advise.target import Target


@dataclass(slots=True)
class Block:
    """Some calls, one after another.

    Attributes:
        began: when they began, by the monotonic clock, in s.
        ended: when they ended.
        cpu_s: CPU time of the whole process in this time, in s.
        own_cpu_s: CPU time of the thread that made the calls, in s.
        queued_s: how long threads of the process were ready to run but had no core, in s; 0 if the
            system does not tell.
        own_queued_s: the same of the thread that made the calls.
        errors: the last line of each error that a call raised.
    """

    began: float = 0.0
    ended: float = 0.0
    cpu_s: float = 0.0
    own_cpu_s: float = 0.0
    queued_s: float = 0.0
    own_queued_s: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def wall_s(self) -> float:
        """The time of all calls, in s."""
        return self.ended - self.began

    @property
    def idle_machine_s(self) -> float:
        """The time that the calls would have taken on an idle machine, in s."""
        return max(self.wall_s - self.own_queued_s, self.own_cpu_s)


def run_block(target: Target, num_calls: int, budget_s: float = math.inf) -> Block:
    """Call the function `num_calls` times, with the samples in turn; an async one on a new loop."""
    inputs = inputs_of(target, num_calls)
    block = Block()
    if target.subject.is_async:
        asyncio.run(run_async_block(target, inputs, block, budget_s))
        return block
    with timed(block):
        for given in inputs:
            call(target, given, block, budget_s)
    return block


def call(target: Target, given: Any, block: Block, budget_s: float) -> Any:
    """Call once; records an error, since the next call may succeed."""
    try:
        return target.invoke(given, budget_s)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
        block.errors.append(last_line(error))
        return None


async def run_async_block(target: Target, inputs: list[Any], block: Block, budget_s: float) -> None:
    """Await the calls one after another on the running loop."""
    with timed(block):
        for given in inputs:
            await call_async(target, given, block, budget_s)


async def call_async(target: Target, given: Any, block: Block, budget_s: float) -> Any:
    """Await one call, as `call` does."""
    try:
        return await target.invoke(given, budget_s)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as in `call`
        block.errors.append(last_line(error))
        return None


def result_of(target: Target, given: Any, budget_s: float) -> Any:
    """Call once, and return the function's result; None if it raises."""
    if target.subject.is_async:
        return asyncio.run(call_async(target, given, Block(), budget_s))
    return call(target, given, Block(), budget_s)


def inputs_of(target: Target, num_calls: int) -> list[Any]:
    """Make the arguments of `num_calls` calls, with the samples in turn, before timing starts."""
    return [target.calls[at % len(target.calls)].fresh() for at in range(num_calls)]


@contextlib.contextmanager
def timed(block: Block) -> Iterator[None]:
    """Measure the times of the context's body."""
    task = str(threading.get_native_id())
    queued, own_queued = queued_s(), queued_s(task)
    own, cpu = time.thread_time(), time.process_time()
    block.began = time.monotonic()
    try:
        yield
    finally:
        block.ended = time.monotonic()
        block.cpu_s = time.process_time() - cpu
        block.own_cpu_s = time.thread_time() - own
        block.own_queued_s = max(0.0, queued_s(task) - own_queued)
        block.queued_s = max(0.0, queued_s() - queued)


def queued_s(task: str = "*") -> float:
    """Return how long threads of this process have waited for a core, in s; 0 except on Linux.

    See sched-stats in the kernel's documentation: /proc/…/schedstat has the time on a core and the
    time in its queue, both in ns, and the number of time slices.

    Args:
        task: the number of one thread; all threads by default.
    """
    total_ns = 0
    for path in Path("/proc/self/task").glob(f"{task}/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
            total_ns += int(path.read_text().split()[1])
    return total_ns / 1e9


def run_threads(
    target: Target, width: int, num_calls: int, budget_s: float
) -> tuple[float, list[str]]:
    """Run a block in each of `width` threads at once; returns calls per second, and the errors."""
    barrier = threading.Barrier(width)

    def run() -> Block:
        barrier.wait()
        return run_block(target, num_calls, budget_s)

    with ThreadPoolExecutor(width) as pool:
        blocks = [future.result() for future in [pool.submit(run) for _ in range(width)]]
    wall_s = max(block.ended for block in blocks) - min(block.began for block in blocks)
    errors = [error for block in blocks for error in block.errors]
    return width * num_calls / max(wall_s, 1e-9), errors


def spin(lasts_s: float) -> float:
    """Count for `lasts_s`, holding the interpreter lock; returns the share of a core it got."""
    cpu = time.thread_time()
    began = time.monotonic()
    while time.monotonic() - began < lasts_s:
        pass
    return (time.thread_time() - cpu) / (time.monotonic() - began)


def hash_on(lasts_s: float) -> None:
    """Use CPU for `lasts_s` without the interpreter lock, which hashlib releases."""
    buffer = bytes(1 << 20)
    began = time.monotonic()
    while time.monotonic() - began < lasts_s:
        hashlib.sha256(buffer).digest()


class WatchedSelector(selectors.DefaultSelector):
    """An event loop's selector that measures how long the loop is blocked between two waits.

    Attributes:
        stretches_s: each of these times, in s.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Start again, while the loop is blocked."""
        self.stretches_s: list[float] = []
        self._back_at = time.monotonic()

    def look(self) -> None:
        """Record the current stretch."""
        now = time.monotonic()
        self.stretches_s.append(now - self._back_at)
        self._back_at = now

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, as a selector does."""
        self.look()
        try:
            return super().select(timeout)
        finally:
            self._back_at = time.monotonic()
