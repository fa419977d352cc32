"""Blocks of calls, timed: what every experiment is made of. Runs beside the user's function."""

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
    """Some calls, one after the other.

    Attributes:
        began: instant of the monotonic clock, in s.
        ended: the same at their end.
        cpu_s: CPU time of the whole process meanwhile, in s.
        own_cpu_s: that of the thread that made the calls, in s.
        queued_s: how long threads of the process were ready to run and had no core, in s; 0 where
            the system does not tell.
        errors: the last line of what calls raised.
    """

    began: float = 0.0
    ended: float = 0.0
    cpu_s: float = 0.0
    own_cpu_s: float = 0.0
    queued_s: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def wall_s(self) -> float:
        """How long they took, in s."""
        return self.ended - self.began


def run_block(target: Target, num_calls: int, budget_s: float = math.inf) -> Block:
    """Call the function so often, over the samples in turn; an async one on a loop of its own."""
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
    """Call once; what it raises is noted, since the next call may go well."""
    try:
        return target.invoke(given, budget_s)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
        block.errors.append(last_line(error))
        return None


async def run_async_block(target: Target, inputs: list[Any], block: Block, budget_s: float) -> None:
    """Await one call after the other on the running loop."""
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
    """Call once, and return what the function does; None when it raises."""
    if target.subject.is_async:
        return asyncio.run(call_async(target, given, Block(), budget_s))
    return call(target, given, Block(), budget_s)


def inputs_of(target: Target, num_calls: int) -> list[Any]:
    """Arguments for so many calls, over the samples in turn, made before the clock starts."""
    return [target.calls[at % len(target.calls)].fresh() for at in range(num_calls)]


@contextlib.contextmanager
def timed(block: Block) -> Iterator[None]:
    """Take the times of what is done in the context."""
    queued, own, cpu = queued_s(), time.thread_time(), time.process_time()
    block.began = time.monotonic()
    try:
        yield
    finally:
        block.ended = time.monotonic()
        block.cpu_s = time.process_time() - cpu
        block.own_cpu_s = time.thread_time() - own
        block.queued_s = max(0.0, queued_s() - queued)


def queued_s(task: str = "*") -> float:
    """How long threads of this process have waited for a core, in s; 0 where Linux is not.

    See sched-stats in the kernel's documentation: /proc/…/schedstat has the time on a core, the
    time in its queue, both in ns, and how often it was given one.

    Args:
        task: the number of one thread; all that there are if left out.
    """
    total_ns = 0
    for one in Path("/proc/self/task").glob(f"{task}/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
            total_ns += int(one.read_text().split()[1])
    return total_ns / 1e9


def run_threads(
    target: Target, width: int, num_calls: int, budget_s: float
) -> tuple[float, list[str]]:
    """Run a block in each of `width` threads at once; calls a second, and what was raised."""
    barrier = threading.Barrier(width)

    def one() -> Block:
        barrier.wait()
        return run_block(target, num_calls, budget_s)

    with ThreadPoolExecutor(width) as pool:
        blocks = [future.result() for future in [pool.submit(one) for _ in range(width)]]
    wall_s = max(one.ended for one in blocks) - min(one.began for one in blocks)
    errors = [error for one in blocks for error in one.errors]
    return width * num_calls / max(wall_s, 1e-9), errors


def spin(lasts_s: float) -> float:
    """Count for so long, in s, holding the interpreter lock; the share of a core that it got."""
    cpu = time.thread_time()
    began = time.monotonic()
    while time.monotonic() - began < lasts_s:
        pass
    return (time.thread_time() - cpu) / (time.monotonic() - began)


def hash_on(lasts_s: float) -> None:
    """Burn CPU for so long, in s, without the interpreter lock, which hashlib lets go of."""
    buffer = bytes(1 << 20)
    began = time.monotonic()
    while time.monotonic() - began < lasts_s:
        hashlib.sha256(buffer).digest()


class WatchedSelector(selectors.DefaultSelector):
    """What an event loop waits in; whenever it does not wait, somebody holds the loop.

    Attributes:
        stretches_s: how long that was each time, in s.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Begin anew, with a loop that is held."""
        self.stretches_s: list[float] = []
        self._back_at = time.monotonic()

    def look(self) -> None:
        """Count the stretch that is under way."""
        now = time.monotonic()
        self.stretches_s.append(now - self._back_at)
        self._back_at = now

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, as every selector does."""
        self.look()
        try:
            return super().select(timeout)
        finally:
            self._back_at = time.monotonic()
