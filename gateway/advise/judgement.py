"""Decides which lane a function belongs in, only by ratios of times. Pure."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hedgerow.gateway.advise.figures import Alone, Figures, Kind, Lane, Machine

_CPU_SHARE: Final = 0.5  # a call that has a core for at least half of its time is CPU work
_CPU_DOUBT: Final = (0.3, 0.7)
_GIL_SHARE: Final = 0.5  # of the CPU time: above it, the call holds the interpreter lock
_GIL_DOUBT: Final = (0.3, 0.7)
_HELD_SHARE: Final = 0.5  # if an async call blocks the loop for this share: async in name only
_HELD_DOUBT: Final = (0.25, 0.75)
_DONE_SHARE: Final = 0.75  # a call told to stop half-way that does more has not stopped
_BUSY: Final = 0.7  # if a counting loop gets less of a core, throughputs say little
_SCALES: Final = 1.4  # of at most two: from here, two at once are a gain
_SEVERAL_CORES: Final = 1.25  # a call on one core seems to use a little more on a busy machine
_FEW_ROUNDS: Final = 3
_MAX_THREADS: Final = 32  # the default maximum of ThreadPoolExecutor
_BUSY_TEXT: Final = (
    "The machine was busy: a counting loop got {:.0%} of a core. Shares are corrected for this; "
    "times and throughputs are not."
)


class Work(StrEnum):
    """What a function spends its time on."""

    IO = "I/O"
    CPU = "CPU"


class Stop(StrEnum):
    """What a call does when its result is no longer needed."""

    STOPS = "stops"
    IGNORES = "ignores"
    TOO_SHORT = "too short"
    NO_BUDGET = "no budget"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusions from the figures; None if they do not tell.

    Attributes:
        lane: where the function belongs.
        reason: why, as a clause that follows "because".
        work: I/O or CPU.
        holds_lock: whether its CPU work holds the interpreter lock.
        holds_loop: whether it would block an event loop.
        stop: what happens when its budget expires.
        workers: useful number of threads or processes on this machine, 1 for the loop.
        per_second: most calls a second that these can do, from the time of one; None for an async
            function on the loop, which has no number of workers.
        doubts: what the figures leave open, a sentence each.
    """

    lane: Lane
    reason: str
    work: Work | None
    holds_lock: bool | None
    holds_loop: bool | None
    stop: Stop
    workers: int
    per_second: float | None
    doubts: tuple[str, ...]


def judge(figures: Figures, machine: Machine) -> Verdict:
    """Judge a function by its figures."""
    alone = figures.alone
    work = None if alone is None else Work.CPU if alone.cpu_share >= _CPU_SHARE else Work.IO
    holds_lock = _holds_lock(figures)
    holds_loop = _holds_loop(figures)
    lane, reason = _lane(figures, work, holds_lock, holds_loop)
    workers = _workers(figures, machine, lane, work, holds_lock)
    return Verdict(
        lane,
        reason,
        work,
        holds_lock,
        holds_loop,
        _stop(figures),
        workers,
        _per_second(figures, machine, lane, workers),
        _doubts(figures, lane, work),
    )


def _holds_lock(figures: Figures) -> bool | None:
    alone = figures.alone
    if alone is None or alone.cpu_share < _CPU_DOUBT[0]:
        return None
    if figures.gil_held is not None:
        return figures.gil_held / min(alone.cpu_share, 1.0) >= _GIL_SHARE
    return None if figures.two_threads is None else figures.two_threads < _SCALES


def _holds_loop(figures: Figures) -> bool | None:
    if not figures.subject.is_async:
        return True
    loop = figures.on_loop
    return None if loop is None else loop.held_share >= _HELD_SHARE


def _lane(
    figures: Figures, work: Work | None, holds_lock: bool | None, holds_loop: bool | None
) -> tuple[Lane, str]:
    """Return the lane and the reason of the first rule that applies."""
    hows = {failure.how for failure in figures.failures}
    is_plain = figures.subject.kind is Kind.FUNCTION
    is_second_phase = figures.subject.kind is Kind.SECOND_PHASE
    can_cross = _can_cross(figures)
    rules = (
        (
            "died" in hows,
            Lane.PROCESS,
            "it kills the process that it runs in, which must not be the worker's",
        ),
        (
            "hung" in hows,
            Lane.PROCESS,
            "it hangs, and of the three lanes, only a process can be killed from outside",
        ),
        (
            work is None,
            Lane.PROCESS,
            "nothing could be measured, and a process contains its failures",
        ),
        (
            figures.subject.is_async and not holds_loop,
            Lane.LOOP,
            "it is async and does not block the loop, so a task is all it needs",
        ),
        (
            is_plain and work is Work.CPU and _is_tiny(figures),
            Lane.LOOP,
            "it ends before a thread could start it: just call it",
        ),
        (
            figures.thread_error is not None and can_cross,
            Lane.PROCESS,
            "it fails when several threads call it",
        ),
        (
            work is Work.IO,
            Lane.THREAD,
            "it waits and blocks, and a thread that waits costs next to nothing",
        ),
        (
            holds_lock is False and not is_second_phase,
            Lane.THREAD,
            "its CPU work releases the interpreter lock, so that threads use every core",
        ),
        (
            not can_cross,
            Lane.THREAD,
            "it belongs in a process, but cannot be pickled: create there what cannot be pickled",
        ),
        (
            not _is_worth_crossing(figures),
            Lane.THREAD,
            "handing it to a process costs more than the call: keep its data there",
        ),
        (
            holds_lock is False,
            Lane.PROCESS,
            "it uses CPU, and handing a second phase to its process costs nothing",
        ),
    )
    otherwise = (Lane.PROCESS, "it uses CPU and holds the interpreter lock")
    return next(((lane, reason) for holds, lane, reason in rules if holds), otherwise)


def _is_tiny(figures: Figures) -> bool:
    alone, crossing = figures.alone, figures.crossing
    return bool(alone and crossing and alone.call_s < crossing.thread_hop_s)


def _can_cross(figures: Figures) -> bool:
    # A second phase is imported where it runs, reads its documents there, and returns numbers.
    is_there = figures.subject.kind is Kind.SECOND_PHASE
    return is_there or not (figures.crossing and figures.crossing.unpicklable)


def _is_worth_crossing(figures: Figures) -> bool:
    if figures.subject.kind is Kind.SECOND_PHASE:
        return True
    hop_s = figures.crossing.process_hop_s if figures.crossing else None
    return hop_s is None or figures.alone is None or hop_s < figures.alone.call_s


def _workers(
    figures: Figures, machine: Machine, lane: Lane, work: Work | None, holds_lock: bool | None
) -> int:
    alone = figures.alone
    if lane is Lane.LOOP or alone is None:
        return 1
    if lane is Lane.THREAD and work is Work.IO:
        if figures.eight_threads is not None and figures.eight_threads < _SCALES:
            return 1  # it has a lock or a connection that one call uses at a time
        # Goetz et al., Java Concurrency in Practice (2006), 8.2: cores x (1 + wait / compute).
        return min(_MAX_THREADS, math.ceil(machine.cores / max(alone.cpu_share, 1e-6)))
    if lane is Lane.THREAD and holds_lock is not False:
        return 1  # several would take turns
    share = alone.cpu_share if alone.cpu_share >= _SEVERAL_CORES else 1.0
    return max(1, math.floor(machine.cores / share + 0.1))


def _per_second(figures: Figures, machine: Machine, lane: Lane, workers: int) -> float | None:
    alone, crossing = figures.alone, figures.crossing
    if alone is None or (lane is Lane.LOOP and figures.subject.is_async):
        return None
    hop_s = 0.0
    if crossing is not None and lane is Lane.THREAD:
        hop_s = crossing.thread_hop_s
    if crossing is not None and lane is Lane.PROCESS and figures.subject.kind is Kind.FUNCTION:
        hop_s = crossing.process_hop_s or 0.0
    cores_s = machine.cores / max(alone.cpu_share * alone.call_s, 1e-9)
    return min(workers / max(alone.call_s + hop_s, 1e-9), cores_s)


def _stop(figures: Figures) -> Stop:
    if not (figures.subject.takes_budget or figures.subject.is_async):
        return Stop.NO_BUDGET
    if figures.expiry is None:
        return Stop.UNKNOWN if figures.alone is None or _lost_on_expiry(figures) else Stop.TOO_SHORT
    # A function that never checks its budget is known to run on, however its calls' times vary.
    stops = figures.expiry.is_checked and figures.expiry.done_share < _DONE_SHARE
    return Stop.STOPS if stops else Stop.IGNORES


def _lost_on_expiry(figures: Figures) -> bool:
    return any("budget" in failure.where for failure in figures.failures)


def _doubts(figures: Figures, lane: Lane, work: Work | None) -> tuple[str, ...]:
    alone = figures.alone
    if alone is None:
        return ("Only its failure was measured.",)
    share = min(alone.cpu_share, 1.0)
    burns = share >= _CPU_DOUBT[0]
    held, loop = figures.gil_held, figures.on_loop
    possible = (
        (
            _is_within(share, _CPU_DOUBT),
            "It both waits and uses CPU: if you split it, each half gets its own lane.",
        ),
        (
            burns and held is not None and _is_within(held / share, _GIL_DOUBT),
            "It holds the interpreter lock only for a part of its work.",
        ),
        (
            burns and held is None,
            "How long it holds the interpreter lock could not be measured.",
        ),
        (
            figures.subject.is_async and loop and _is_within(loop.held_share, _HELD_DOUBT),
            "It blocks the loop for a good part of its time.",
        ),
        (
            work is Work.CPU and _is_crossing_close(figures, alone),
            "Handing it to a process and back costs about as much as the call itself.",
        ),
        (
            alone.is_limited and alone.cpu_share > 1.25,
            "OMP_NUM_THREADS and the like do not limit its native threads.",
        ),
        (
            alone.free_share < _BUSY,
            _BUSY_TEXT.format(alone.free_share),
        ),
        (
            alone.num_rounds < _FEW_ROUNDS,
            "A call takes long, so few were made; --time allows more.",
        ),
        (
            lane is Lane.PROCESS and (figures.two_processes or 2) < _SCALES,
            "Two processes did hardly more than one: no second core was available.",
        ),
    )
    return tuple(text for holds, text in possible if holds)


def _is_within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] < value < bounds[1]


def _is_crossing_close(figures: Figures, alone: Alone) -> bool:
    hop_s = figures.crossing.process_hop_s if figures.crossing else None
    if hop_s is None or figures.subject.kind is Kind.SECOND_PHASE:
        return False
    return _is_within(hop_s / max(alone.call_s, 1e-12), (0.5, 2.0))
