"""The measured figures of a function; plain values, with units in the names."""

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
    """A function, before it runs.

    Attributes:
        reference: `module:function`.
        kind: how it is called.
        is_async: whether it is an `async def`.
        takes_budget: whether it takes a budget.
        num_samples: samples in the sample file.
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
        where: the sample, or the experiment.
        what: the last line of the traceback, how the process ended, or how long it ran.
        is_first_look: whether a single call on one sample failed; else it took several calls, or
            concurrent ones.
    """

    how: str
    where: str
    what: str
    is_first_look: bool


@dataclass(frozen=True, slots=True)
class Alone:
    """Calls one after another.

    Attributes:
        call_s: median over the rounds of the mean time of a call, in s.
        low_s: mean time of a call in the fastest round, in s.
        high_s: mean time of a call in the slowest round, in s.
        cpu_share: share of a call's time in which it has a core or waits for one; above 1 if it
            has several.
        native_share: share of its CPU time in its own native threads, if these are not limited.
        free_share: share of a core that a counting loop could get; below 1 on a busy machine.
        num_rounds: measured rounds.
        slowest_s: the slowest of the first calls on each sample, in s; 0 if there was only one.
        slowest: the sample of that call.
        is_limited: whether all but `native_share` was measured with one native thread (by
            OMP_NUM_THREADS and the like).
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
        """Whether a relevant share of its CPU work is in native threads."""
        return self.cpu_share >= 0.5 and self.native_share >= 0.25


@dataclass(frozen=True, slots=True)
class Crossing:
    """The cost of handing a call over.

    Attributes:
        thread_hop_s: from the loop to an idle thread and back, in s.
        process_hop_s: arguments to another process and the result back, in s; None if they cannot
            be pickled.
        argument_bytes: size of the pickled arguments.
        result_bytes: size of the pickled result.
        unpicklable: what cannot be pickled, and why.
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
        lag_s: how long the loop was blocked at once, median over the rounds, in s: the maximum
            for an async function, the median for a blocking one.
        held_share: share of the calls' time in which the loop was blocked.
        at_once: throughput of 8 concurrent calls, divided by that of successive ones; None if the
            function is not async.
    """

    lag_s: float
    held_share: float
    at_once: float | None = None


@dataclass(frozen=True, slots=True)
class Expiry:
    """Calls whose budget expires half-way, or that are cancelled there.

    Attributes:
        after_s: when that was, from the start of the call, in s.
        overrun_s: how long they ran on, median, in s.
        done_share: share of a whole call that was done, median: one half if it stops at once.
        is_cancelled: whether a task was cancelled.
        is_checked: whether any call checked its budget; true for a task, which is cancelled.
    """

    after_s: float
    overrun_s: float
    done_share: float
    is_cancelled: bool
    is_checked: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures; None if one could not be measured.

    Attributes:
        gil_held: how much another thread waits for the interpreter lock during the calls; 0 as for
            a call that releases it, 1 as for one that never does.
        two_threads: throughput of two threads, divided by that of one.
        eight_threads: the same for eight; only if it waits.
        two_processes: the same for two processes.
        thread_error: an error that it raised only in threads.
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
    """The machine and the settings that the advice is for.

    Attributes:
        cores: cores that this process may use.
        deadline_s: deadline of a query, in s.
        kill_grace_s: time after the deadline until a scorer is killed, in s.
        thread_timeout_s: time after which a thread counts as lost, in s.
    """

    cores: int
    deadline_s: float
    kill_grace_s: float
    thread_timeout_s: float
