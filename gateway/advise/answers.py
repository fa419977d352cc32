"""Answers the four questions in words, from the figures and the verdict. Pure."""

from dataclasses import dataclass

from hedgerow.gateway.advise.figures import Figures, Kind, Lane, Machine
from hedgerow.gateway.advise.judgement import Stop, Verdict, Work

QUESTIONS = ("I/O or CPU?", "async or blocking?", "at what scale?", "how does it fail?")


@dataclass(frozen=True, slots=True)
class Answer:
    """One question's answer.

    Attributes:
        question: one of the four.
        short: the answer in a few words.
        figures: the figures behind it, a sentence each.
    """

    question: str
    short: str
    figures: tuple[str, ...]


def answer(figures: Figures, verdict: Verdict, machine: Machine) -> tuple[Answer, ...]:
    """Answer the four questions."""
    answers = (
        _io_or_cpu(figures, verdict),
        _async_or_blocking(figures, verdict),
        _scale(figures, verdict, machine),
        _failure(figures, verdict, machine),
    )
    return tuple(
        Answer(question, short, tuple(line for line in lines if line))
        for question, (short, lines) in zip(QUESTIONS, answers, strict=True)
    )


Words = tuple[str, list[str]]


def _io_or_cpu(figures: Figures, verdict: Verdict) -> Words:
    alone = figures.alone
    if alone is None or verdict.work is None:
        return "not known", ["No call lived long enough to be timed."]
    lines = [f"It uses, or waits for, a core for {alone.cpu_share:.0%} of a call's time."]
    if figures.gil_held is not None and verdict.holds_lock is not None:
        lines.append(
            f"For {figures.gil_held:.0%} of it, other Python threads cannot run "
            "(it holds the interpreter lock)."
        )
    if alone.has_native_threads:
        limited = ", limited to one for all other figures" if alone.is_limited else ""
        lines.append(
            f"{alone.native_share:.0%} of the CPU time is in native threads of its own{limited}."
        )
    if verdict.work is Work.IO:
        return "I/O", lines
    lock = {True: ", holding the lock", False: ", without the lock", None: ""}
    return f"CPU{lock[verdict.holds_lock]}", lines


def _async_or_blocking(figures: Figures, verdict: Verdict) -> Words:
    loop = figures.on_loop
    if loop is None:
        return "async" if figures.subject.is_async else "blocking", [
            "How it behaves on an event loop could not be measured."
        ]
    lag = duration(loop.lag_s)
    if not figures.subject.is_async:
        return "blocking", [f"On an event loop, it blocks everything else for {lag}."]
    lines = [f"It blocks the loop for {loop.held_share:.0%} of its time, up to {lag} at once."]
    if loop.at_once is not None:
        lines.append(f"8 calls at once on one loop do {loop.at_once:.1f} times the work of one.")
    return "async in name only" if verdict.holds_loop else "async", lines


def _scale(figures: Figures, verdict: Verdict, machine: Machine) -> Words:
    alone = figures.alone
    if alone is None:
        return "not known", []
    spread = f"{duration(alone.low_s)} to {duration(alone.high_s)}"
    lines = [f"One call takes {duration(alone.call_s)} (rounds: {spread})."]
    if alone.slowest_s > 3 * alone.call_s:
        lines.append(f"The slowest first call took {duration(alone.slowest_s)} ({alone.slowest}).")
    lines.append(_throughputs(figures))
    lines += _crossing(figures)
    return _workers(figures, verdict, machine), lines


def _throughputs(figures: Figures) -> str:
    several = [
        (figures.two_threads, "two threads"),
        (figures.eight_threads, "eight threads"),
        (figures.two_processes, "two processes"),
    ]
    found = [f"{name} {ratio:.1f}" for ratio, name in several if ratio is not None]
    return f"Compared with the work of one: {', '.join(found)}." if found else ""


def _crossing(figures: Figures) -> list[str]:
    crossing = figures.crossing
    if crossing is None:
        return []
    if figures.subject.kind is not Kind.FUNCTION:
        place = "process" if figures.subject.kind is Kind.SECOND_PHASE else "thread"
        return [f"As a hook it runs in a {place} that reads the documents itself: no hand-over."]
    hop = f"To a thread and back: {duration(crossing.thread_hop_s)}"
    if crossing.process_hop_s is None:
        return [
            f"{hop}.",
            *(f"Cannot be handed to a process: {part}." for part in crossing.unpicklable),
        ]
    sizes = f"{size(crossing.argument_bytes)} there, {size(crossing.result_bytes)} back"
    return [f"{hop}; to a process: {duration(crossing.process_hop_s)} (pickled {sizes})."]


def _workers(figures: Figures, verdict: Verdict, machine: Machine) -> str:
    if verdict.lane is Lane.LOOP:
        return "one loop" if figures.subject.is_async else "on the loop"
    name = "thread" if verdict.lane is Lane.THREAD else "process"
    plural = "" if verdict.workers == 1 else "es" if name == "process" else "s"
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    text = f"{verdict.workers} {name}{plural} on {cores}"
    if verdict.per_second is None:
        return text
    return f"{text}: at most {rate(verdict.per_second)} calls/s"


def _failure(figures: Figures, verdict: Verdict, machine: Machine) -> Words:
    failures = [f"{failure.where}: {failure.what}." for failure in figures.failures[:3]]
    hows = {failure.how for failure in figures.failures}
    if "died" in hows:
        return "it kills its process", failures
    if "hung" in hows:
        return "it hangs", [*failures, _consequence(figures, verdict, machine)]
    short, lines = _stopping(figures, verdict, machine)
    if figures.thread_error is not None:
        return "it fails in threads", [*failures, *lines]
    if "raised" in hows:
        return f"it raises; {short}", [*failures, *lines]
    return short, lines


def _stopping(figures: Figures, verdict: Verdict, machine: Machine) -> Words:
    expiry = figures.expiry
    how = "cancelled" if expiry and expiry.is_cancelled else "told to stop"
    overrun = duration(expiry.overrun_s) if expiry else ""
    after = f" after {duration(expiry.after_s)}" if expiry else ""
    if verdict.stop is Stop.STOPS:
        return "it stops in time", [f"When it was {how}{after}, it ended {overrun} later."]
    if verdict.stop is Stop.IGNORES:
        lines = [f"When it was {how}{after}, it ran on to its end, for {overrun}."]
        if expiry and not expiry.is_checked:
            lines = ["It takes a budget and never checks it, so it runs on to its end."]
        return "it does not stop", [*lines, _consequence(figures, verdict, machine)]
    if verdict.stop is Stop.TOO_SHORT:
        return "it ends first", ["A call is too short to be stopped."]
    if verdict.stop is Stop.UNKNOWN:
        return "not known", ["What happens when its budget expires could not be measured."]
    return "it cannot be stopped", [
        "It takes no budget, so it runs to its end even if the caller has left.",
        _consequence(figures, verdict, machine),
    ]


def _consequence(figures: Figures, verdict: Verdict, machine: Machine) -> str:
    """Say what the lane does with a call that runs on."""
    is_hook = figures.subject.kind is not Kind.FUNCTION
    if verdict.lane is Lane.LOOP:
        return ""
    if verdict.lane is Lane.THREAD:
        until = "is occupied until it returns"
        if is_hook:
            until = f"counts as lost after {duration(machine.thread_timeout_s)}, until it returns"
        cure = ": its I/O needs its own timeout" if verdict.work is Work.IO else ""
        return f"Its thread {until}{cure}."
    if not is_hook:
        return "Its process is occupied until it returns; ProcessPoolExecutor does not kill it."
    grace = duration(machine.kill_grace_s)
    killed = f"A scorer that runs on is killed {grace} after the query's deadline"
    deadline = duration(machine.deadline_s)
    if figures.alone is None or figures.alone.call_s <= machine.deadline_s:
        return f"{killed}."
    return f"{killed}, and one call already takes longer than the deadline of {deadline}."


def duration(seconds: float) -> str:
    """Write a duration with at most three digits, and its unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 0.9995:
            return f"{_digits(seconds * scale)} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds * 1e9 >= 0.5 else "0 s"


def size(count: int) -> str:
    """Write a number of bytes, in decimal units."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{_digits(count / scale)} {unit}"
    return f"{count} B"


def rate(per_second: float) -> str:
    """Write a rate to two digits, since it is an estimate."""
    if per_second >= 10:
        return f"{float(f'{per_second:.2g}'):,.0f}"
    return f"{per_second:.2g}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
