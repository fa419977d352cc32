"""CPU work in threads."""

import contextlib
import functools
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.harness.load import closed_loop
from bench.harness.plots import BLUE, GREEN, GREY, RED, tidy
from bench.harness.processes import CpuMeter
from hedgerow.shard_worker.executors.process_pool.pool import Task
from lab.compute import STEPS, Threads, compute
from lab.finding import Finding, Options, at_least, at_most, code_of, draw, number
from lab.lanes import NUM_PROCESSES, Lanes, open_lanes
from lab.yardstick import SHARE, gains, measure_in, two_of_one

NUM_THREADS = 4
FREE_THREADED = ("python3.14t", "python3.13t", "python3.15t", "python3t")
_SECONDS, _NUM_ROUNDS = 0.3, 7
_TIMEOUT_S = 60.0


class Busy(NamedTuple):
    """How many cores a lane kept busy on average, and its tasks a second."""

    cores: float
    throughput: float


async def in_threads(lanes: Lanes) -> None:
    """The mistake: the GIL lets only one thread compute at a time."""
    await lanes.thread.run(compute, _TIMEOUT_S)


async def in_processes(lanes: Lanes) -> None:
    """The cure."""
    await lanes.process.run(Task(b"cpu"))


async def run(options: Options) -> Finding:
    """Keep four tasks in flight in each lane, in turns."""
    num_rounds = 1 if options.is_quick else _NUM_ROUNDS
    rounds: dict[str, list[Busy]] = {"threads": [], "processes": []}
    yardsticks: list[float] = []
    async with open_lanes(NUM_THREADS) as lanes:
        parts = {"threads": [os.getpid()], "processes": lanes.process.load()["pids"]}
        for _ in range(num_rounds):
            yardsticks.append(await two_of_one(_SECONDS))
            for name, work in (("threads", in_threads), ("processes", in_processes)):
                meter, started = CpuMeter({name: parts[name]}), time.perf_counter()
                load = await closed_loop(functools.partial(work, lanes), NUM_THREADS, _SECONDS)
                cores = meter.used_s()[name] / (time.perf_counter() - started)
                rounds[name].append(Busy(cores, load.throughput))
    return _finding(rounds, yardsticks, await without_a_gil())


async def without_a_gil() -> Threads | None:
    """What threads achieve in a Python without a GIL; None if no such Python is found."""
    for interpreter in filter(None, map(shutil.which, FREE_THREADED)):
        # A version manager has commands for versions that are not installed; and a free-threaded
        # Python can run with a GIL.
        with contextlib.suppress(OSError, RuntimeError):
            measured = await measure_in(interpreter, NUM_THREADS, _SECONDS)
            if not measured.has_gil:
                return measured
    return None


def _finding(
    rounds: dict[str, list[Busy]], yardsticks: list[float], free: Threads | None
) -> Finding:
    busy = {
        name: Busy(*map(statistics.median, zip(*measured, strict=True)))
        for name, measured in rounds.items()
    }
    processes, threads = rounds["processes"], rounds["threads"]
    yardstick = statistics.median(yardsticks)
    finding = Finding(
        name="mistake-threads",
        title="Mistake 2: CPU work in threads",
        claim=(
            f"{NUM_THREADS} threads of pure Python keep one core busy, however many cores there "
            "are; processes keep all of them busy."
        ),
        set_up=(
            f"{NUM_THREADS} tasks in flight for {_SECONDS:g} s, of {STEPS:,} steps each, in the "
            f"thread lane of {NUM_THREADS} threads and in the process lane of {NUM_PROCESSES} "
            f"processes, in turns, {len(yardsticks)} rounds; figures are medians. Cores are CPU "
            "seconds of the process, or of the scorers, per second of wall-clock time. Since other "
            "programs may be using the machine, each round also measures how much two bare "
            f"processes compute, compared with one (median: {yardstick:.2f} times). A "
            "free-threaded Python is asked to do the same in threads, where one of "
            f"{', '.join(f'`{name}`' for name in FREE_THREADED)} is found."
        ),
        code=[code_of(in_threads), code_of(in_processes)],
        columns=("", "cores busy", "tasks/s"),
        rows=[[name, number(one.cores), number(one.throughput)] for name, one in busy.items()],
        checks=[
            at_most("cores that threads keep busy", busy["threads"].cores, 1.2, "1"),
            gains(
                "cores: processes, relative to threads",
                [one.cores for one in processes],
                [one.cores for one in threads],
                yardsticks,
            ),
            gains(
                "tasks/s: processes, relative to threads",
                [one.throughput for one in processes],
                [one.throughput for one in threads],
                yardsticks,
            ),
        ],
        plots=[
            draw(
                "mistake-threads",
                "Bars: cores that threads and processes keep busy",
                lambda axes: _paint(axes, busy, free),
                height_in=2.4,
            ),
        ],
    )
    if free is None:
        finding.reading = "No free-threaded Python was found on this machine."
    else:
        finding.reading = (
            f"Without a GIL, in Python {free.version}, the same threads keep "
            f"{number(free.cores)} cores busy: there it is no mistake."
        )
        finding.rows.append(
            [
                f"threads, free-threaded {free.version}",
                number(free.cores),
                number(free.works_per_s),
            ]
        )
        finding.checks.append(
            at_least(
                f"cores that threads keep busy in a Python {free.version} without a GIL",
                free.cores,
                SHARE * yardstick,
                f"{yardstick:.2f}, as two bare processes",
            )
        )
    return finding


def _paint(axes: Any, busy: dict[str, Busy], free: Threads | None) -> None:
    names: Sequence[str] = [f"{NUM_THREADS} threads", f"{NUM_PROCESSES} processes"]
    cores = [one.cores for one in busy.values()]
    if free is not None:
        names, cores = [*names, f"{NUM_THREADS} threads,\nno GIL"], [*cores, free.cores]
    axes.barh(names, cores, color=[RED, BLUE, GREEN][: len(cores)], height=0.6)
    axes.axvline(1, color=GREY, linestyle="--", linewidth=1)
    axes.invert_yaxis()
    tidy(axes, "cores busy", "")
    axes.grid(visible=False, axis="y")
