"""The four answers in words, and what there is to paste."""

import re
import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.advise.answers import QUESTIONS, answer, duration, rate, size
from hedgerow.gateway.advise.figures import (
    Crossing,
    Expiry,
    Failure,
    Figures,
    Kind,
    Machine,
    OnLoop,
)
from hedgerow.gateway.advise.judgement import judge
from hedgerow.gateway.advise.settings_text import language, settings_text
from hedgerow.gateway.cli.advise import report
from tests.unit.support.advice import (
    FIGURES,
    MACHINE,
    MACHINES,
    alone,
    awaiting,
    figures,
    subject,
    waiting,
)

SECOND_PHASE = figures(
    subject=subject(kind=Kind.SECOND_PHASE, takes_budget=True, num_documents=50),
    expiry=Expiry(0.01, 0.0002, 0.5, False, True),
)
ENRICH = waiting(subject=subject(kind=Kind.ENRICH, num_documents=10))


def shown(measured: Figures, machine: Machine = MACHINE, width: int = 300) -> str:
    """Print a report as a terminal of this many columns would show it."""
    verdict = judge(measured, machine)
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(report(measured, verdict, answer(measured, verdict, machine)))
    return capture.get()


def pasted(measured: Figures) -> str:
    """Write what there is to paste."""
    return settings_text(measured, judge(measured, MACHINE), MACHINE)


@given(FIGURES, MACHINES, st.integers(40, 200))
def test_whatever_was_measured_can_be_said(measured: Figures, machine: Machine, width: int) -> None:
    """Four answers, none of them empty, in lines that fit the terminal."""
    verdict = judge(measured, machine)
    answers = answer(measured, verdict, machine)
    assert tuple(one.question for one in answers) == QUESTIONS
    assert all(one.short and all(one.figures) for one in answers)
    text = shown(measured, machine, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert verdict.lane in text


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (figures(), ["CPU, holding the lock", "100%", "blocking", "4 processes on 4 cores"]),
        (figures(gil_held=0.05), ["CPU, without the lock", "For 5%", "4 threads on 4 cores"]),
        (waiting(), ["I/O", "1%", "32 threads", "eight threads 7.9", "1,600 calls/s"]),
        (
            figures(alone=alone(slowest_s=0.07, slowest="line 7")),
            ["The slowest first call took 70 ms (line 7)."],
        ),
        (awaiting(), ["async", "one loop", "7.8 times", "it stops in time", "300 µs later"]),
        (awaiting(on_loop=OnLoop(0.02, 0.99, 1.0)), ["async in name only", "99%", "20 ms"]),
        (
            figures(crossing=Crossing(40e-6, unpicklable=("argument 1 (lock): no",))),
            ["Cannot be handed to a process: argument 1 (lock): no."],
        ),
        (
            figures(crossing=Crossing(40e-6, 0.2, 50_000_000, 20)),
            ["to a process: 200 ms (pickled 50 MB there, 20 B back)"],
        ),
        (
            figures(alone=alone(native_share=0.5, is_limited=True)),
            ["50% of the CPU time is in native threads", "limited to one"],
        ),
        (
            figures(failures=(Failure("died", "line 2", "was killed by SIGSEGV", True),)),
            ["it kills its process", "line 2: was killed by SIGSEGV."],
        ),
        (
            figures(failures=(Failure("hung", "line 2", "did not return within 10 s", True),)),
            ["it hangs", "line 2: did not return", "ProcessPoolExecutor does not kill it"],
        ),
        (
            figures(failures=(Failure("raised", "line 2", "ValueError: no", True),)),
            ["it raises; it cannot be stopped", "line 2: ValueError: no."],
        ),
        (figures(thread_error="RuntimeError: no"), ["it fails in threads"]),
        (SECOND_PHASE, ["no hand-over", "it stops in time", "50 documents a call"]),
        (
            replace(
                SECOND_PHASE, alone=alone(call_s=0.4), expiry=Expiry(0.1, 0.3, 1.0, False, True)
            ),
            ["it does not stop", "killed 250 ms after", "longer than the deadline of 300 ms"],
        ),
        (
            replace(SECOND_PHASE, expiry=Expiry(0.1, 0.0, 0.5, False, False)),
            ["it does not stop", "never checks it"],
        ),
        (ENRICH, ["counts as lost after 2 s", "needs its own timeout"]),
        (waiting(alone=alone(slowest_s=1.5, slowest="line 7")), ["1.5 s (line 7)"]),
        (figures(alone=alone(free_share=0.4)), ["but", "40% of a core"]),
    ],
)
def test_the_report_says_what_matters(measured: Figures, words: list[str]) -> None:
    """Each answer rests on figures that are there to be read."""
    text = shown(measured)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (4.2e-8, "42 ns"),
        (1.234e-5, "12.3 µs"),
        (0.0009999, "1 ms"),
        (0.25, "250 ms"),
        (1.5, "1.5 s"),
        (123.4, "123 s"),
    ],
)
def test_durations_have_a_unit_and_three_digits(seconds: float, text: str) -> None:
    """Each duration from nanoseconds to minutes has a unit and three digits."""
    assert duration(seconds) == text


def test_sizes_and_rates_are_short() -> None:
    """Decimal units for bytes; two digits for a rate, which is an estimate."""
    assert [size(one) for one in (0, 999, 1_500, 51_000_000)] == ["0 B", "999 B", "1.5 kB", "51 MB"]
    assert [rate(one) for one in (0.456, 9.4, 123.4, 76_543.2)] == ["0.46", "9.4", "120", "77,000"]


@given(FIGURES)
def test_what_is_pasted_can_be_read(measured: Figures) -> None:
    """A hook's text is settings that are accepted, a function's is Python that compiles."""
    text = pasted(measured)
    if language(measured) == "python":
        compile(text, "pasted", "exec")
    else:
        Settings(**tomllib.loads(text))


def test_a_second_phase_is_pasted_as_settings() -> None:
    """It names the function, with the candidates that it was measured with, and the scorers."""
    settings = Settings(**tomllib.loads(pasted(SECOND_PHASE)))
    profile = settings.rank_profiles["mine"]
    assert (profile.second_phase, profile.candidates) == ("mine:function", 50)
    assert settings.worker.scorers == 0  # as many as the machine has cores
    native = replace(SECOND_PHASE, alone=alone(cpu_share=2.0, native_share=0.6))
    assert Settings(**tomllib.loads(pasted(native))).worker.scorers == 2
    assert "OMP_NUM_THREADS=1" in pasted(native)


def test_an_enrich_hook_is_pasted_as_settings() -> None:
    """It names the function and the threads."""
    settings = Settings(**tomllib.loads(pasted(ENRICH)))
    assert settings.rank_profiles["mine"].enrich == "mine:function"
    assert settings.worker.threads == 32


def test_a_hook_that_belongs_elsewhere_is_told_where() -> None:
    """A second phase that waits is sent to `enrich`, an `enrich` that burns to `second_phase`."""
    waits = waiting(subject=subject(kind=Kind.SECOND_PHASE, num_documents=50))
    assert "`enrich`" in pasted(waits)
    burns = figures(subject=subject(kind=Kind.ENRICH, num_documents=10))
    assert "`second_phase`" in pasted(burns)
    sleeps = awaiting(subject=subject(kind=Kind.ENRICH, is_async=True))
    assert "Hooks are not async" in pasted(sleeps)
    blocks = replace(sleeps, on_loop=OnLoop(0.02, 1.0))
    assert "Hooks are not async" in pasted(blocks)


@pytest.mark.parametrize(
    ("measured", "pool"),
    [
        (figures(), r"ProcessPoolExecutor\(4, "),
        (figures(gil_held=0.0), r"ThreadPoolExecutor\(4\)"),
        (waiting(), r"ThreadPoolExecutor\(32\)"),
        (awaiting(), r"return await function\(\*arguments\)"),
        (awaiting(on_loop=OnLoop(0.02, 1.0)), r"asyncio\.run\(function\(\*arguments\)\)"),
        (figures(alone=alone(call_s=1e-6)), r"\nresult = function\(\.\.\.\)$"),
    ],
)
def test_a_function_is_pasted_with_its_pool(measured: Figures, pool: str) -> None:
    """The lane's pool with the number of workers, and a deadline around the call."""
    text = pasted(measured)
    assert re.search(pool, text)
    assert "from mine import function" in text
    assert "asyncio.timeout(0.3)" in text or "result = function" in text
    # Who runs an event loop has threads, which a fork would leave out with what they hold.
    assert ("ProcessPoolExecutor" in text) == ('get_context("forkserver")' in text)
