"""Encodes requests."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.client.calls import Call
from hedgerow.gateway.client.network.address import PATH_CHARACTERS, Address
from hedgerow.gateway.client.trace_header import traceparent

LAST_CHUNK: Final = b"0\r\n\r\n"


class RequestWriter:
    """Encodes requests to one address; their headers differ only by the body."""

    def __init__(self, address: Address, token: str | None) -> None:
        """Send `token`, or the credentials of the URL, with each request."""
        authorization = f"Bearer {token}" if token else address.credentials
        # "identity": a gateway does not compress, but without this header a proxy might.
        self._common = (
            f" HTTP/1.1\r\nHost: {address.authority}\r\nAccept: application/json\r\n"
            "Accept-Encoding: identity\r\nUser-Agent: hedgerow-client\r\n"
            + (f"Authorization: {authorization}\r\n" if authorization else "")
        )
        self._prefix = address.prefix

    def whole(self, call: Call[Any]) -> bytes:
        """Encode a request with its body."""
        if call.body is None:
            # For methods whose body has a meaning, RFC 9110 recommends a length even if it is 0.
            length = "" if call.method in {"GET", "DELETE"} else "Content-Length: 0\r\n"
            return self._head(call, length)
        framing = f"Content-Type: {call.media_type}\r\nContent-Length: {len(call.body)}\r\n"
        return self._head(call, framing) + call.body

    def chunked(self, call: Call[Any]) -> bytes:
        """Encode the head of a request whose body follows in chunks."""
        return self._head(
            call, f"Content-Type: {call.media_type}\r\nTransfer-Encoding: chunked\r\n"
        )

    def _head(self, call: Call[Any], framing: str) -> bytes:
        # Quoting keeps what is quoted already, and no path can contain a line break.
        path = quote(call.path, safe=PATH_CHARACTERS)
        query = _query(call.params) if call.params else ""
        trace = traceparent()
        if trace is not None:
            framing = f"Traceparent: {trace}\r\n{framing}"
        return f"{call.method} {self._prefix}{path}{query}{self._common}{framing}\r\n".encode(
            "ascii"
        )


def _query(params: Mapping[str, str]) -> str:
    try:
        return f"?{urlencode(params, quote_via=quote)}"
    except UnicodeEncodeError as error:
        raise BadRequestError("a parameter", f"is not Unicode: {error}") from error


def chunk(piece: bytes) -> bytes:
    """Encode a piece of a body as a chunk; it must not be empty, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
