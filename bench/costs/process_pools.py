"""The two process pools that a worker can use: what a task costs, and what a bad task does."""

import asyncio
import math
import os
import pickle
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from bench.harness.options import Options
from bench.harness.pools import make_lane, running
from bench.harness.processes import CpuMeter
from bench.harness.report import Section, median
from bench.harness.rounds import turns
from hedgerow.common.errors import WorkError
from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.scorer_process import ScorerSpec
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.executors.standard_pool.pool import StandardPool

_NAMES = ("supervised", "executor")
_NUM_PROCESSES = 2
_WINDOW_MS, _GRACE_MS, _MAX_BATCH = 4.0, 250.0, 64  # the defaults of a worker, as of `make_lane`
_TASKS_US = {"noop": 0, "1 ms": 1000}
_IN_FLIGHT = (1, 32)
_TEXT = b"x" * 200  # as large as a search
_WARM_S = 0.3

Job = tuple[str, float, bytes]


def make_handler(_config: object) -> Callable[[Job, Budget], bytes]:
    """A handler that spends CPU time, sleeps, crashes or hangs, as its payload says."""

    def handle(task: Job, _budget: Budget) -> bytes:
        what, amount, text = task
        if what == "sleep":
            time.sleep(amount)
        elif what == "exit":
            os._exit(3)
        elif what == "compute":
            until = time.thread_time() + amount
            while time.thread_time() < until:
                pass
        return text

    return handle


async def measure(options: Options) -> list[Section]:
    """Compare the pools in turns."""
    cells: dict[tuple[str, int, str], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    incidents: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _, name in turns(_NAMES, options.num_rounds):
        async with running(_make_pool(name)) as pool:
            for task, task_us in _TASKS_US.items():
                for in_flight in _IN_FLIGHT:
                    costs = await _cost(pool, task_us, in_flight, options.seconds)
                    for what, value in costs.items():
                        cells[task, in_flight, name][what].append(value)
            for incident, value in (await _harm(pool)).items():
                incidents[incident][name].append(value)
    return [_costs(cells), _harms(incidents)]


def _make_pool(name: str) -> ScorerPool:
    factory = "bench.costs.process_pools:make_handler"
    if name == "supervised":
        return make_lane(factory, _NUM_PROCESSES)
    spec = ScorerSpec(name, factory, pickle.dumps(None), ())
    limits = DispatchLimits.of(_NUM_PROCESSES, _MAX_BATCH, _WINDOW_MS, _GRACE_MS)
    return StandardPool(spec, _NUM_PROCESSES, limits)


async def _cost(
    pool: ScorerPool, task_us: float, in_flight: int, seconds: float
) -> dict[str, float]:
    """Tasks a second, and the CPU time that each takes beyond its own work, in µs."""
    await _keep(pool, task_us, in_flight, _WARM_S)
    meter = CpuMeter({"worker": [os.getpid()], "processes": pool.load()["pids"]})
    started = time.monotonic()
    num_ended = await _keep(pool, task_us, in_flight, seconds)
    took_s = time.monotonic() - started
    used = meter.used_s()
    return {
        "per_s": num_ended / took_s,
        "worker_us": used["worker"] / num_ended * 1e6,
        "processes_us": used["processes"] / num_ended * 1e6 - task_us,
    }


async def _keep(pool: ScorerPool, task_us: float, in_flight: int, seconds: float) -> int:
    """Keep this number of tasks in flight for a while; returns how many have ended."""
    work = Task(("compute", task_us / 1e6, _TEXT) if task_us else ("noop", 0.0, _TEXT))
    until = time.monotonic() + seconds
    num_ended, num_left = 0, in_flight
    all_ended = asyncio.Event()

    def on_done(_done: TaskResult) -> None:
        nonlocal num_ended, num_left
        num_ended += 1
        if time.monotonic() < until:
            pool.submit(work, on_done)
            return
        num_left -= 1
        if not num_left:
            all_ended.set()

    for _ in range(in_flight):
        pool.submit(work, on_done)
    await all_ended.wait()
    return num_ended


async def _harm(pool: ScorerPool) -> dict[str, float]:
    """What one bad task does to others, and how long the pool is incomplete."""
    await _keep(pool, 0, 32, _WARM_S)  # so that several go into one batch
    long = asyncio.ensure_future(pool.run(_work("sleep", 0.2)))
    behind = [asyncio.ensure_future(pool.run(_work("noop"))) for _ in range(8)]
    started = time.monotonic()
    await asyncio.gather(*behind)
    behind_ms = (time.monotonic() - started) * 1000
    await long

    other = asyncio.ensure_future(pool.run(_work("sleep", 0.3)))
    await asyncio.sleep(0.01)
    before, started = set(pool.load()["pids"]), time.monotonic()
    crash = asyncio.ensure_future(pool.run(_work("exit")))
    await asyncio.gather(crash, return_exceptions=True)
    await _whole(pool, before)
    crash_ms = (time.monotonic() - started) * 1000
    (end,) = await asyncio.gather(other, return_exceptions=True)
    num_lost = isinstance(end, WorkError)

    before, timeout_s = set(pool.load()["pids"]), 0.1
    started = time.monotonic()
    hung = pool.run(_work("sleep", 30.0, timeout_s))
    await asyncio.gather(hung, return_exceptions=True)
    await _whole(pool, before)
    hung_ms = (time.monotonic() - started - timeout_s) * 1000
    return {
        "eight noops beside a task of 200 ms, until the last is answered, ms": behind_ms,
        "of one task that runs beside one that crashes, how many fail": num_lost,
        "from a task that crashes until every process is there again, ms": crash_ms,
        "from the deadline of one that hangs until every process is there again, ms": hung_ms,
    }


def _work(what: str, amount: float = 0.0, timeout_s: float = math.inf) -> Task:
    return Task((what, amount, _TEXT), time.monotonic() + timeout_s)


async def _whole(pool: ScorerPool, before: set[int]) -> None:
    """Wait until the pool has a new process, and as many as it should have."""
    while True:
        load: dict[str, Any] = pool.load()
        if load["alive"] == load["capacity"] and set(load["pids"]) - before - {0}:
            return
        await asyncio.sleep(0.001)


def _costs(cells: dict[tuple[str, int, str], dict[str, list[float]]]) -> Section:
    figures = {
        f"{task}, {in_flight} in flight, {name}": {
            what: median(values) for what, values in its.items()
        }
        for (task, in_flight, name), its in cells.items()
    }
    alone_us = {name: _total_us(figures[f"noop, 1 in flight, {name}"]) for name in _NAMES}
    many_us = {name: _total_us(figures[f"noop, 32 in flight, {name}"]) for name in _NAMES}
    return Section(
        title="Process pools: what a task costs",
        load=(
            f"The [two pools](lanes.md#the-pool-of-scorers) that `worker.process_pool` names, with "
            f"{_NUM_PROCESSES} processes each, in turns; tasks of {len(_TEXT)} bytes that do "
            "nothing, and that compute for 1 ms. CPU is what a task takes beyond that, in the "
            "worker (with the load) and in the processes."
        ),
        columns=(
            "task",
            "in flight",
            "pool",
            "tasks/s",
            "CPU in the worker, µs",
            "in a process, µs",
        ),
        rows=[
            [
                task,
                str(in_flight),
                name,
                f"{median(its['per_s']):,.0f}",
                f"{median(its['worker_us']):.1f}",
                f"{median(its['processes_us']):.1f}",
            ]
            for (task, in_flight, name), its in sorted(cells.items(), key=_order)
        ],
        reading=(
            f"A task alone costs {alone_us['supervised']:.0f} µs of CPU in the supervised pool and "
            f"{alone_us['executor']:.0f} µs in the executor; with 32 in flight, micro-batches "
            f"bring that to {many_us['supervised']:.1f} and {many_us['executor']:.1f} µs."
        ),
        figures=figures,
    )


def _total_us(figures: dict[str, float]) -> float:
    return figures["worker_us"] + figures["processes_us"]


def _order(item: tuple[tuple[str, int, str], Any]) -> tuple[int, int, int]:
    task, in_flight, name = item[0]
    return list(_TASKS_US).index(task), in_flight, _NAMES.index(name)


def _harms(incidents: dict[str, dict[str, list[float]]]) -> Section:
    figures = {
        what: {name: median(values) for name, values in its.items()}
        for what, its in incidents.items()
    }
    return Section(
        title="Process pools: what one bad task does",
        load=(
            f"The same pools, with batches of {_WINDOW_MS:g} ms and a grace period of "
            f"{_GRACE_MS:g} ms, as by default."
        ),
        columns=("", *_NAMES),
        rows=[[what, *(f"{its[name]:.0f}" for name in _NAMES)] for what, its in figures.items()],
        reading=(
            "The executor breaks as a whole when a process dies, and its processes are replaced "
            "together; nor does it take back what waits in a batch."
        ),
        figures=figures,
    )
