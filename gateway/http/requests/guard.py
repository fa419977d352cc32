"""Refuses requests without access before the application reads anything else of them."""

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.common.errors import BadRequestError, HedgerowError
from hedgerow.gateway.access.caller import ANONYMOUS, Caller, Right
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http.problems import problem_of
from hedgerow.gateway.http.protocol.connection_policy import peer_of

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
_CALLER: Final = "hedgerow.caller"  # in the scope of a request


class Guard:
    """Refuses requests by Host, Origin and Authorization; health checks by their Host only.

    Attributes:
        app: the application that it guards.
    """

    def __init__(self, app: ASGIApp, access: AccessControl) -> None:
        """Let to `app` what `access` lets in."""
        self.app = app
        self._access = access
        self._entry: ASGIApp = self._serve
        if access.cors_origins:
            # Outside of what refuses, so that a page of these origins may read why it was refused.
            self._entry = CORSMiddleware(
                self._serve,
                allow_origins=access.cors_origins,
                allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
                allow_headers=("Authorization", "Content-Type"),
                expose_headers=("Retry-After",),
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        await self._entry(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope[_CALLER] = self._judge(scope)
            except HedgerowError as error:
                await problem_of(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _judge(self, scope: Scope) -> Caller:
        """Return the caller, or raise the refusal."""
        fields = combined(scope["headers"])
        host = fields.get(b"host")
        if scope["http_version"] != "1.0":
            _check_hosts([value for name, value in scope["headers"] if name == b"host"])
        if scope["path"] in OPEN_PATHS:
            return ANONYMOUS
        self._access.check_host(host)
        self._access.check_page(scope["method"], fields)
        return self._access.admit(fields.get(b"authorization", b""))

    def plain_search(
        self, headers: Mapping[bytes, bytes], collection: str
    ) -> Caller | HedgerowError | None:
        """Judge a search of which each header came once, as `__call__` would.

        Returns:
            The caller, or the refusal; or None if `__call__` has to check in full.
        """
        if not self._access.admits_plainly(headers):
            return None
        try:
            caller = self._access.admit(headers.get(b"authorization", b""))
            caller.check(Right.SEARCH, collection)
        except HedgerowError as error:
            return error
        return caller


def caller_of(scope: Scope) -> Caller:
    """Tell who has sent a request; without a guard before the application, anyone."""
    caller: Caller = scope.get(_CALLER, ANONYMOUS)
    return caller


def peer_in(scope: Scope) -> str:
    """Tell from which address a request comes, as limits by address count it."""
    client = scope.get("client")
    return peer_of(client[0]) if client else ""


def party_of(scope: Scope) -> str:
    """Tell with whom the sender of a request shares what a caller may have at once."""
    return caller_of(scope).party(peer_in(scope))


def combined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers by name; those that came several times as one list (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = b", ".join((found[name], value)) if name in found else value
    return found


def _check_hosts(hosts: list[bytes]) -> None:
    """Demand exactly one Host (RFC 9112, 3.2); of two, a proxy may have gone by the other."""
    if len(hosts) != 1:
        reason = f"came {len(hosts)} times" if hosts else "is missing"
        raise BadRequestError("Host", f"{reason}; HTTP/1.1 requires it exactly once")
