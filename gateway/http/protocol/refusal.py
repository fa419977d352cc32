"""Refusals that a connection itself sends, before an application sees the request."""

from typing import Any

from hedgerow.gateway.http.problems import problem, retry_after
from hedgerow.gateway.http.protocol.response_head import CLOSE, STATUS_LINES

_RETRY_AFTER_S = 1.0


class RefusedError(Exception):
    """The request is refused, and the connection closed.

    Attributes:
        status: the HTTP status.
        kind: the name of its counter.
    """

    def __init__(
        self, status: int, kind: str, slug: str, detail: str, members: dict[str, Any] | None = None
    ) -> None:
        """Refuse with a problem; `slug` and the rest are as `problem` takes them."""
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self._slug = slug
        self._detail = detail
        self._members = members

    @classmethod
    def malformed(cls, field: str, reason: str, status: int = 400) -> "RefusedError":
        """A request that is not HTTP/1.1, or uses an unsupported part of it."""
        members = {
            "field": field,
            "reason": reason,
            "position": None,
            "errors": [{"field": field, "reason": reason}],
        }
        return cls(status, "http_bad_requests", "bad-request", f"{field}: {reason}", members)

    @classmethod
    def head_too_large(cls, max_bytes: int) -> "RefusedError":
        """A head of more than `max_bytes`, its target included."""
        detail = f"head: has more than {max_bytes} bytes (gateway.max_head_bytes)"
        return cls(431, "http_heads_too_large", "too-large", detail)

    @classmethod
    def too_many_headers(cls, max_headers: int) -> "RefusedError":
        """A head of more than `max_headers` fields."""
        detail = f"head: has more than {max_headers} header fields (gateway.max_headers)"
        return cls(431, "http_heads_too_large", "too-large", detail)

    @classmethod
    def framing_too_large(cls, max_bytes: int) -> "RefusedError":
        """A chunked body with too much framing for its content."""
        detail = (
            f"body: has more than {max_bytes} bytes of chunk extensions or trailers in a row "
            "(gateway.max_head_bytes)"
        )
        return cls(431, "http_heads_too_large", "too-large", detail)

    @classmethod
    def late(cls, what: str, timeout_s: float, setting: str) -> "RefusedError":
        """A head or body that did not arrive in time."""
        detail = f"{what}: did not arrive within {timeout_s:g} s (gateway.{setting})"
        return cls(408, "http_timeouts", "timed-out", detail)

    @classmethod
    def no_room(cls) -> "RefusedError":
        """A connection beyond the limit, while all others are busy."""
        detail = "all connections are busy (gateway.max_connections, max_connections_per_peer)"
        members = {"cause": "connections", "retry_after_s": _RETRY_AFTER_S}
        return cls(503, "connections_refused", "overloaded", detail, members)

    def to_bytes(self, date_line: bytes) -> bytes:
        """The whole response, after which the connection is closed."""
        headers = retry_after(_RETRY_AFTER_S) if self.status == 503 else None
        response = problem(self._slug, self.status, self._detail, self._members, headers)
        lines = [b"%b: %b\r\n" % header for header in response.raw_headers]
        parts = (STATUS_LINES[self.status], date_line, *lines, CLOSE, b"\r\n")
        return b"".join((*parts, bytes(response.body)))
