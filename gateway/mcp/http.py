"""MCP over HTTP: who may ask, and from where.

A web page that a user has open can send requests to this machine, and can point a name of its own
at it. So requests must name this server's own host (`Host`), and pages of other origins are
refused. A server that listens beyond this machine needs a token as well.
"""

import hmac
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.common.errors import ConfigurationError

PATH: Final = "/mcp"
_MAX_BODY_BYTES: Final = 65_536
_MAX_IN_FLIGHT: Final = 100
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_STOP_S: Final = 5


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and to whom.

    Attributes:
        host: the address to bind.
        port: the port; 0 for any free one.
        token: what callers must send as a bearer token; None if they need not.
        allowed_hosts: further names, with port, under which callers may reach it.
        allowed_origins: origins of web pages that may ask.
    """

    host: str
    port: int
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()

    def check(self) -> None:
        """Check that not everyone in the network may ask.

        Raises:
            ConfigurationError: they could.
        """
        if self.token == "":
            raise ConfigurationError("the token of the MCP server is empty")
        if not is_loopback(self.host) and self.token is None:
            raise ConfigurationError(
                f"--host {self.host} is reached from other machines: set HEDGEROW_MCP_TOKEN, which "
                "callers must then send, or listen on 127.0.0.1"
            )
        if self.host in _EVERYWHERE and not self.allowed_hosts:
            raise ConfigurationError(
                f"--host {self.host} has no name of its own: name those that callers use, such as "
                "--allow-host search.example:8765"
            )

    def security(self, port: int) -> TransportSecuritySettings:
        """Return which values of Host and Origin are accepted."""
        names = _LOOPBACK if is_loopback(self.host) else (_in_url(self.host),)
        own = [f"{name}:{port}" for name in names if self.host not in _EVERYWHERE]
        return TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=[*own, *self.allowed_hosts],
            allowed_origins=[*(f"http://{name}" for name in own), *self.allowed_origins],
        )


class TokenGuard:
    """Lets only requests through that send the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Guard `app`."""
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a 401."""
        if scope["type"] == "http" and not self._is_allowed(scope["headers"]):
            refusal = PlainTextResponse(
                "a bearer token is needed\n", 401, {"WWW-Authenticate": "Bearer"}
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, headers: list[tuple[bytes, bytes]]) -> bool:
        sent = [value for name, value in headers if name == b"authorization"]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self._wanted)


async def serve_http(
    server: MCPServer, listening: Listening, announce: Callable[[str], None]
) -> None:
    """Serve MCP over HTTP until a signal ends the process.

    Args:
        server: the tools.
        listening: where, and to whom.
        announce: gets the URL once the port is bound.

    Raises:
        ConfigurationError: the address cannot be bound, or everyone could ask.
    """
    listening.check()
    bound = _bind(listening.host, listening.port)
    port: int = bound.getsockname()[1]
    # Every request is complete in itself: no sessions, of which callers could open many.
    app: ASGIApp = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=_MAX_BODY_BYTES,
        transport_security=listening.security(port),
    )
    if listening.token is not None:
        app = TokenGuard(app, listening.token)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        limit_concurrency=_MAX_IN_FLIGHT,
        timeout_graceful_shutdown=_STOP_S,
        server_header=False,
    )
    announce(f"http://{_in_url(listening.host)}:{port}{PATH}")
    with bound:
        await uvicorn.Server(config).serve(sockets=[bound])


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    return host in {"localhost", "::1", "[::1]"} or host.startswith("127.")


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_MAX_IN_FLIGHT)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {error}") from error
    return bound


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
