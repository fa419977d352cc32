"""Processes for I/O."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from bench.harness.plots import BLUE, RED, logarithmic, tidy
from bench.harness.rounds import turns
from bench.harness.subject import Subject
from hedgerow.shard_worker.executors.process_pool.pool import Task
from lab.finding import Finding, Options, at_least, code_of, draw, number
from lab.kinds import IO_S, wait_async
from lab.lanes import NUM_PROCESSES, Lanes, open_lanes

IN_FLIGHT = 64
_SECONDS, _NUM_ROUNDS = 0.5, 3
_BODY = b"echo " + b"x" * 200

Ask = Callable[[Lanes], Awaitable[object]]


class Price(NamedTuple):
    """The median latency of a call that does nothing, its CPU time, and calls with I/O a second.

    The first two are in µs; CPU time is that of all processes, and I/O takes 20 ms.
    """

    alone_us: float
    cpu_us: float
    io_per_s: float


async def nothing_on_the_loop(_lanes: Lanes) -> None:
    """What a coroutine costs."""
    await asyncio.sleep(0)


async def nothing_in_a_process(lanes: Lanes) -> None:
    """What the way to a scorer and back costs."""
    await lanes.process.run(Task(_BODY))


async def io_on_the_loop(_lanes: Lanes) -> None:
    """I/O where it belongs."""
    await wait_async()


async def io_in_a_process(lanes: Lanes) -> None:
    """The mistake: a process waits for each call."""
    await lanes.process.run(Task(b"async"))


async def run(options: Options) -> Finding:
    """Measure both lanes in turns."""
    num_rounds = 1 if options.is_quick else _NUM_ROUNDS
    subjects: dict[str, tuple[Ask, Ask]] = {
        "loop": (nothing_on_the_loop, io_on_the_loop),
        "process lane": (nothing_in_a_process, io_in_a_process),
    }
    prices: dict[str, Price] = {}
    async with open_lanes(1) as lanes:
        parts = {"all": [os.getpid(), *lanes.process.load()["pids"]]}
        hops, calls = (
            {
                name: Subject(name, partial(works[at], lanes), parts, IN_FLIGHT)
                for name, works in subjects.items()
            }
            for at in range(2)
        )
        for _, name in turns(subjects, num_rounds):
            await hops[name].measure_alone(_SECONDS)
            await hops[name].measure_together(_SECONDS)
            await calls[name].measure_together(_SECONDS)
    for name, hop in hops.items():
        prices[name] = Price(hop.alone_ms * 1000, hop.cpu_of("all"), calls[name].throughput)
    return _finding(prices, num_rounds)


def _finding(prices: dict[str, Price], num_rounds: int) -> Finding:
    loop, process = prices["loop"], prices["process lane"]
    return Finding(
        name="mistake-processes",
        title="Mistake 3: processes for I/O",
        claim=(
            "I/O in processes pays for a hop with each request, and only as many requests as there "
            "are processes wait at a time; the loop waits for all of them at once, at hardly any "
            "cost."
        ),
        set_up=(
            f"The loop and the process lane of {NUM_PROCESSES}, in turns, {num_rounds} rounds of "
            f"{_SECONDS:g} s each: a call that does nothing, alone and with {IN_FLIGHT} in flight, "
            f"then {IN_FLIGHT} calls in flight that wait for {IO_S * 1000:g} ms; figures are "
            f"medians. The call of the process lane carries {len(_BODY)} bytes there and back."
        ),
        code=[code_of(io_on_the_loop), code_of(io_in_a_process), code_of(nothing_in_a_process)],
        columns=(
            "",
            "a hop alone, µs",
            f"CPU per hop with {IN_FLIGHT} in flight, µs",
            f"calls of {IO_S * 1000:g} ms a second",
        ),
        rows=[[name, *map(number, price)] for name, price in prices.items()],
        checks=[
            at_least(
                "a hop: process, relative to loop",
                process.alone_us / loop.alone_us,
                5,
                "over 20 times",
                " times",
            ),
            at_least(
                "CPU per hop: process, relative to loop",
                process.cpu_us / loop.cpu_us,
                2,
                "over 3 times",
                " times",
            ),
            at_least(
                "I/O: loop, relative to processes",
                loop.io_per_s / process.io_per_s,
                8,
                f"{IN_FLIGHT / NUM_PROCESSES:g} times: {IN_FLIGHT} wait at once, not "
                f"{NUM_PROCESSES}",
                " times",
            ),
        ],
        plots=[
            draw(
                "mistake-processes",
                "Bars, logarithmic: price of a hop and calls a second, on "
                "the loop and in processes",
                lambda axes: _paint(axes, prices),
                columns=3,
                height_in=2.8,
            ),
        ],
    )


def _paint(axes: Any, prices: dict[str, Price]) -> None:
    titles = ("a hop alone, µs", "CPU a hop, µs", "calls of 20 ms a second")
    for at, (one, title) in enumerate(zip(axes, titles, strict=True)):
        one.bar(list(prices), [price[at] for price in prices.values()], 0.5, color=[BLUE, RED])
        logarithmic(one.yaxis)
        tidy(one, "", "", title)
