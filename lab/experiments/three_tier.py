"""A request of three tiers: the loop, a blocking call in a thread, CPU work in a process."""

import asyncio
import functools
import statistics
import time
from typing import Any, NamedTuple

from bench.harness.plots import BLUE, GREEN, ORANGE, Span, legend, timeline
from hedgerow.shard_worker.executors.process_pool.pool import Task
from lab.finding import Finding, Options, at_least, at_most, code_of, draw
from lab.lanes import Lanes, open_lanes, watched_loop

NUM_REQUESTS = 8
LEGACY_S = 0.15
_NUM_ROUNDS = 3
_TIMEOUT_S = 30.0


class Trace(NamedTuple):
    """The stages of one request, as instants of `time.perf_counter()` in s."""

    number: int
    arrived: float
    called: float
    done: float


def legacy_call(number: int) -> int:
    """Ask the old system by its blocking library; returns how much there is to compute."""
    time.sleep(LEGACY_S)
    return 30_000 + number * 5_000


async def three_tier_request(lanes: Lanes, number: int) -> Trace:
    """Serve one request."""
    arrived = time.perf_counter()
    steps = await lanes.thread.run(functools.partial(legacy_call, number), _TIMEOUT_S)
    called = time.perf_counter()
    await lanes.process.run(Task(f"cpu {steps}".encode()))
    return Trace(number, arrived, called, time.perf_counter())


async def run(options: Options) -> Finding:
    """Serve the same requests one after another, and all at once."""
    sequence_s, at_once_s = [], []
    numbers = range(NUM_REQUESTS)
    async with open_lanes(NUM_REQUESTS) as lanes:
        await asyncio.gather(*(three_tier_request(lanes, number) for number in numbers))
        with watched_loop() as lag:
            for _ in range(1 if options.is_quick else _NUM_ROUNDS):
                started = time.perf_counter()
                one_by_one = [await three_tier_request(lanes, number) for number in numbers]
                sequence_s.append(time.perf_counter() - started)
                started = time.perf_counter()
                together = await asyncio.gather(
                    *(three_tier_request(lanes, number) for number in numbers)
                )
                at_once_s.append(time.perf_counter() - started)
    sequence_ms, at_once_ms = (statistics.median(one) * 1000 for one in (sequence_s, at_once_s))
    cpu_ms = sum(trace.done - trace.called for trace in one_by_one) * 1000
    legacy_ms = LEGACY_S * 1000
    least_ms = legacy_ms + cpu_ms / 2
    finding = Finding(
        name="three-tier",
        title="The three-tier request",
        claim=(
            f"{NUM_REQUESTS} requests, each a blocking call of {legacy_ms:g} ms and then CPU work, "
            "take little longer together than one of them alone, and the loop stays free "
            "throughout."
        ),
        set_up=(
            "Each request waits for the old system in the thread lane, then computes 30,000 steps, "
            "and 5,000 more for each request before it, in the process lane, which has two "
            "processes. The requests are made one after another and all at once, in turns; figures "
            f"are medians of {len(sequence_s)}. Lag is the most that a timer of 5 ms was late on "
            "the loop in all that time."
        ),
        code=[code_of(legacy_call), code_of(three_tier_request)],
        columns=("", "wall time, ms"),
        rows=[
            ["one after another", f"{sequence_ms:,.0f}"],
            ["all at once", f"{at_once_ms:,.0f}"],
        ],
        checks=[
            at_least(
                "one after another, relative to all at once",
                sequence_ms / at_once_ms,
                4,
                f"{sequence_ms / least_ms:.1f} times, with two cores",
                " times",
            ),
            at_most("all at once", at_once_ms, 2.5 * least_ms, f"{least_ms:.0f} ms", " ms"),
            at_most("loop lag, 99th percentile", lag.quantile_ms(0.99), 20, "0 ms", " ms"),
            at_most(
                "worst loop lag, relative to the blocking call",
                lag.max_ms / legacy_ms,
                0.5,
                "0",
                " times",
            ),
        ],
        plots=[
            draw(
                "three-tier",
                "Bars over time for each request: a wait in a thread, then work in a process",
                lambda axes: _paint(axes, together),
                height_in=3.2,
            ),
        ],
    )
    finding.reading = (
        f"At worst the loop was {lag.max_ms:.1f} ms late; in 99 % of the samples it was "
        f"{lag.quantile_ms(0.99):.1f} ms or less."
    )
    return finding


def _paint(axes: Any, traces: list[Trace]) -> None:
    start = min(trace.arrived for trace in traces)
    spans = []
    for trace in traces:
        row = f"request {trace.number}"
        arrived, called, done = ((one - start) * 1000 for one in trace[1:])
        spans += [
            Span(row, arrived, called, ORANGE, "blocking call, thread lane"),
            Span(row, called, done, GREEN, "CPU work and its wait for a scorer, process lane"),
        ]
    timeline(axes, spans, "ms")
    axes.axvline(max(span.end for span in spans), color=BLUE, linestyle="--", label="all served")
    legend([axes])
