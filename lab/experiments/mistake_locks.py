"""Locks that are taken in random order."""

import asyncio
import functools
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness.plots import BLUE, RED, legend, tidy
from hedgerow.common.errors import HedgerowError
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from lab.finding import Finding, Options, Snippet, at_least, at_most, code_of, draw, exactly
from lab.locks import DeadlockError, Locks, Watchdog, find_circle

NUM_THREADS = 4
NUM_ACCOUNTS = 4
NUM_TRANSFERS = 1_000
_LOST_AFTER_S = 0.1
_TIMEOUT_S = 30.0
_WORK_S = 0.001


@dataclass(slots=True)
class Outcome:
    """The result of the transfers in one order."""

    num_done: int
    num_lost: int
    report: list[str]
    found_after_s: float
    done_at_s: list[float]


def transfer(locks: Locks, accounts: Sequence[str]) -> None:
    """Transfer between two accounts, whose locks are taken in the given order."""
    first, second = accounts
    locks.take(first)
    try:
        time.sleep(_WORK_S)  # reads the first before it asks for the second
        locks.take(second)
        locks.give(second)
    finally:
        locks.give(first)


async def run(options: Options) -> Finding:
    """Transfer in random order, then in a fixed one."""
    num_transfers = NUM_TRANSFERS // 10 if options.is_quick else NUM_TRANSFERS
    rng = random.Random(4)
    names = [f"account {number}" for number in range(NUM_ACCOUNTS)]
    pairs = [rng.sample(names, 2) for _ in range(num_transfers)]
    as_they_come = await _transfer_all(pairs)
    in_order = await _transfer_all([sorted(pair) for pair in pairs])
    return _finding(as_they_come, in_order, num_transfers)


async def _transfer_all(pairs: Sequence[Sequence[str]]) -> Outcome:
    lane = ThreadLane(num_threads=NUM_THREADS, lost_after_s=_LOST_AFTER_S, name="thread")
    locks, started, done_at_s = Locks(), time.monotonic(), list[float]()
    num_lost = 0
    waiting = iter(pairs)

    async def keep_transferring() -> None:
        for pair in waiting:
            if locks.is_broken.is_set():  # outside of the lab, nothing would have ended these waits
                return
            try:
                await lane.run(functools.partial(transfer, locks, pair), _TIMEOUT_S)
            except (DeadlockError, HedgerowError):
                return
            done_at_s.append(time.monotonic() - started)

    with Watchdog(locks, interval_s=2 * _LOST_AFTER_S) as watchdog:
        callers = asyncio.gather(*(keep_transferring() for _ in range(NUM_THREADS)))
        while not callers.done():
            num_lost = max(num_lost, lane.load()["lost"])
            await asyncio.wait([callers], timeout=0.02)
    await lane.close(1.0)
    return Outcome(len(done_at_s), num_lost, watchdog.report, watchdog.found_after_s, done_at_s)


def _finding(as_they_come: Outcome, in_order: Outcome, num_transfers: int) -> Finding:
    finding = Finding(
        name="mistake-locks",
        title="Mistake 6: locks in random order",
        claim=(
            "Threads that take two locks each, in arbitrary order, sooner or later wait for each "
            "other, and then for ever; nothing fails, everything just stands still. A fixed order "
            "cures it."
        ),
        set_up=(
            f"{num_transfers:,} transfers between {NUM_ACCOUNTS} accounts in a thread lane of "
            f"{NUM_THREADS}, {_WORK_S * 1000:g} ms between the first lock and the second; then the "
            "same with each pair sorted. A watchdog in a thread of its own looks for a cycle of "
            "threads that wait for each other, prints it, and ends their waits, which real locks "
            "would not. The lane counts a thread as lost once its call has not returned for "
            f"{_LOST_AFTER_S * 1000:g} ms."
        ),
        code=[code_of(transfer), code_of(find_circle)],
        columns=("", "transfers done", "threads lost", "deadlock found after"),
        rows=[
            [name, f"{one.num_done:,}", str(one.num_lost), _found(one)]
            for name, one in (("as they come", as_they_come), ("in a fixed order", in_order))
        ],
        checks=[
            at_most(
                "as they come: a deadlock is found after",
                as_they_come.found_after_s,
                10,
                "0.4 s or a little more",
                " s",
            ),
            at_most(
                "as they come: transfers done before it",
                as_they_come.num_done,
                num_transfers / 2,
                "a few",
            ),
            at_least(
                "as they come: threads that the lane counts as lost",
                as_they_come.num_lost,
                2,
                "2 or more",
            ),
            exactly("in a fixed order: deadlocks", len(in_order.report), 0),
            exactly("in a fixed order: transfers done", in_order.num_done, num_transfers),
        ],
        plots=[
            draw(
                "mistake-locks",
                "Transfers done over time: a line that stops at once, and one "
                "that goes on to the end",
                lambda axes: _paint(axes, as_they_come, in_order),
                height_in=3.0,
            ),
        ],
    )
    if as_they_come.report:
        finding.code = [
            *finding.code,
            Snippet("what the watchdog printed", "\n".join(as_they_come.report)),
        ]
    return finding


def _found(outcome: Outcome) -> str:
    return f"{outcome.found_after_s:.2f} s" if outcome.report else "none"


def _paint(axes: Any, as_they_come: Outcome, in_order: Outcome) -> None:
    for outcome, color, name in (
        (as_they_come, RED, "as they come"),
        (in_order, BLUE, "in a fixed order"),
    ):
        times = [0.0, *outcome.done_at_s]
        axes.plot(
            times, list(itertools.accumulate([0] + [1] * outcome.num_done)), color=color, label=name
        )
    if as_they_come.report:
        axes.axvline(as_they_come.found_after_s, color=RED, linestyle=":", label="deadlock found")
    tidy(axes, "time, s", "transfers done")
    legend([axes])
