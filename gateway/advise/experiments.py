"""The experiments, each a few rounds of short blocks; they run in the user function's process.

Cases to compare are measured in turn within a round, so that another program's load on the machine
affects both. Results are plain JSON values.
"""

import asyncio
import functools
import math
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from hedgerow.gateway.advise.blocks import (
    Block,
    WatchedSelector,
    call,
    call_async,
    hash_on,
    inputs_of,
    queued_s,
    result_of,
    run_async_block,
    run_block,
    run_threads,
    spin,
    timed,
)
from hedgerow.gateway.advise.target import Target

Result = dict[str, Any]

_SPIN_S: Final = 0.03
_SWITCH_INTERVAL_S: Final = 0.05
_PROBE_PAUSE_S: Final = 0.002
_WATCHED_S: Final = 0.15  # several switch intervals
_AT_ONCE: Final = 8
_MIN_EXPIRY_S: Final = 0.001


def alone(target: Target, rounds: int, calls: int, budget_s: float) -> Result:
    """Time calls one after another, and measure the share of a core that a counting loop gets."""
    blocks, free_shares = [], []
    for _ in range(rounds):
        free_shares.append(spin(_SPIN_S))
        blocks.append(run_block(target, calls, budget_s))
    free_share = statistics.median(free_shares)
    cpu_s = sum(block.cpu_s for block in blocks)
    own_cpu_s = sum(block.own_cpu_s for block in blocks)
    return {
        "call_s": [block.wall_s / calls for block in blocks],
        "cpu_share": statistics.median(_wanted_share(block, free_share) for block in blocks),
        "native_share": max(0.0, 1 - own_cpu_s / cpu_s) if cpu_s else 0.0,
        "free_share": free_share,
        "errors": [error for block in blocks for error in block.errors][:3],
    }


def _wanted_share(block: Block, free_share: float) -> float:
    """Return the share of a block's time in which it had a core or waited for one."""
    wall_s = max(block.wall_s, 1e-9)
    if block.queued_s or not block.cpu_s:
        return (block.cpu_s + block.queued_s) / wall_s
    # Relative to what a counting loop could get; but that does not show a second core.
    share = block.cpu_s / wall_s
    return max(share, min(1.0, share / max(free_share, 0.01)))


def lock_held(target: Target, rounds: int, calls: int, budget_s: float) -> Result:
    """Measure how long another thread waits to run: during the calls, and in two known cases.

    A thread that waits for the lock gets it at the latest after the switch interval. That is set
    much longer than a busy machine's scheduler delays a waking thread, so that the two can be told
    apart.

    Returns:
        `held`; None if the two known cases cannot be told apart.
    """
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    beside, held, free = _Waits(), _Waits(), _Waits()
    try:
        for _ in range(rounds):
            began = time.monotonic()
            beside.watch(lambda: _run_on(target, calls, budget_s))
            lasts_s = min(time.monotonic() - began, 4 * _SWITCH_INTERVAL_S)
            held.watch(functools.partial(spin, lasts_s))
            free.watch(functools.partial(hash_on, lasts_s))
    finally:
        sys.setswitchinterval(interval_s)
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return {"held": 0.0}
    scale = held.share_beyond(free)
    if scale < 0.5:
        return {"held": None}
    return {"held": min(1.0, beside.share_beyond(free) / scale)}


def _run_on(target: Target, calls: int, budget_s: float) -> None:
    began = time.monotonic()
    while time.monotonic() - began < _WATCHED_S:
        run_block(target, calls, budget_s)


class _Waits:
    """The waits of a thread that wants to run now and then."""

    def __init__(self) -> None:
        self._total_s = 0.0
        self._count = 0

    def watch(self, work: Callable[[], object]) -> None:
        """Measure while `work` runs."""
        is_over = threading.Event()
        is_ready = threading.Event()

        def probe() -> None:
            task = str(threading.get_native_id())
            is_ready.set()
            while not is_over.is_set():
                began, queued = time.monotonic(), queued_s(task)
                time.sleep(_PROBE_PAUSE_S)
                # Exclude the wait for a core, which is not the lock.
                waited_s = time.monotonic() - began - _PROBE_PAUSE_S - (queued_s(task) - queued)
                self._total_s += max(0.0, waited_s)
                self._count += 1

        thread = threading.Thread(target=probe)
        thread.start()
        is_ready.wait()
        try:
            work()
        finally:
            is_over.set()
            thread.join()

    def share_beyond(self, other: "_Waits") -> float:
        """Return the share of its time that it waited longer than in the other case."""
        beyond_s = max(0.0, self.mean_s - other.mean_s)
        return beyond_s / (beyond_s + _PROBE_PAUSE_S)

    @property
    def mean_s(self) -> float:
        """Return the mean wait, in s."""
        return self._total_s / max(self._count, 1)


def threads(target: Target, rounds: int, calls: int, budget_s: float, widths: list[int]) -> Result:
    """Compare the throughput of `widths` threads with that of one."""
    ratios: dict[int, list[float]] = {width: [] for width in widths}
    errors: list[str] = []
    for _ in range(rounds):
        single, _ = run_threads(target, 1, calls, budget_s)
        for width in widths:
            several, raised = run_threads(target, width, calls, budget_s)
            ratios[width].append(several / single)
            errors += raised
    return {
        "ratios": {str(width): statistics.median(found) for width, found in ratios.items()},
        "errors": errors[:3],
    }


def block(target: Target, calls: int, budget_s: float, starts_at: float) -> Result:
    """Run one block from an instant of the monotonic clock, which all processes share."""
    time.sleep(max(0.0, starts_at - time.monotonic()))
    done = run_block(target, calls, budget_s)
    return {"began": done.began, "ended": done.ended}


def on_loop(target: Target, rounds: int, calls: int, budget_s: float) -> Result:
    """Call the function on an event loop, and measure how long the loop is blocked."""
    lags, held, at_once = [], [], []
    for _ in range(rounds):
        selector = WatchedSelector()
        loop = asyncio.SelectorEventLoop(selector)
        try:
            asyncio.set_event_loop(loop)
            watched = loop.run_until_complete(_watch(target, selector, calls, budget_s))
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        if watched is None:
            return {}
        lag, share, times = watched
        lags.append(lag)
        held.append(share)
        at_once.append(times)
    is_async = target.subject.is_async
    return {
        "lag_s": statistics.median(lags),
        "held_share": statistics.median(held),
        "at_once": statistics.median(at_once) if is_async else None,
    }


async def _watch(
    target: Target, selector: WatchedSelector, calls: int, budget_s: float
) -> tuple[float, float, float] | None:
    inputs = inputs_of(target, calls)
    one_by_one = Block()
    await asyncio.sleep(0)
    selector.clear()
    began = time.monotonic()
    if not target.subject.is_async:
        for given in inputs:
            call(target, given, one_by_one, budget_s)
            await asyncio.sleep(0)  # lets other tasks run between two calls
        if one_by_one.errors:  # it may start its own loop, which fails on a running loop
            return None
        # Each call was one stretch. In the longest, other processes had the core.
        lag_s = statistics.median(selector.stretches_s)
        return lag_s, sum(selector.stretches_s) / (time.monotonic() - began), 1.0
    await run_async_block(target, inputs, one_by_one, budget_s)
    selector.look()
    share = sum(selector.stretches_s) / max(time.monotonic() - began, 1e-9)
    lag_s = max(selector.stretches_s)
    batches = [inputs_of(target, calls) for _ in range(_AT_ONCE)]
    began = time.monotonic()
    await asyncio.gather(
        *(run_async_block(target, inputs, Block(), budget_s) for inputs in batches)
    )
    took_s = time.monotonic() - began
    return lag_s, share, _AT_ONCE * one_by_one.wall_s / max(took_s, 1e-9)


def expiry(
    target: Target,
    rounds: int,
    calls: int,  # noqa: ARG001 - one per round
    budget_s: float,
) -> Result:
    """Let the budget expire half-way, or cancel an async call; measure how long it runs on.

    Each round first makes a whole call, since on a busy machine the time of a call varies. The
    waits for a core are left out: a call that sleeps has one when it wakes, which may be as long as
    what it has yet to do.
    """
    is_cancelled = target.subject.is_async and not target.subject.takes_budget
    afters, overruns, shares = [], [], []
    for given, again in zip(inputs_of(target, rounds), inputs_of(target, rounds), strict=True):
        whole, cut = Block(), Block()
        with timed(whole):
            result_of(target, given, budget_s)
        after_s = max(whole.idle_machine_s / 2, _MIN_EXPIRY_S)
        with timed(cut):
            if is_cancelled:
                asyncio.run(_cancel(target, again, after_s))
            else:
                result_of(target, again, after_s)
        afters.append(after_s)
        overruns.append(max(0.0, cut.idle_machine_s - after_s))
        shares.append(_done_share(cut, whole))
    return {
        "after_s": statistics.median(afters),
        "overrun_s": statistics.median(overruns),
        "done_share": statistics.median(shares),
        "is_cancelled": is_cancelled,
        "is_checked": is_cancelled or target.has_checked_budget,
    }


def _done_share(cut: Block, whole: Block) -> float:
    """Return the share of a whole call that was done, by CPU time if it is CPU work."""
    if whole.cpu_s + whole.queued_s >= whole.wall_s / 2:
        return cut.cpu_s / max(whole.cpu_s, 1e-9)
    return cut.idle_machine_s / max(whole.idle_machine_s, 1e-9)


async def _cancel(target: Target, given: Any, after_s: float) -> None:
    task = asyncio.ensure_future(call_async(target, given, Block(), math.inf))
    await asyncio.wait([task], timeout=after_s)
    task.cancel()
    await asyncio.wait([task])
