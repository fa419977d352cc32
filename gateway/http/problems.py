"""Failures as RFC 9457 problem details (https://www.rfc-editor.org/rfc/rfc9457)."""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    WriteRefusedError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.result import SearchResult
from hedgerow.gateway.shapes.problem import FieldError, Problem
from hedgerow.gateway.views.json_bytes import encode, encode_shape, to_builtins

log = structlog.get_logger()

CLIENT_CLOSED_REQUEST: Final = 499  # only for logs: the client has gone
_MAX_PATH_SHOWN: Final = 200  # characters
MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:problem-type:hedgerow:"

# Last part of the problem's type → its title.
TITLES: Final = {
    "bad-request": "The request cannot be used",
    "too-large": "The request exceeds a limit",
    "unauthorized": "The bearer token or key is missing or wrong",
    "forbidden": "The caller is not allowed to do this",
    "not-found": "The resource does not exist",
    "method-not-allowed": "The path does not take this method",
    "conflict": "The request does not fit what exists",
    "version-mismatch": "The document has another version",
    "insufficient-coverage": "Fewer documents were searched than asked for",
    "unavailable": "The cluster cannot answer now",
    "timed-out": "The request took too long to arrive",
    "insufficient-storage": "There is no room for writes",
    "overloaded": "More is asked than can be answered in time",
    "internal": "The gateway failed",
}
_NOT_ASKED: Final = {Outcome.UNAVAILABLE, Outcome.BREAKER_OPEN}
_SLUG_OF_STATUS: Final = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    503: "unavailable",
    507: "insufficient-storage",
}
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Errors without further members: slug, status and headers.
_SIMPLE: Final[Mapping[type[Exception], tuple[str, int, dict[str, str] | None]]] = {
    UnauthorizedError: ("unauthorized", 401, {"WWW-Authenticate": "Bearer"}),  # RFC 6750, 3
    ForbiddenError: ("forbidden", 403, None),
    NotFoundError: ("not-found", 404, None),
    ConflictError: ("conflict", 409, None),
}
_OVERLOAD_HEAD: Final = (
    b"retry-after: %d\r\ncontent-length: %d\r\ncontent-type: " + MEDIA_TYPE.encode() + b"\r\n"
)


def json_response(body: Any, status: int = 200) -> Response:
    """Answer with JSON: a shape, or plain dicts, lists and so on."""
    content = encode_shape(body) if isinstance(body, msgspec.Struct) else encode(body)
    return Response(content, status, media_type="application/json")


def problem(
    slug: str,
    status: int,
    detail: str,
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with a problem.

    Args:
        slug: a key of `TITLES`; the last part of the problem's `type`.
        status: the HTTP status.
        detail: what went wrong.
        members: members of the problem in addition to those of the RFC.
        headers: further headers of the response.
    """
    body = _problem(slug, status, detail, members or {})
    return Response(encode_shape(body), status, headers, media_type=MEDIA_TYPE)


def _problem(slug: str, status: int, detail: str, members: Mapping[str, Any]) -> Problem:
    return Problem(TYPE_PREFIX + slug, TITLES[slug], status, detail, **members)


def coverage_status(result: SearchResult) -> int:
    """Return 503 if no shard could be asked, else 504."""
    was_asked = any(
        count for outcome, count in result.outcomes.items() if outcome not in _NOT_ASKED
    )
    return 504 if was_asked else 503


def problem_of(error: Exception) -> Response:
    """Describe an error of the error tree, or an unexpected one."""
    if (own := _special_response(error)) is not None:
        return own
    slug, status, members, headers = "internal", 500, None, None
    detail = str(error)
    match error:
        case BadRequestError():
            is_limit = isinstance(error, TooLargeError)
            slug, status = ("too-large", 413) if is_limit else ("bad-request", 400)
            members = _fault_members(error)
        case VersionMismatchError():
            slug, status, members = "version-mismatch", 412, {"version": error.version}
        case UnauthorizedError() | ForbiddenError() | NotFoundError() | ConflictError():
            slug, status, headers = _SIMPLE[type(error)]
        case LoadInterruptedError(report=report, retry_after_s=retry_after_s):
            slug, status, headers = "unavailable", 503, retry_after(retry_after_s)
            members = to_builtins(report.answer())
        case OverloadedError():
            slug, status, members = "overloaded", _overload_status(error), _overload_members(error)
            headers = retry_after(error.retry_after_s)
        case UnavailableError(retry_after_s=retry_after_s):
            slug, status, headers = "unavailable", 503, retry_after(retry_after_s)
        case _:
            log.error("request_failed", error=type(error).__name__, exc_info=error)
            if not isinstance(error, HedgerowError):
                detail = "unexpected error; the gateway's log has the details"
    return problem(slug, status, detail, members, headers)


def overload_bytes(error: OverloadedError) -> tuple[int, bytes, bytes]:
    """Return the status, header lines and body of `problem_of`, in a third of the time."""
    status = _overload_status(error)
    body = encode_shape(_problem("overloaded", status, str(error), _overload_members(error)))
    wait_s = whole_seconds(error.retry_after_s)
    return status, _OVERLOAD_HEAD % (wait_s, len(body)), body


def _overload_status(error: OverloadedError) -> int:
    # 503 if the shards are behind for any reason, 429 if this gateway's callers send too much.
    return 503 if error.cause == "backlog" else 429


def _overload_members(error: OverloadedError) -> dict[str, Any]:
    return {"cause": error.cause, "retry_after_s": round(error.retry_after_s, 3)}


def _special_response(error: Exception) -> Response | None:
    match error:
        case ClientDisconnect():  # while its body was read
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        case InsufficientCoverageError():
            return insufficient_coverage(error, coverage_status(error.result))
        case InsufficientStorageError() | WriteRefusedError():
            return _no_room(error)
    return None


def _no_room(error: InsufficientStorageError | WriteRefusedError) -> Response:
    members: dict[str, Any] = {"shortages": []}
    if isinstance(error, InsufficientStorageError):
        report = {} if error.report is None else to_builtins(error.report.answer())
        members = {"shortages": error.shortages, **report}
    headers = retry_after(error.retry_after_s)
    return problem("insufficient-storage", 507, str(error), members, headers)


def insufficient_coverage(error: InsufficientCoverageError, status: int) -> Response:
    """Answer with the partial result: the members of an answer and those of a problem."""
    headers = retry_after(1.0) if status == 503 else None
    members = msgspec.structs.asdict(error.result.answer())
    return problem("insufficient-coverage", status, str(error), members, headers)


def _fault_members(error: BadRequestError) -> dict[str, Any]:
    several = error.errors if isinstance(error, BadBodyError) else [(error.field, error.reason)]
    return {
        "field": error.field,
        "reason": error.reason,
        "position": error.position,
        "errors": [FieldError(field, reason) for field, reason in several],
    }


def retry_after(wait_s: float) -> dict[str, str]:
    """Return the header that says when to try again."""
    return {"Retry-After": str(whole_seconds(wait_s))}


def whole_seconds(wait_s: float) -> int:
    """Round a wait up to whole seconds, as `Retry-After` has them (RFC 9110, 10.2.3)."""
    return max(1, math.ceil(wait_s))


def add_handlers(app: Starlette) -> None:
    """Turn every failure of `app` into a problem, including the framework's own."""

    async def on_error(_request: Request, error: Any) -> Response:
        return problem_of(error)

    async def on_framework(request: Request, error: Any) -> Response:
        slug = _SLUG_OF_STATUS.get(error.status_code, "bad-request")
        headers, detail = error.headers, str(error.detail)
        if error.status_code == 404:  # no route fits
            detail = f"there is nothing at {request.url.path[:_MAX_PATH_SHOWN]}"
        if error.status_code == 405:
            headers = {"Allow": ", ".join(methods_of(app, request.scope))}
        return problem(slug, error.status_code, detail, None, headers)

    app.add_exception_handler(HedgerowError, on_error)
    app.add_exception_handler(HTTPException, on_framework)
    app.add_middleware(LastResort)


def methods_of(app: Starlette, scope: Scope) -> list[str]:
    """Return all methods of a request's path; the framework names only those of one route."""
    return [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


class LastResort:
    """Turns an unexpected error into a problem and a logged traceback.

    Starlette's own last resort answers too, but re-raises into the server, which would write the
    traceback outside the structured log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_started = False

        async def watched(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the last resort takes any error
            response = problem_of(error)
            if scope["type"] == "http" and not is_started:
                await response(scope, receive, send)
