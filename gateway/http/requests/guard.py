"""Refuses requests without access, before the application reads anything else of them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.common.errors import BadRequestError, HedgerowError
from hedgerow.gateway.access.caller import ANONYMOUS, Caller, Right
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http.problems import problem_of
from hedgerow.gateway.http.protocol.connection_policy import peer_of
from hedgerow.gateway.http.requests.page_paths import is_page

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
METRICS_PATH: Final = "/metrics"
_CALLER: Final = "hedgerow.caller"  # in the scope of a request
_REAL_NAME: Final = "hedgerow.real_name"  # likewise
_ADMIT: Final = "hedgerow.admit"  # likewise


class Guard:
    """Refuses requests by Host, Origin and Authorization; health checks by their Host only.

    The page is shown without a key, which it asks for: its files hold nothing of the cluster.

    Attributes:
        app: the guarded application.
    """

    def __init__(
        self, app: ASGIApp, access: AccessControl, real_name: Callable[[str], str] = str
    ) -> None:
        """Pass to `app` the requests that `access` admits.

        Args:
            app: the application.
            access: decides.
            real_name: name of a collection, or an alias → the collection's own name.
        """
        self.app = app
        self._real_name = real_name
        self._access = access
        self._entry: ASGIApp = self._serve
        if access.cors_origins:
            # Outermost, so that a page of these origins can also read a refusal.
            self._entry = CORSMiddleware(
                self._serve,
                allow_origins=access.cors_origins,
                allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
                allow_headers=(
                    "Authorization",
                    "Content-Type",
                    "If-Match",
                    "If-None-Match",
                    "Traceparent",
                ),
                expose_headers=("ETag", "Retry-After"),
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        await self._entry(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope[_CALLER] = self._judge(scope)
                scope[_REAL_NAME] = self._real_name
                scope[_ADMIT] = self._access.admit
            except HedgerowError as error:
                await problem_of(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _judge(self, scope: Scope) -> Caller:
        """Return the caller, or raise the error that refuses the request."""
        fields = combined(scope["headers"])
        host = fields.get(b"host")
        if scope["http_version"] != "1.0":
            _check_hosts([value for name, value in scope["headers"] if name == b"host"])
        if scope["path"] in OPEN_PATHS:
            return ANONYMOUS
        self._access.check_host(host)
        self._access.check_page(scope["method"], fields)
        if is_page(scope["method"], scope["path"], fields.get(b"accept", b"").decode("latin-1")):
            return ANONYMOUS
        if scope["path"] == METRICS_PATH and self._access.has_public_metrics:
            return ANONYMOUS
        return self._access.admit(fields.get(b"authorization", b""))

    def plain_search(
        self, headers: Mapping[bytes, bytes], collection: str
    ) -> tuple[Caller | HedgerowError, str] | None:
        """Check a search in which each header occurs once, as `__call__` would.

        Returns:
            The caller, or the refusal, and the collection's own name; or None if `__call__` has to
            check in full.
        """
        if not self._access.admits_plainly(headers):
            return None
        real_name = self._real_name(collection)
        try:
            caller = self._access.admit(headers.get(b"authorization", b""))
            caller.check(Right.SEARCH, collection, real_name)
        except HedgerowError as error:
            return error, collection
        return caller, real_name


def caller_of(scope: Scope) -> Caller:
    """Return the caller of a request; the anonymous one if no guard precedes the application."""
    caller: Caller = scope.get(_CALLER, ANONYMOUS)
    return caller


def admit_again(scope: Scope) -> None:
    """Count a further request of a caller, who has sent several as one.

    Raises:
        OverloadedError: too many requests a second come with this key.
        UnauthorizedError: the key is no longer in force.
    """
    admit: Callable[[bytes], Caller] | None = scope.get(_ADMIT)
    if admit is not None:
        admit(combined(scope["headers"]).get(b"authorization", b""))


def real_name_in(scope: Scope, collection: str) -> str:
    """Return the own name of the collection that a request names, perhaps by an alias."""
    real_name: Callable[[str], str] = scope.get(_REAL_NAME, str)
    return real_name(collection)


def peer_in(scope: Scope) -> str:
    """Return the address that limits by address count a request for."""
    client = scope.get("client")
    return peer_of(client[0]) if client else ""


def party_of(scope: Scope) -> str:
    """Return the party of a request: the callers that share one allowance."""
    return caller_of(scope).party(peer_in(scope))


def traceparent_in(scope: Scope) -> str:
    """Return the trace that a request is a part of, as its caller names it; "" for none.

    A request with several is in none: W3C Trace Context allows one.
    """
    found = [value for name, value in scope["headers"] if name == b"traceparent"]
    return str(found[0], "latin-1") if len(found) == 1 else ""


def combined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers by name; repeated ones are joined to a list (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = b", ".join((found[name], value)) if name in found else value
    return found


def _check_hosts(hosts: list[bytes]) -> None:
    """Demand exactly one Host (RFC 9112, 3.2); with two, a proxy may have used the other."""
    if len(hosts) != 1:
        reason = f"came {len(hosts)} times" if hosts else "is missing"
        raise BadRequestError("Host", f"{reason}; HTTP/1.1 requires it exactly once")
