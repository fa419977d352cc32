"""What goes into a process lane, and what comes out of it."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from hedgerow.common.errors import (
    BadQueryError,
    EmbeddingError,
    ExpiredEnd,
    ExpiredError,
    RankingError,
    WorkError,
)
from hedgerow.shard_worker.executors.bulkhead import OURS

WAITING = 0  # a handle's generation while no scorer has its task
ENDED = -1  # ... and once its `on_done` was called or is about to be


class Identity(Protocol):
    """The identity of a task, which is computed only if the task is suspect or logged."""

    @property
    def fingerprint(self) -> bytes | None:
        """Equal for tasks that the quarantine treats as one; None for one that is never blamed."""

    @property
    def label(self) -> str:
        """An excerpt of the task for people, shown in the list of the quarantine."""


@dataclass(frozen=True, slots=True)
class Named:
    """An identity that is given, not computed."""

    label: str
    fingerprint: bytes | None = None


ANONYMOUS = Named("")


# Structs, since three are made for each task: a struct takes a third of a named tuple's time.
class Task(msgspec.Struct, frozen=True):
    """A task for a scorer process.

    Attributes:
        payload: the handler's argument: bytes, or a tuple that MessagePack can encode.
        expires_at: when its result becomes useless, an instant of `time.monotonic()` in s;
            `math.inf` for never.
        identity: identifies it in the quarantine and in logs.
        late_s: how long before `expires_at` its deadline is, in s.
        is_movable: whether it ends with a NotStartedError, instead of waiting, while other tasks
            hold up every scorer.
        stays: whether it waits for the scorer that was given it, however long that takes to begin.
        profile: the rank profile whose functions it runs; "" for none.
    """

    payload: Any
    expires_at: float = math.inf
    identity: Identity = ANONYMOUS
    late_s: float = 0.0
    is_movable: bool = False
    profile: str = OURS
    stays: bool = False


class TaskResult(msgspec.Struct, frozen=True):
    """How a task ended.

    Attributes:
        body: what the handler returned; b"" if `error` is set.
        lane_us: time between submission and start in the scorer, in µs.
        work_us: time that the handler took, in µs.
        cpu_us: CPU time that its process used meanwhile, in µs.
        error: why there is no body; None if the handler returned.
    """

    body: bytes
    lane_us: int
    work_us: int
    cpu_us: int
    error: WorkError | None


class Holder(Protocol):
    """What a task was given to: a scorer, or a batch on its way through one.

    Attributes:
        check_at: when the pool looks at it next, an instant of `time.monotonic()` in s.
    """

    check_at: float

    def trip(self, handle: "TaskHandle") -> None:
        """Let the budget of one of its tasks expire now."""


class TaskHandle(msgspec.Struct, eq=False):
    """A submitted task; opaque to callers, which may only pass it to `cancel`.

    Attributes:
        expires_at: the task's expiry, or the time of its cancellation if that is earlier.
        generation: the number of the attempt that a scorer has, or `WAITING` or `ENDED`.
        slot: what has it: a scorer, or a batch on its way through one.
        is_stopped: whether it was stopped as a suspect, although its result is still wanted.
        num_crashes: scorers that died while running it.
        num_moves: how often it lost its scorer without being to blame.
    """

    task: Task
    on_done: Callable[[TaskResult], None]
    submitted_at: float
    expires_at: float
    generation: int = WAITING
    slot: Holder | None = None
    is_cancelled: bool = False
    is_stopped: bool = False
    num_crashes: int = 0
    num_moves: int = 0


def failed(handle: TaskHandle, error: WorkError) -> TaskResult:
    """The result, as of now, of a task that has not run or whose cost is unknown."""
    return TaskResult(b"", int((time.monotonic() - handle.submitted_at) * 1e6), 0, 0, error)


# For one task: its index in the batch, failure code, start (by `time.monotonic()`, in s), time and
# CPU time (in µs), and its body or its error's message.
ResultRow = tuple[int, str, float, int, int, Any]
# Whether it is the last of its batch, how many tasks were run, their time (in µs), and results.
Frame = tuple[bool, int, float, Sequence[ResultRow]]


class FailureCode(StrEnum):
    """Why a task failed, as its scorer reports it."""

    NONE = ""  # it has not failed
    FAILED = WorkError.code
    EXPIRED = ExpiredError.code
    RANKING = RankingError.code
    EMBEDDING = EmbeddingError.code
    BAD_QUERY = BadQueryError.code

    @classmethod
    def of(cls, error: WorkError) -> "FailureCode":
        """The code of an error that a handler raised; FAILED for errors of other kinds."""
        return cls(error.code) if error.code in _ERRORS else cls.FAILED


_ERRORS: dict[str, type[WorkError]] = {
    FailureCode.FAILED: WorkError,
    FailureCode.EXPIRED: ExpiredError,
    FailureCode.RANKING: RankingError,
    FailureCode.EMBEDDING: EmbeddingError,
    FailureCode.BAD_QUERY: BadQueryError,
}


def error_of(code: str, message: str) -> WorkError:
    """The error that a scorer has reported as a code and a message."""
    return _ERRORS[code](message)


def result_of(handle: TaskHandle, row: ResultRow) -> TaskResult:
    """The result of a task, from its row in a frame."""
    _, code, started_at, work_us, cpu_us, body = row
    lane_us = int((started_at - handle.submitted_at) * 1e6)
    if handle.is_cancelled:
        end = ExpiredEnd.STOPPED if code else ExpiredEnd.UNUSED
        return TaskResult(b"", lane_us, work_us, cpu_us, ExpiredError("cancelled", end))
    if code:
        return TaskResult(b"", lane_us, work_us, cpu_us, error_of(code, body))
    return TaskResult(body, lane_us, work_us, cpu_us, None)
