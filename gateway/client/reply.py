"""Turns a gateway's reply into a typed answer, or an error of common.errors."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from hedgerow.common.errors import (
    BadBodyError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    HedgerowError,
    InsufficientCoverageError,
    InsufficientStorageError,
    LoadInterruptedError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    VersionMismatchError,
)
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.collection import LoadAnswer

T = TypeVar("T")

_SIMPLE: Final[Mapping[int, type[HedgerowError]]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
}
# Statuses of a proxy that cannot reach the gateway, or is overloaded itself.
_FROM_PROXY: Final = frozenset({429, 502, 503, 504})
# What msgspec raises for a body that is not JSON, not UTF-8, or nested too deeply.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Reply(NamedTuple):
    """A reply.

    Attributes:
        url: the URL of the gateway.
        status: the HTTP status.
        headers: the headers, with names in lower case.
        body: the raw body.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is an answer, not a problem."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """Return the answer's JSON.

        Raises:
            HedgerowError: it is a problem; raises the corresponding error.
        """
        found: dict[str, Any] = self.typed(dict)
        return found

    def typed(self, kind: type[T]) -> T:
        """Return the answer as a `kind`.

        Raises:
            HedgerowError: as `json`, or it is not an answer of a gateway.
        """
        self.nothing()
        return self.read_as(kind)

    def nothing(self) -> None:
        """Check that it is a success.

        Raises:
            HedgerowError: as `json`.
        """
        if not self.is_success:
            raise error_of(self)

    def read_as(self, kind: type[T]) -> T:
        """Return the body as a `kind`, even if it is a problem.

        Raises:
            HedgerowError: it is not of this kind.
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except _UNREADABLE as error:
            raise HedgerowError(f"what answers at {self.url} is not a gateway: {error}") from error

    def problem(self) -> dict[str, Any]:
        """Return the members of a problem; empty if the body is not one."""
        try:
            found = msgspec.json.decode(self.body)
        except _UNREADABLE:
            return {}
        return found if isinstance(found, dict) else {}


def error_of(reply: Reply) -> HedgerowError:
    """Return the error of common.errors for a problem."""
    found, status = reply.problem(), reply.status
    if "detail" not in found:
        return _not_of_a_gateway(reply)
    detail = str(found["detail"])
    if "coverage" in found:
        retry_after_s = _retry_after_s(reply, found) if status == 503 else None
        return InsufficientCoverageError(detail, reply.read_as(SearchAnswer), retry_after_s)
    match status:
        case 400 | 413:
            return _at_fault(found, detail, is_limit=status == 413)
        case 429 | 502 | 503 | 504:
            return _unavailable(reply, found, detail)
        case 507:
            return _no_room(reply, found, detail)
        case _:
            return _simple(status, found, detail)


def _simple(status: int, found: Mapping[str, Any], detail: str) -> HedgerowError:
    if status == 412:
        return VersionMismatchError(detail, found.get("version"))
    return _SIMPLE.get(status, HedgerowError)(detail)


def _not_of_a_gateway(reply: Reply) -> HedgerowError:
    if reply.status in _FROM_PROXY:
        return UnavailableError(
            f"no gateway answers at {reply.url}: HTTP {reply.status}", _retry_after_s(reply, {})
        )
    if reply.status == 500:
        return HedgerowError(
            f"what answers at {reply.url} has failed and does not say why (HTTP 500); its log may"
        )
    return HedgerowError(f"what answers at {reply.url} is not a gateway: HTTP {reply.status}")


def _at_fault(found: Mapping[str, Any], detail: str, *, is_limit: bool) -> BadRequestError:
    field, reason = str(found.get("field", "request")), str(found.get("reason", detail))
    if is_limit:
        return TooLargeError(field, reason, found.get("position"))
    several = _faults(found.get("errors"))
    if len(several) > 1:
        return BadBodyError(several)
    return BadRequestError(field, reason, found.get("position"))


def _faults(errors: object) -> list[tuple[str, str]]:
    """Return field and reason of each; those of another server's problem may have other members."""
    listed = errors if isinstance(errors, list) else []
    return [
        (str(fault["field"]), str(fault["reason"]))
        for fault in listed
        if isinstance(fault, dict) and fault.keys() >= {"field", "reason"}
    ]


def _unavailable(reply: Reply, found: Mapping[str, Any], detail: str) -> UnavailableError:
    retry_after_s = _retry_after_s(reply, found)
    if "cause" in found:
        return OverloadedError(detail, found["cause"], retry_after_s)
    if "accepted" in found:
        return LoadInterruptedError(detail, reply.read_as(LoadAnswer), retry_after_s)
    return UnavailableError(detail, retry_after_s)


def _no_room(reply: Reply, found: Mapping[str, Any], detail: str) -> InsufficientStorageError:
    report = reply.read_as(LoadAnswer) if "accepted" in found else None
    shortages = [
        dict(shortage) for shortage in found.get("shortages") or () if isinstance(shortage, dict)
    ]
    return InsufficientStorageError(detail, shortages, report, _retry_after_s(reply, found))


def _retry_after_s(reply: Reply, found: Mapping[str, Any]) -> float:
    """Return the body's exact value, else the header's, which is in whole seconds."""
    exact, header = found.get("retry_after_s"), reply.headers.get("retry-after", "")
    if isinstance(exact, int | float):
        return float(exact)
    return float(header) if header.isdecimal() else 1.0
