"""Three kinds of work, each in each lane: nine cells, of which three are right."""

import asyncio
import gc
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from bench.harness.load import closed_loop
from bench.harness.plots import BLUE, GREEN, ORANGE, legend, logarithmic, tidy
from hedgerow.shard_worker.executors.process_pool.pool import Task
from lab.compute import STEPS, compute
from lab.finding import Finding, Options, at_least, code_of, draw, number
from lab.kinds import IO_S, wait_async, wait_blocking
from lab.lanes import NUM_PROCESSES, Lanes, open_lanes, watched_loop
from lab.yardstick import gains, two_of_one

LANES = ("loop", "thread", "process")
KINDS = ("async I/O", "blocking I/O", "CPU")
RIGHT = dict(zip(KINDS, LANES, strict=True))
IN_FLIGHT = 64
NUM_THREADS = 8
_SECONDS, _NUM_ROUNDS = 0.4, 4
_TIMEOUT_S = 60.0

Ask = Callable[[], Awaitable[object]]


class Cell(NamedTuple):
    """A kind in a lane."""

    throughput: float
    p99_ms: float
    lag_ms: float


async def wait_on_loop() -> None:
    """A blocking call where it stops everything else."""
    await asyncio.sleep(0)  # a request arrives through the loop
    wait_blocking()


async def compute_on_loop() -> None:
    """CPU work where it stops everything else."""
    await asyncio.sleep(0)
    compute()


def nine_cells(lanes: Lanes) -> dict[tuple[str, str], Ask]:
    """How each kind is run in each lane."""
    thread, process = lanes
    return {
        ("async I/O", "loop"): wait_async,
        ("async I/O", "thread"): lambda: thread.run(lambda: asyncio.run(wait_async()), _TIMEOUT_S),
        ("async I/O", "process"): lambda: process.run(Task(b"async")),
        ("blocking I/O", "loop"): wait_on_loop,
        ("blocking I/O", "thread"): lambda: thread.run(wait_blocking, _TIMEOUT_S),
        ("blocking I/O", "process"): lambda: process.run(Task(b"blocking")),
        ("CPU", "loop"): compute_on_loop,
        ("CPU", "thread"): lambda: thread.run(compute, _TIMEOUT_S),
        ("CPU", "process"): lambda: process.run(Task(b"cpu")),
    }


async def run(options: Options) -> Finding:
    """Keep each cell busy for a while, in turns, since other load comes and goes."""
    num_rounds = 1 if options.is_quick else _NUM_ROUNDS
    rounds: dict[tuple[str, str], list[Cell]] = {}
    yardsticks: list[float] = []
    async with open_lanes(NUM_THREADS) as lanes:
        for _ in range(num_rounds):
            for place, ask in nine_cells(lanes).items():
                if place == ("CPU", "thread"):  # next to what it is compared with
                    yardsticks.append(await two_of_one(_SECONDS))
                await _ask(ask)
                gc.collect()
                with watched_loop() as lag:
                    load = await closed_loop(partial(_ask, ask), IN_FLIGHT, _SECONDS)
                if load.num_failed:
                    raise RuntimeError(f"{place}: {load.num_failed} tasks failed")
                cell = Cell(load.throughput, load.quantile_ms(0.99), lag.max_ms)
                rounds.setdefault(place, []).append(cell)
    cells = {
        place: Cell(*map(statistics.median, zip(*measured, strict=True)))
        for place, measured in rounds.items()
    }
    return _finding(cells, rounds, yardsticks)


async def _ask(ask: Ask) -> None:
    await ask()


def _finding(
    cells: dict[tuple[str, str], Cell],
    rounds: dict[tuple[str, str], list[Cell]],
    yardsticks: list[float],
) -> Finding:
    finding = Finding(
        name="lanes",
        title="Three lanes",
        claim=(
            "Async I/O belongs on the loop, blocking I/O in threads, CPU work in processes: each "
            "kind of work gets most done in its own lane, and whatever blocks the loop delays "
            "everything."
        ),
        set_up=(
            f"{IN_FLIGHT} tasks in flight for {_SECONDS:g} s in each cell, one cell after another, "
            f"{len(yardsticks)} rounds; figures are medians of the rounds. I/O waits for "
            f"{IO_S * 1000:g} ms, CPU work takes {STEPS:,} steps of pure Python. The thread lane "
            f"has {NUM_THREADS} threads, the process lane {NUM_PROCESSES} processes. Lag is the "
            "most that a timer of 5 ms was late on the loop. Since other programs may be using the "
            "machine, each round also measures how much two bare processes compute, compared with "
            f"one (median: {statistics.median(yardsticks):.2f} times)."
        ),
        code=[code_of(nine_cells)],
        columns=("", "lane", "tasks/s", "p99, ms", "worst loop lag, ms"),
    )
    for (kind, lane), cell in cells.items():
        mark = "**" if RIGHT[kind] == lane else ""
        row = [kind, lane, *map(number, cell)]
        finding.rows.append([f"{mark}{text}{mark}" for text in row])

    def times(kind: str, other: str) -> float:
        return cells[kind, RIGHT[kind]].throughput / cells[kind, other].throughput

    wait_ms, unit = IO_S * 1000, " times"
    of_threads, of_processes = IN_FLIGHT / NUM_THREADS, NUM_THREADS / NUM_PROCESSES
    by_threads = f"{of_threads:g} times: {IN_FLIGHT} wait at once, not {NUM_THREADS}"
    by_processes = f"{of_processes:g} times: {NUM_THREADS} wait at once, not {NUM_PROCESSES}"

    def of_cpu_work(lane: str) -> list[float]:
        return [cell.throughput for cell in rounds["CPU", lane]]

    in_processes = of_cpu_work("process")
    innocent_ms = cells["CPU", "process"].lag_ms
    finding.checks = [
        at_least(
            "async I/O: loop, relative to threads",
            times("async I/O", "thread"),
            3,
            by_threads,
            unit,
        ),
        at_least(
            "async I/O: loop, relative to processes",
            times("async I/O", "process"),
            10,
            f"{IN_FLIGHT / NUM_PROCESSES:g} times",
            unit,
        ),
        at_least(
            "blocking I/O: threads, relative to loop",
            times("blocking I/O", "loop"),
            3,
            f"{NUM_THREADS} times: {NUM_THREADS} wait at once, not 1",
            unit,
        ),
        at_least(
            "blocking I/O: threads, relative to processes",
            times("blocking I/O", "process"),
            2,
            by_processes,
            unit,
        ),
        gains(
            "CPU: processes, relative to threads", in_processes, of_cpu_work("thread"), yardsticks
        ),
        gains("CPU: processes, relative to loop", in_processes, of_cpu_work("loop"), yardsticks),
        at_least(
            "loop lag: blocking I/O on the loop",
            cells["blocking I/O", "loop"].lag_ms,
            5 * wait_ms,
            # Tasks that end within the time are started again, and queue before the timer.
            f"{IN_FLIGHT * wait_ms + 1000 * _SECONDS:,.0f} ms: all that are in flight, and the "
            f"tasks that follow in the first {_SECONDS:g} s",
            " ms",
        ),
        at_least(
            "loop lag: CPU on the loop, relative to CPU in processes",
            cells["CPU", "loop"].lag_ms / max(innocent_ms, 0.1),
            5,
            "over 50 times",
            unit,
        ),
    ]
    finding.plots = [
        draw(
            "lanes",
            "Bars, logarithmic: tasks a second, 99th percentile and loop lag of each kind of work "
            "in each lane",
            lambda axes: _paint(axes, cells),
            columns=3,
            height_in=3.4,
        ),
    ]
    return finding


def _paint(axes: Any, cells: dict[tuple[str, str], Cell]) -> None:
    for number_, (one, title) in enumerate(
        zip(axes, ("tasks/s", "99th percentile, ms", "worst loop lag, ms"), strict=True)
    ):
        for at, (lane, color) in enumerate(zip(LANES, (BLUE, ORANGE, GREEN), strict=True)):
            heights = [max(cells[kind, lane][number_], 0.1) for kind in KINDS]
            places = [place + (at - 1) * 0.27 for place in range(len(KINDS))]
            one.bar(places, heights, 0.25, color=color, label=f"{lane} lane")
        logarithmic(one.yaxis)
        one.set_xticks(range(len(KINDS)), ("async\nI/O", "blocking\nI/O", "CPU"))
        tidy(one, "", "", title)
    legend(axes)
