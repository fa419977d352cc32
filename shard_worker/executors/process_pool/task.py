"""What goes into a process lane and what comes out."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from hedgerow.common.errors import BadQueryError, ExpiredEnd, ExpiredError, RankingError, WorkError
from hedgerow.shard_worker.executors.bulkhead import OURS

WAITING = 0  # a ticket's generation while no scorer has it
ENDED = -1  # ... and once its `on_done` was called or is about to be


class Identity(Protocol):
    """Who a work is: asked when it is suspect or talked of, which few works ever are."""

    @property
    def fingerprint(self) -> bytes | None:
        """What counts as the same work when it kills scorers; None is never blamed."""

    @property
    def label(self) -> str:
        """An excerpt of the work for people, shown where the quarantine is listed."""


@dataclass(frozen=True, slots=True)
class Named:
    """An identity that is known beforehand."""

    label: str
    fingerprint: bytes | None = None


ANONYMOUS = Named("")


# Structs, since three of them are made a work: each takes a third of a named tuple's time.
class Task(msgspec.Struct, frozen=True):
    """One piece of work for a scorer process.

    Attributes:
        payload: what the handler gets: bytes, or a tuple of what MessagePack carries.
        expires_at: from when on its result is useless, an instant of `time.monotonic()` in s;
            `math.inf` for never.
        identity: who it is.
        late_s: how long before `expires_at` its deadline is, in s.
        is_movable: whether it ends with a NotStartedError, instead of waiting, while every scorer
            is held up by other work.
        profile: the rank profile whose functions it runs; "" for none.
    """

    payload: Any
    expires_at: float = math.inf
    identity: Identity = ANONYMOUS
    late_s: float = 0.0
    is_movable: bool = False
    profile: str = OURS


class TaskResult(msgspec.Struct, frozen=True):
    """How a work ended.

    Attributes:
        body: what the handler returned; b"" when `error` is set.
        lane_us: time between submission and start in the scorer, in µs.
        work_us: time that the handler took, in µs.
        cpu_us: CPU time that its process used meanwhile, in µs.
        error: None when the handler returned.
    """

    body: bytes
    lane_us: int
    work_us: int
    cpu_us: int
    error: WorkError | None


class Holder(Protocol):
    """What a task was given to: a scorer, or a batch on its way through one.

    Attributes:
        check_at: when the pool looks after it, s.
    """

    check_at: float

    def trip(self, ticket: "TaskHandle") -> None:
        """Let the budget of one of its tasks expire now."""


class TaskHandle(msgspec.Struct, eq=False):
    """A submitted work on its way; opaque to callers, who may only hand it to `cancel`.

    Attributes:
        expires_at: the work's, or the instant of its cancellation if that is earlier.
        generation: the running number of the attempt that a scorer has, `WAITING` or `ENDED`.
        slot: the scorer that has it.
        is_stopped: whether it was stopped as a suspect, though its result was waited for.
        num_crashes: scorers that died while they ran it.
        num_moves: times that it lost its scorer without being to blame.
    """

    work: Task
    on_done: Callable[[TaskResult], None]
    submitted_at: float
    expires_at: float
    generation: int = WAITING
    slot: Holder | None = None
    is_cancelled: bool = False
    is_stopped: bool = False
    num_crashes: int = 0
    num_moves: int = 0


def failed(ticket: TaskHandle, error: WorkError) -> TaskResult:
    """The end, now, of a task that has not run, or whose cost is unknown."""
    return TaskResult(b"", int((time.monotonic() - ticket.submitted_at) * 1e6), 0, 0, error)


# Of one task: its index in the batch, failure code, instant of its start (monotonic, s), time and
# CPU time (µs), and its body, or its error's message.
ResultRow = tuple[int, str, float, int, int, Any]
# Whether it is the batch's last, tasks that were run, the time that they took (µs), and results.
Frame = tuple[bool, int, float, Sequence[ResultRow]]


class FailureCode(StrEnum):
    """Why a task failed, as its scorer reports it."""

    NONE = ""  # it has not
    FAILED = WorkError.code
    EXPIRED = ExpiredError.code
    RANKING = RankingError.code
    BAD_QUERY = BadQueryError.code

    @classmethod
    def of(cls, error: WorkError) -> "FailureCode":
        """The code of an error that a handler raised; FAILED for one of another kind."""
        return cls(error.code) if error.code in _ERRORS else cls.FAILED


_ERRORS: dict[str, type[WorkError]] = {
    FailureCode.FAILED: WorkError,
    FailureCode.EXPIRED: ExpiredError,
    FailureCode.RANKING: RankingError,
    FailureCode.BAD_QUERY: BadQueryError,
}


def error_of(code: str, message: str) -> WorkError:
    """The error that a scorer reported as a code and a message."""
    return _ERRORS[code](message)


def result_of(
    ticket: TaskHandle, code: str, started_at: float, work_us: int, cpu_us: int, body: Any
) -> TaskResult:
    """How a task ended, from its row in a frame."""
    lane_us = int((started_at - ticket.submitted_at) * 1e6)
    if ticket.is_cancelled:
        end = ExpiredEnd.STOPPED if code else ExpiredEnd.UNUSED
        return TaskResult(b"", lane_us, work_us, cpu_us, ExpiredError("cancelled", end))
    if code:
        return TaskResult(b"", lane_us, work_us, cpu_us, error_of(code, body))
    return TaskResult(body, lane_us, work_us, cpu_us, None)
