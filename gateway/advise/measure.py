"""Measures a function: runs the experiments in order, and makes figures from their results.

A call that hangs or kills its process is a result too: that experiment is left out, and the next
one gets a new runner.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from hedgerow.gateway.advise.bench import Bench, Plan
from hedgerow.gateway.advise.figures import Alone, Crossing, Expiry, Figures, OnLoop
from hedgerow.gateway.advise.runner_process import Runner, RunnerLostError

# One native thread each, or our two threads would compete with native ones for the cores.
ONE_NATIVE_THREAD: Final = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "RAYON")
} | {"NUMEXPR_MAX_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}

_WAITS_BELOW: Final = 0.5  # of a core: below it, more threads than cores are measured
_MIN_EXPIRY_CALL_S: Final = 0.005  # a shorter call ends before it could be stopped
# On a busy machine, one call may take half as much CPU again as another.
_MIN_EXPIRY_ROUNDS: Final = 3
_BRIEF_CALL_S: Final = 0.3  # a longer one evens out by itself what disturbs it
_HEAD_START_S: Final = 0.02  # so that two runners have read their orders when both begin


def measure(plan: Plan, say: Callable[[str], None]) -> Figures:
    """Measure a function, in processes that have ended when this returns.

    Args:
        plan: what to measure.
        say: called with a description of each step.

    Raises:
        BadRequestError: the function or a sample is invalid, or every sample raises.
    """
    with Bench(plan) as bench:
        say("calling it once for each sample")
        figures = Figures(bench.subject)
        if bench.look():
            say("alone")
            alone = _alone(bench)
            figures = replace(figures, alone=alone)
            if alone is not None:
                figures = _compared(bench, figures, alone, say)
        return replace(figures, subject=bench.subject, failures=tuple(bench.failures))


def _compared(bench: Bench, figures: Figures, alone: Alone, say: Callable[[str], None]) -> Figures:
    """Measure calls in each lane, handing over, and stopping."""
    is_async = bench.subject.is_async
    say("beside a thread that wants to run")
    held = bench.do("lock_held", "beside another thread", cost=6)
    say("in threads")
    figures = _in_threads(bench, figures, alone)
    say("in two processes")
    two_processes = _in_two_processes(bench)
    say("handing it over")
    crossing = bench.do("crossing", "when it was handed over")
    say("on an event loop")
    loop = bench.do("on_loop", "on an event loop", cost=9 if is_async else 1)
    expiry = None
    can_stop = bench.subject.takes_budget or is_async
    if can_stop and alone.call_s >= _MIN_EXPIRY_CALL_S:
        say("while its budget expires")
        rounds = bench.sizes(cost=2)["rounds"]
        if alone.call_s <= _BRIEF_CALL_S:
            rounds = max(rounds, _MIN_EXPIRY_ROUNDS)
        expiry = bench.do("expiry", "when its budget expired", cost=2, calls=1, rounds=rounds)
    return replace(
        figures,
        gil_held=held.get("held"),
        two_processes=two_processes,
        crossing=_crossing_of(crossing),
        on_loop=OnLoop(**loop) if loop else None,
        expiry=Expiry(**expiry) if expiry else None,
    )


def _crossing_of(found: dict[str, Any]) -> Crossing | None:
    if not found:
        return None
    return Crossing(**{**found, "unpicklable": tuple(found["unpicklable"])})


def _alone(bench: Bench) -> Alone | None:
    """Time it alone; if it has native threads, again with one native thread."""
    alone = _alone_now(bench)
    if alone is None or not alone.has_native_threads:
        return alone
    bench.renew(ONE_NATIVE_THREAD)
    limited = _alone_now(bench)
    return limited and replace(limited, native_share=alone.native_share, is_limited=True)


def _alone_now(bench: Bench) -> Alone | None:
    # The first calls were cold, and do not tell how long a call takes.
    bench.call_s = 0.0
    first = bench.do("alone", "alone", rounds=1, calls=1)
    if not first:
        return None
    bench.call_s = first["call_s"][0]
    found = bench.do("alone", "alone")
    if not found:
        return None
    bench.note_raised(found["errors"], "alone")
    times = found["call_s"]
    bench.call_s = statistics.median(times)
    return Alone(
        bench.call_s,
        min(times),
        max(times),
        found["cpu_share"],
        found["native_share"],
        found["free_share"],
        len(times),
        bench.slowest_s,
        bench.slowest,
    )


def _in_threads(bench: Bench, figures: Figures, alone: Alone) -> Figures:
    waits = alone.cpu_share < _WAITS_BELOW and not bench.subject.is_async
    widths = [2, 8] if waits else [2]
    had_raised = any(failure.how == "raised" for failure in bench.failures)
    found = bench.do("threads", "in threads", cost=1 + len(widths), widths=widths)
    if not found:
        return replace(figures, thread_error=bench.failures[-1].what)
    bench.note_raised(found["errors"], "in threads")
    ratios, errors = found["ratios"], found["errors"]
    return replace(
        figures,
        two_threads=ratios["2"],
        eight_threads=ratios.get("8"),
        # If it raises alone too, the error says nothing about threads.
        thread_error=errors[0] if errors and not had_raised else None,
    )


def _in_two_processes(bench: Bench) -> float | None:
    """Compare the throughput of two processes with that of one; None if one was lost."""
    sizes = bench.sizes(2)
    calls = sizes["calls"]
    ratios = []
    try:
        first = bench.runner()
        with bench.another() as second:
            for _ in range(sizes["rounds"]):
                one_s = _wall_s(bench, [first], calls)
                ratios.append(2 * one_s / _wall_s(bench, [first, second], calls))
    except RunnerLostError as lost:
        bench.note_loss(lost, "in two processes")
        return None
    return statistics.median(ratios)


def _wall_s(bench: Bench, runners: Sequence[Runner], calls: int) -> float:
    """Let all runners make `calls` calls; returns the time from first start to last end, in s."""
    starts_at = time.monotonic() + _HEAD_START_S
    for runner in runners:
        bench.run_block(runner, calls, starts_at)
    limit_s = bench.limit_s(len(runners) * calls * bench.call_s)
    blocks = [runner.answer(limit_s) for runner in runners]
    wall_s: float = max(block["ended"] for block in blocks) - min(
        block["began"] for block in blocks
    )
    return max(1e-9, wall_s)
