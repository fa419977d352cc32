"""The one error tree.

HedgerowError
├── BadRequestError          the caller's input is invalid; names the field and the reason
│   ├── BadBodyError         it has several faults
│   └── TooLargeError        it exceeds an explicit limit
├── UnauthorizedError        the gateway needs a bearer token, and got none or a wrong one
├── ForbiddenError           not allowed for this key, this web page's origin or this Host name
├── NotFoundError            no such collection or document
├── ConflictError            the collection exists with another definition, or is one too many
│   └── VersionMismatchError a document does not have the version that a write demands
├── ConfigurationError       a setting, profile or hook cannot be used, or Redis refuses access
├── WireError                a message is malformed, oversized or of an unknown version
│   └── NewerVersionError    it is of a newer version, and must not be skipped
├── SnapshotError            a snapshot cannot be made, read or trusted, or its target is away
├── SplitError               a split of the shards cannot go on, and is abandoned
├── UnavailableError         the request cannot be answered now; says when to try again
│   ├── RedisUnavailableError
│   │   ├── WriteRefusedError   Redis answers, but refuses writes: no memory, no disk, read-only
│   │   │   └── SealedError     the shards are being split, and take no writes for a moment
│   │   └── UnconfirmedError    a write was done, but its replicas have not confirmed it in time
│   ├── InsufficientStorageError a write is refused, since a disk or memory runs out
│   ├── OverloadedError      there is too much to answer in time; no shard was asked
│   └── LoadInterruptedError a bulk load stopped, or waits to be applied; says how far it got
├── InsufficientCoverageError  fewer documents were searched than the caller requires
└── WorkError                a task in a lane failed
    ├── ExpiredError         its deadline passed, or it was cancelled
    ├── QuarantinedError     its fingerprint has killed scorers before
    ├── ScorerCrashedError   the process that ran it died, twice
    ├── LaneUnavailableError every slot of the lane is lost
    ├── ProfileBusyError     its rank profile has held its whole share of the lane for too long
    ├── NotStartedError      the tasks before it take long, and another worker may start it sooner
    ├── RankingError         the user's function raised
    ├── EmbeddingError       a text could not be turned into a vector
    └── BadQueryError        the query is at fault in a way that the gateway did not notice
"""

from enum import StrEnum
from typing import Any


def raise_if(error: BaseException | None) -> None:
    """Raise an error that a call has returned, if it has returned one.

    A function that raises its own variable leaves a cycle (the error's traceback has the frame, and
    the frame has the variable): it stays in memory, with all that the frames hold, until the
    garbage collector runs, which is seldom and takes long. Pass on what a call returns, as in
    `raise_if(refusal_of(query))`, and there is no such variable.
    """
    if error is not None:
        try:
            raise error
        finally:
            del error


class FailureCode(StrEnum):
    """Why a request failed, as it travels in a `Failure`: most are those of a `WorkError`.

    A gateway may meet a code that only a newer worker knows, and treats it as `FAILED`.
    """

    FAILED = "failed"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"
    CRASHED = "crashed"
    LANE_UNAVAILABLE = "lane_unavailable"
    PROFILE_BUSY = "profile_busy"
    NOT_STARTED = "not_started"
    RANKING = "ranking"
    BAD_REQUEST = "bad_request"
    CONFIGURATION = "configuration"  # the worker has no such rank profile
    MALFORMED = "malformed"  # the request's payload, or the reply, cannot be read
    TOO_LARGE = "too_large"  # the reply is over limits.max_message_bytes
    EMBEDDING = "embedding"


class HedgerowError(Exception):
    """Root of every error that Hedgerow raises on purpose."""


class BadRequestError(HedgerowError):
    """The caller's input is invalid.

    Attributes:
        field: the name of the offending field, as the caller wrote it.
        reason: what is wrong with it, as a clause that follows the field's name.
        position: character offset into the field's value, if it is known.
    """

    def __init__(self, field: str, reason: str, position: int | None = None) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.position = position


class BadBodyError(BadRequestError):
    """A request's body or parameters have several faults.

    Attributes:
        errors: (field, reason) of each; the first one is the error's own.
    """

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__(*errors[0])
        self.errors = errors


class TooLargeError(BadRequestError):
    """The input exceeds an explicit limit."""


class UnauthorizedError(HedgerowError):
    """The gateway needs a bearer token, and got none or a wrong one."""


class ForbiddenError(HedgerowError):
    """The key lacks a right or a collection, or the Host name or the page's origin is not allowed.

    A key with more rights may be allowed; trying again with the same one does not help.
    """


class NotFoundError(HedgerowError):
    """No such collection or document."""


class ConflictError(HedgerowError):
    """The collection exists with another definition, or there are as many as allowed."""


class VersionMismatchError(ConflictError):
    """A document does not have the version that a write demands; nothing was written.

    Attributes:
        version: the version that it has; None if there is no such document.
    """

    def __init__(self, message: str, version: str | None = None) -> None:
        super().__init__(message)
        self.version = version


class ConfigurationError(HedgerowError):
    """A setting, profile or hook cannot be used, or Redis refuses the user or a command.

    A process that is starting exits. A running one logs it and tries again, since permissions and
    passwords may be changed, and repaired, while it runs.
    """


class WireError(HedgerowError):
    """A message is malformed, oversized or of an unknown version."""


class NewerVersionError(WireError):
    """What was read is of a newer version of Hedgerow, and must not be skipped."""


class SnapshotError(HedgerowError):
    """A snapshot cannot be made, read or trusted, or the snapshots' target does not answer."""


class SplitError(HedgerowError):
    """A split of the shards cannot go on, and is abandoned; the shards are as they were."""


class UnavailableError(HedgerowError):
    """The request cannot be answered now.

    Attributes:
        retry_after_s: how long to wait before trying again, in s.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RedisUnavailableError(UnavailableError):
    """The Redis server does not answer."""


class WriteRefusedError(RedisUnavailableError):
    """The Redis server answers, but refuses writes now.

    Attributes:
        cause: "memory" (it has reached its maxmemory), "disk" (it cannot write its files), or
            "read_only" (it is a replica, or writes were forbidden), or "sealed" (the log is of a
            layout that is being replaced by a split).
    """

    def __init__(self, message: str, cause: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message, retry_after_s)
        self.cause = cause


class SealedError(WriteRefusedError):
    """The shards are being split, and take no writes for a moment."""

    def __init__(self) -> None:
        text = "the shards are being split, and take no writes for a moment"
        super().__init__(text, "sealed", retry_after_s=1.0)


class UnconfirmedError(RedisUnavailableError):
    """A write was done, but fewer replicas than `redis.min_replicas` have confirmed it in time.

    It is lost if the server fails now; otherwise it stays.
    """


class InsufficientStorageError(UnavailableError):
    """A write is refused, since a disk or the server's memory runs out; searches continue.

    Attributes:
        shortages: what runs out, as in the status: `where`, `resource`, `state`, `detail` of each.
        report: what happened to the lines of a bulk load so far; None for other writes.
    """

    def __init__(
        self,
        message: str,
        shortages: list[dict[str, Any]],
        report: Any = None,
        retry_after_s: float = 5.0,
    ) -> None:
        super().__init__(message, retry_after_s)
        self.shortages = shortages
        self.report = report


class OverloadedError(UnavailableError):
    """There is too much to answer in time, so no shard was asked.

    Attributes:
        cause: which limit was reached. "limit": queries in flight; "batch_share": queries in flight
            before one of priority batch is admitted; "share": queries in flight of this key, or of
            this address without a key; "rate": requests a second of this key; "backlog": the shards
            are behind, and too few would have answered by the deadline; "deadline": a batch's time
            was over before this search of it began; "loads": bulk loads in progress; "requests":
            requests in progress that are neither searches nor loads; "viewers": clients that follow
            the events.
    """

    def __init__(self, message: str, cause: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.cause = cause


class LoadInterruptedError(UnavailableError):
    """A bulk load could not go on, or what it logged is not applied yet.

    Attributes:
        report: what happened to the lines so far; those that it counts as accepted are in the log
            and will be applied.
    """

    def __init__(self, message: str, report: Any, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.report = report


class InsufficientCoverageError(HedgerowError):
    """Fewer documents were searched than the caller requires.

    Attributes:
        result: the whole (partial) search result, with coverage and outcomes.
        retry_after_s: how long to wait before trying again, in s, if no shard could be asked.
    """

    def __init__(self, message: str, result: Any, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.result = result
        self.retry_after_s = retry_after_s


class WorkError(HedgerowError):
    """A task in a lane failed."""

    code: FailureCode = FailureCode.FAILED


class ExpiredEnd(StrEnum):
    """How a task ended after its deadline had passed or it was cancelled."""

    DROPPED = "dropped"  # before its start
    STOPPED = "stopped"  # by its budget
    KILLED = "killed"  # with its process
    UNUSED = "unused"  # it ran to its end


class ExpiredError(WorkError):
    """The task's deadline passed, or it was cancelled.

    Attributes:
        end: how the task ended.
    """

    code = FailureCode.EXPIRED

    def __init__(self, message: str, end: ExpiredEnd = ExpiredEnd.STOPPED) -> None:
        """Say why, and how the task ended."""
        super().__init__(message)
        self.end = end


class QuarantinedError(WorkError):
    """The task's fingerprint has killed scorers before."""

    code = FailureCode.QUARANTINED


class ScorerCrashedError(WorkError):
    """The process that ran the task died, and so did the one that tried it again."""

    code = FailureCode.CRASHED


class LaneUnavailableError(WorkError):
    """Every slot of the lane is lost."""

    code = FailureCode.LANE_UNAVAILABLE


class ProfileBusyError(WorkError):
    """The rank profile's other calls have held its whole share of the lane for too long."""

    code = FailureCode.PROFILE_BUSY


class NotStartedError(WorkError):
    """Every scorer was held up by other tasks, so this one was not started."""

    code = FailureCode.NOT_STARTED


class RankingError(WorkError):
    """The user's ranking function raised."""

    code = FailureCode.RANKING


class EmbeddingError(WorkError):
    """The user's function could not turn a text into a vector."""

    code = FailureCode.EMBEDDING


class BadQueryError(WorkError):
    """The query is at fault in a way that the gateway did not notice; other queries succeed."""

    code = FailureCode.BAD_REQUEST
