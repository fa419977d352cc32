"""What figures come to: the lane, the workers, and what is left open."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.advise.figures import (
    Crossing,
    Expiry,
    Failure,
    Figures,
    Kind,
    Lane,
    Machine,
    OnLoop,
)
from hedgerow.gateway.advise.judgement import Stop, Work, judge
from tests.unit.support.advice import (
    FIGURES,
    MACHINE,
    MACHINES,
    RATIOS,
    SHARES,
    alone,
    awaiting,
    figures,
    subject,
    waiting,
)

CANNOT_CROSS = Crossing(40e-6, unpicklable=("argument 1 (lock): TypeError",))
DIED = Failure("died", "line 2", "was killed by SIGSEGV", True)
HUNG = Failure("hung", "in threads", "did not return within 10 s", False)
SECOND_PHASE = subject(kind=Kind.SECOND_PHASE, takes_budget=True, num_documents=100)


@pytest.mark.parametrize(
    ("measured", "lane"),
    [
        (waiting(), Lane.THREAD),
        (awaiting(), Lane.LOOP),
        (awaiting(on_loop=OnLoop(0.02, 1.0, 1.0)), Lane.THREAD),
        (
            awaiting(alone=alone(), gil_held=0.98, on_loop=OnLoop(0.02, 1.0, 1.0)),
            Lane.PROCESS,
        ),
        (figures(), Lane.PROCESS),
        (figures(gil_held=0.05, two_threads=1.9), Lane.THREAD),
        (figures(gil_held=None, two_threads=1.9), Lane.THREAD),
        (figures(gil_held=None, two_threads=1.0), Lane.PROCESS),
        (figures(crossing=Crossing(40e-6, 0.2, 50_000_000, 20)), Lane.THREAD),
        (figures(crossing=CANNOT_CROSS), Lane.THREAD),
        (figures(alone=alone(call_s=5e-6)), Lane.LOOP),
        (figures(thread_error="RuntimeError: made in another thread"), Lane.PROCESS),
        (waiting(thread_error="ProgrammingError: made in another thread"), Lane.PROCESS),
        (waiting(failures=(DIED,)), Lane.PROCESS),
        (waiting(failures=(HUNG,)), Lane.PROCESS),
        (Figures(subject(), failures=(DIED,)), Lane.PROCESS),
        (figures(subject=SECOND_PHASE), Lane.PROCESS),
        (figures(subject=SECOND_PHASE, gil_held=0.05), Lane.PROCESS),
        (figures(subject=SECOND_PHASE, alone=alone(call_s=5e-6)), Lane.PROCESS),
        (figures(subject=SECOND_PHASE, crossing=CANNOT_CROSS), Lane.PROCESS),
        (waiting(subject=SECOND_PHASE), Lane.THREAD),
        (waiting(subject=subject(kind=Kind.ENRICH)), Lane.THREAD),
        (figures(subject=subject(kind=Kind.ENRICH)), Lane.PROCESS),
    ],
)
def test_the_lane_is_that_of_the_known_answer(measured: Figures, lane: Lane) -> None:
    """Functions whose lane is known get it."""
    assert judge(measured, MACHINE).lane is lane


@given(FIGURES, MACHINES)
def test_whatever_was_measured_there_is_an_advice(measured: Figures, machine: Machine) -> None:
    """Any figures, whichever are missing, come to a lane with a reason and at least one worker."""
    verdict = judge(measured, machine)
    assert verdict.reason
    assert verdict.workers >= 1
    assert verdict.per_second is None or 0 < verdict.per_second < math.inf


@given(FIGURES, MACHINES, st.sampled_from([1e-3, 1e-2, 10.0, 1e3]))
def test_ratios_decide_and_not_times(measured: Figures, machine: Machine, factor: float) -> None:
    """A machine on which everything takes this many times as long gets the same advice."""
    was, crossing, expiry = measured.alone, measured.crossing, measured.expiry
    hop_s = crossing.process_hop_s if crossing else None
    slower = replace(
        measured,
        alone=was
        and replace(
            was, **{name: getattr(was, name) * factor for name in ("call_s", "low_s", "high_s")}
        ),
        crossing=crossing
        and replace(
            crossing,
            thread_hop_s=crossing.thread_hop_s * factor,
            process_hop_s=None if hop_s is None else hop_s * factor,
        ),
        expiry=expiry
        and replace(expiry, after_s=expiry.after_s * factor, overrun_s=expiry.overrun_s * factor),
    )
    one, other = judge(measured, machine), judge(slower, machine)
    assert (one.lane, one.work, one.stop, one.workers, one.doubts) == (
        other.lane,
        other.work,
        other.stop,
        other.workers,
        other.doubts,
    )


@given(FIGURES)
def test_what_blocks_is_not_put_on_the_loop(measured: Figures) -> None:
    """A function that is not async gets the loop only when it is shorter than a thread's hop."""
    if judge(measured, MACHINE).lane is Lane.LOOP and not measured.subject.is_async:
        assert measured.alone is not None
        assert measured.crossing is not None
        assert measured.alone.call_s < measured.crossing.thread_hop_s
        assert measured.subject.kind is Kind.FUNCTION


@given(FIGURES)
def test_what_kills_or_hangs_is_put_where_it_can_be_ended(measured: Figures) -> None:
    """One death or hang outweighs all that was measured."""
    if {"died", "hung"} & {one.how for one in measured.failures}:
        assert judge(measured, MACHINE).lane is Lane.PROCESS


@given(SHARES, SHARES, SHARES, SHARES)
def test_more_cpu_and_more_lock_never_lead_out_of_the_process(
    cpu: float, held: float, more_cpu: float, more_held: float
) -> None:
    """Where a function belongs in a process, one that burns and holds more does so too."""
    less = figures(alone=alone(cpu_share=min(cpu, more_cpu)), gil_held=min(held, more_held))
    # The lock is held for a share of the CPU time, so it is compared at the same CPU share.
    more = replace(less, gil_held=max(held, more_held))
    if judge(less, MACHINE).lane is Lane.PROCESS:
        assert judge(more, MACHINE).lane is Lane.PROCESS
    waits = figures(alone=alone(cpu_share=min(cpu, more_cpu)), gil_held=1.0)
    burns = figures(alone=alone(cpu_share=max(cpu, more_cpu)), gil_held=1.0)
    if judge(waits, MACHINE).lane is Lane.PROCESS:
        assert judge(burns, MACHINE).lane is Lane.PROCESS


@pytest.mark.parametrize(
    ("measured", "workers"),
    [
        (figures(), 4),
        (figures(gil_held=0.05), 4),
        (figures(alone=alone(cpu_share=1.2)), 4),
        (figures(alone=alone(cpu_share=2.0)), 2),
        (figures(crossing=CANNOT_CROSS), 1),
        (waiting(), 32),
        (waiting(alone=alone(cpu_share=0.25)), 16),
        (waiting(eight_threads=1.0), 1),
        (awaiting(), 1),
    ],
)
def test_workers_are_as_many_as_the_machine_can_use(measured: Figures, workers: int) -> None:
    """CPU work gets the cores; waiting gets cores x (1 + wait / compute), 32 at most."""
    assert judge(measured, MACHINE).workers == workers


def test_the_rate_is_bounded_by_workers_and_by_cores() -> None:
    """Four processes of 20 ms and 80 µs do 199 calls a second; 32 threads of 20 ms 1,597."""
    assert judge(figures(), MACHINE).per_second == pytest.approx(4 / 0.02008)
    assert judge(waiting(), MACHINE).per_second == pytest.approx(32 / 0.02004)
    half = judge(waiting(alone=alone(cpu_share=0.4, call_s=0.01)), MACHINE)
    assert half.workers == 10
    assert half.per_second == pytest.approx(10 / 0.01004)
    third = judge(waiting(alone=alone(cpu_share=0.3, call_s=0.01)), MACHINE)
    assert third.workers == 14  # which would do 1,394, with more than the four cores that there are
    assert third.per_second == pytest.approx(4 / (0.3 * 0.01))


@pytest.mark.parametrize(
    ("measured", "stop"),
    [
        (figures(), Stop.NO_BUDGET),
        (figures(subject=SECOND_PHASE, expiry=Expiry(0.01, 0.0002, 0.52, False, True)), Stop.STOPS),
        (
            figures(subject=SECOND_PHASE, expiry=Expiry(0.01, 0.0098, 0.99, False, True)),
            Stop.IGNORES,
        ),
        (
            figures(subject=SECOND_PHASE, expiry=Expiry(0.01, 0.0002, 0.52, False, False)),
            Stop.IGNORES,
        ),
        (figures(subject=SECOND_PHASE), Stop.TOO_SHORT),
        (awaiting(), Stop.STOPS),
        (awaiting(expiry=Expiry(0.01, 0.0101, 1.0, True, True)), Stop.IGNORES),
        (Figures(SECOND_PHASE, failures=(DIED,)), Stop.UNKNOWN),
    ],
)
def test_a_call_stops_when_it_leaves_work_undone(measured: Figures, stop: Stop) -> None:
    """It does not if it never checks its budget, or does three quarters or more, told at half."""
    assert judge(measured, MACHINE).stop is stop


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        (figures(alone=alone(cpu_share=0.5)), "both waits and uses CPU"),
        (figures(gil_held=0.5), "part of its work"),
        (figures(gil_held=None), "could not be measured"),
        (awaiting(on_loop=OnLoop(0.01, 0.4, 2.0)), "blocks the loop"),
        (figures(crossing=Crossing(40e-6, 0.015)), "about as much as the call"),
        (figures(alone=alone(is_limited=True, cpu_share=1.9)), "OMP_NUM_THREADS"),
        (figures(alone=alone(free_share=0.4)), "40% of a core"),
        (figures(alone=alone(num_rounds=1)), "--time"),
        (figures(two_processes=1.1), "no second core"),
        (Figures(subject(), failures=(DIED,)), "Only its failure was measured"),
    ],
)
def test_what_the_figures_leave_open_is_said(measured: Figures, word: str) -> None:
    """Each kind of uncertainty is named; clear figures of a quiet machine leave none."""
    assert any(word in one for one in judge(measured, MACHINE).doubts)
    for clear in (figures(), waiting(), awaiting()):
        assert judge(clear, MACHINE).doubts == ()


@given(RATIOS)
def test_two_threads_do_not_outvote_the_wait_for_the_lock(two_threads: float) -> None:
    """Throughputs of a busy machine say nothing, so the lane goes by the lock where it is known."""
    assert judge(figures(two_threads=two_threads), MACHINE).lane is Lane.PROCESS
    assert judge(figures(gil_held=0.0, two_threads=two_threads), MACHINE).lane is Lane.THREAD
    assert judge(figures(), MACHINE).work is Work.CPU
