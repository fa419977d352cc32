"""Who may ask, and how much: the bearer token and the size of bodies."""

import hmac
from collections.abc import Iterable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from common.errors import TooLargeError
from gateway.http.problems import problem

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})


class RequireToken:
    """Refuses requests without the bearer token (RFC 6750), health checks excepted.

    Attributes:
        app: the application that it guards.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Demand `token` of every request to `app`."""
        self.app = app
        self._expected = f"bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        is_guarded = scope["type"] == "http" and scope["path"] not in OPEN_PATHS
        if is_guarded and not self.allows(scope["headers"]):
            refusal = problem(
                "unauthorized",
                401,
                "this gateway wants `Authorization: Bearer TOKEN`",
                None,
                {"WWW-Authenticate": "Bearer"},
            )
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def allows(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the headers of a request, their names in lower case, have the token."""
        given = dict(headers).get(b"authorization", b"")
        scheme, _, token = given.partition(b" ")
        # In constant time, so that how long a refusal takes tells nothing about the token.
        return hmac.compare_digest(scheme.lower() + b" " + token.strip(), self._expected)


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """Read a body, and stop as soon as it is known to be over the limit.

    Raises:
        ClientDisconnect: the client has hung up amid the body.
        TooLargeError: the body has more than `max_bytes`.
    """
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if announced.isdigit() and int(announced) > max_bytes:
        raise TooLargeError("body", f"has {announced.decode()} bytes, and {max_bytes} is the limit")
    chunks = []
    num_bytes = 0
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise TooLargeError("body", f"has more than {max_bytes} bytes")
        chunks.append(chunk)
        has_more = message.get("more_body", False)
    return b"".join(chunks)
