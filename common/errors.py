"""The one error tree.

HedgerowError
├── BadRequestError          the caller's input is at fault; names the field and the reason
│   ├── BadBodyError         several things in it are
│   └── TooLargeError        an explicit limit was passed
├── UnauthorizedError        the gateway wants a bearer token, and not the one it was given
├── ForbiddenError           this key may not do it, nor this web page, nor under this Host name
├── NotFoundError            no such collection or document
├── ConflictError            the collection exists with another definition, or is one too many
├── ConfigurationError       a setting, profile or hook cannot be used, or Redis refuses us
├── WireError                a message that is malformed, oversized or of an unknown version
├── SnapshotError            a snapshot cannot be made, read or trusted, or its target is away
├── UnavailableError         nobody can answer now; carries when to try again
│   ├── RedisUnavailableError
│   │   └── WriteRefusedError   it answers, but refuses writes: no memory, no disk, read-only
│   ├── InsufficientStorageError a write is refused, since a disk or memory runs out
│   ├── OverloadedError      more is asked than can be answered in time; no shard was asked
│   └── LoadInterruptedError a bulk load stopped, or waits to be applied; says how far it got
├── InsufficientCoverageError  fewer documents were searched than the caller demands
└── WorkError                one piece of work in a lane did not end well
    ├── ExpiredError         its deadline passed, or it was cancelled
    ├── QuarantinedError     its fingerprint has killed scorers before
    ├── ScorerCrashedError   the process that ran it died, twice
    ├── LaneUnavailableError every slot of the lane is lost
    ├── ProfileBusyError     its rank profile holds all of the lane that it may, for too long
    ├── NotStartedError      what runs before it takes long, and another worker may start it sooner
    ├── RankingError         the user's function raised
    └── BadQueryError        the query is at fault, which the gateway has not noticed
"""

from enum import StrEnum
from typing import Any


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


class HedgerowError(Exception):
    """Root of every error that Hedgerow raises on purpose."""


class BadRequestError(HedgerowError):
    """The caller's input is at fault.

    Attributes:
        field: the name of the offending field, as the caller wrote it.
        reason: what is wrong with it, as a clause that follows the field's name.
        position: character offset into the field's value, where one is known.
    """

    def __init__(self, field: str, reason: str, position: int | None = None) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.position = position


class BadBodyError(BadRequestError):
    """Several things in a request's body or parameters are at fault.

    Attributes:
        errors: (field, reason) of each; the first one is the error's own.
    """

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__(*errors[0])
        self.errors = errors


class TooLargeError(BadRequestError):
    """An explicit limit was passed."""


class UnauthorizedError(HedgerowError):
    """The gateway wants a bearer token, and not the one that it was given, if any."""


class ForbiddenError(HedgerowError):
    """The key lacks a right or a collection, or the Host name or the page's origin is not allowed.

    Another key may do it; asking again with the same one is of no use.
    """


class NotFoundError(HedgerowError):
    """No such collection or document."""


class ConflictError(HedgerowError):
    """The collection exists with another definition, or there are as many as may be."""


class ConfigurationError(HedgerowError):
    """A setting, profile or hook cannot be used, or Redis refuses what they make us ask.

    It ends a process that starts. One that runs says so and tries again, since permissions and
    passwords are changed, and put right, under running processes.
    """


class WireError(HedgerowError):
    """A message that is malformed, oversized or of an unknown version."""


class SnapshotError(HedgerowError):
    """A snapshot cannot be made, read or trusted, or what keeps them does not answer."""


class UnavailableError(HedgerowError):
    """Nobody can answer now.

    Attributes:
        retry_after_s: when a new attempt is sensible, in seconds.
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
            "read_only" (it is a replica, or writes were forbidden).
    """

    def __init__(self, message: str, cause: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message, retry_after_s)
        self.cause = cause


class InsufficientStorageError(UnavailableError):
    """A write is refused, since a disk or the server's memory runs out; searches go on.

    Attributes:
        shortages: what runs out, each as the status has it: `where`, `resource`, `state`, `detail`.
        report: of a bulk load, what had become of the lines until then; None for other writes.
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
    """More is asked than can be answered in time, so no shard was asked.

    Attributes:
        cause: "limit" or "batch_share": as many queries are in flight as may be, of all or before
            one of priority batch is taken; "share": as many of this key, or of this address
            without one; "rate": the key has sent as many requests a second as it may; "backlog":
            the shards are behind, and would not have answered enough of it by its deadline;
            "loads": as many bulk loads are under way as may be; "requests": as many requests are
            that are neither searches nor loads.
    """

    def __init__(self, message: str, cause: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.cause = cause


class LoadInterruptedError(UnavailableError):
    """A bulk load could not go on, or what it logged is not applied yet.

    Attributes:
        report: what had become of the lines until then; what it calls accepted is logged and will
            be applied.
    """

    def __init__(self, message: str, report: Any, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.report = report


class InsufficientCoverageError(HedgerowError):
    """Fewer documents were searched than the caller demands.

    Attributes:
        result: the whole (partial) search result, with coverage and outcomes.
        retry_after_s: when a new attempt is sensible, in seconds, if no shard could be asked.
    """

    def __init__(self, message: str, result: Any, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.result = result
        self.retry_after_s = retry_after_s


class WorkError(HedgerowError):
    """One piece of work in a lane did not end well."""

    code: FailureCode = FailureCode.FAILED


class ExpiredEnd(StrEnum):
    """How a task ended whose deadline had passed, or that was cancelled."""

    DROPPED = "dropped"  # before its start
    STOPPED = "stopped"  # by its budget
    KILLED = "killed"  # with its process
    UNUSED = "unused"  # it ran to its end


class ExpiredError(WorkError):
    """The work's deadline passed, or it was cancelled.

    Attributes:
        end: how the work ended.
    """

    code = FailureCode.EXPIRED

    def __init__(self, message: str, end: ExpiredEnd = ExpiredEnd.STOPPED) -> None:
        """Say why, and how the work ended."""
        super().__init__(message)
        self.end = end


class QuarantinedError(WorkError):
    """The work's fingerprint has killed scorers before."""

    code = FailureCode.QUARANTINED


class ScorerCrashedError(WorkError):
    """The process that ran the work died, and so did the one that tried it again."""

    code = FailureCode.CRASHED


class LaneUnavailableError(WorkError):
    """Every slot of the lane is lost."""

    code = FailureCode.LANE_UNAVAILABLE


class ProfileBusyError(WorkError):
    """The rank profile's other calls hold all of the lane that they may, for too long."""

    code = FailureCode.PROFILE_BUSY


class NotStartedError(WorkError):
    """Every scorer was held up by other work, so this one was not started."""

    code = FailureCode.NOT_STARTED


class RankingError(WorkError):
    """The user's ranking function raised."""

    code = FailureCode.RANKING


class BadQueryError(WorkError):
    """The query is at fault, which the gateway has not noticed: other queries go well here."""

    code = FailureCode.BAD_REQUEST
