"""What is measured of a function, and what it is judged by; plain values, units in the names."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a function is called."""

    FUNCTION = "function"
    SECOND_PHASE = "second_phase"
    ENRICH = "enrich"


class Lane(StrEnum):
    """Where a function can run."""

    LOOP = "loop"
    THREAD = "thread"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of a function before it runs.

    Attributes:
        reference: `module:function`.
        kind: how it is called.
        is_async: whether it is an `async def`.
        takes_budget: whether it is given a budget.
        num_samples: calls that the sample file has.
        num_documents: documents in one call of a hook, 0 for a function.
    """

    reference: str
    kind: Kind
    is_async: bool
    takes_budget: bool
    num_samples: int
    num_documents: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A way in which the function failed.

    Attributes:
        how: "raised", "died" (its process ended) or "hung" (no return within the limit).
        where: which sample, or during what.
        what: the last line of the traceback, how the process ended, or for how long it ran.
        is_first_look: whether a single call on one sample did it; else it took several, or several
            at once.
    """

    how: str
    where: str
    what: str
    is_first_look: bool


@dataclass(frozen=True, slots=True)
class Alone:
    """Calls one after the other.

    Attributes:
        call_s: median over the rounds of the mean time of a call, in s.
        low_s: that of the fastest round.
        high_s: that of the slowest round.
        cpu_share: of the time of a call, how much it has a core or waits for one that others have;
            above 1 when it has several.
        native_share: of its CPU time, how much is in native threads of its own, when nobody limits
            them.
        free_share: of a core, how much a counting loop could get; below 1 on a busy machine.
        num_rounds: rounds that were measured.
        slowest_s: the slowest of the first calls on each sample, in s; 0 when there was only one.
        slowest: which sample that was.
        is_limited: whether all but `native_share` was measured with one native thread (by
            OMP_NUM_THREADS and its like).
    """

    call_s: float
    low_s: float
    high_s: float
    cpu_share: float
    native_share: float
    free_share: float
    num_rounds: int
    slowest_s: float = 0.0
    slowest: str = ""
    is_limited: bool = False

    @property
    def has_native_threads(self) -> bool:
        """Whether so much of its CPU work is in native threads that it matters."""
        return self.cpu_share >= 0.5 and self.native_share >= 0.25


@dataclass(frozen=True, slots=True)
class Crossing:
    """What it costs to hand a call to somebody else.

    Attributes:
        thread_hop_s: from the loop to an idle thread and back, in s.
        process_hop_s: arguments to another process and the result back, in s; None if they cannot
            cross.
        argument_bytes: the pickled arguments.
        result_bytes: the pickled result.
        unpicklable: what cannot cross, and why.
    """

    thread_hop_s: float
    process_hop_s: float | None = None
    argument_bytes: int = 0
    result_bytes: int = 0
    unpicklable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnLoop:
    """Calls on an event loop.

    Attributes:
        lag_s: how long the loop could not turn at a stretch, median over the rounds, in s: during
            an async call at most, during one that blocks by the median.
        held_share: of the time of the calls, how much the loop could not turn.
        at_once: how many times the work of one call after the other is done by 8 at once; None for
            a function that is not async.
    """

    lag_s: float
    held_share: float
    at_once: float | None = None


@dataclass(frozen=True, slots=True)
class Expiry:
    """Calls whose budget expires, or that are cancelled, half-way.

    Attributes:
        after_s: when that was, from the start of the call, in s.
        overrun_s: how long they ran on, median, in s.
        done_share: of a whole call, how much was done, median: one half when it stops at once.
        is_cancelled: whether by cancelling a task.
    """

    after_s: float
    overrun_s: float
    done_share: float
    is_cancelled: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """All that was measured; None where it could not be.

    Attributes:
        gil_held: of the time of the calls, how much another thread waits for the interpreter lock;
            between what a call that releases it costs (0) and one that never does (1).
        two_threads: how many times the work of one thread two do, by throughput.
        eight_threads: the same of eight; asked of what waits.
        two_processes: the same of two processes.
        thread_error: what it raised in threads alone.
    """

    subject: Subject
    failures: tuple[Failure, ...] = ()
    alone: Alone | None = None
    gil_held: float | None = None
    two_threads: float | None = None
    eight_threads: float | None = None
    two_processes: float | None = None
    thread_error: str | None = None
    crossing: Crossing | None = None
    on_loop: OnLoop | None = None
    expiry: Expiry | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """What the advice is for.

    Attributes:
        cores: cores that this process may use.
        deadline_s: of a query, in s.
        kill_grace_s: how long after it a scorer is killed, in s.
        thread_timeout_s: after how long a thread counts as lost, in s.
    """

    cores: int
    deadline_s: float
    kill_grace_s: float
    thread_timeout_s: float
