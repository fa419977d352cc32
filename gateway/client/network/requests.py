"""Requests as bytes."""

from typing import Any, Final
from urllib.parse import quote, urlencode

from hedgerow.gateway.client.calls import Call
from hedgerow.gateway.client.network.address import PATH_CHARACTERS, Address

LAST_CHUNK: Final = b"0\r\n\r\n"


class RequestWriter:
    """Writes the requests to one address, whose headers differ only by the body."""

    def __init__(self, address: Address, token: str | None) -> None:
        """Send `token`, or what the URL names, with each request."""
        authorization = f"Bearer {token}" if token else address.credentials
        # "identity", since a gateway compresses nothing, and without it a proxy might.
        self._common = (
            f" HTTP/1.1\r\nHost: {address.authority}\r\nAccept: application/json\r\n"
            "Accept-Encoding: identity\r\nUser-Agent: hedgerow-client\r\n"
            + (f"Authorization: {authorization}\r\n" if authorization else "")
        )
        self._prefix = address.prefix

    def whole(self, call: Call[Any]) -> bytes:
        """Write a request with its body."""
        if call.body is None:
            # Of the methods that have a meaning for a body, RFC 9110 wants a length of 0 too.
            length = "" if call.method in {"GET", "DELETE"} else "Content-Length: 0\r\n"
            return self._head(call, length)
        framing = f"Content-Type: {call.media_type}\r\nContent-Length: {len(call.body)}\r\n"
        return self._head(call, framing) + call.body

    def chunked(self, call: Call[Any]) -> bytes:
        """Write the head of a request whose body follows in chunks."""
        return self._head(
            call, f"Content-Type: {call.media_type}\r\nTransfer-Encoding: chunked\r\n"
        )

    def _head(self, call: Call[Any], framing: str) -> bytes:
        # Quoting leaves what is quoted as it is, and lets no path break out of its line.
        path = quote(call.path, safe=PATH_CHARACTERS)
        query = f"?{urlencode(call.params, quote_via=quote)}" if call.params else ""
        return f"{call.method} {self._prefix}{path}{query}{self._common}{framing}\r\n".encode(
            "ascii"
        )


def chunk(piece: bytes) -> bytes:
    """Write a piece of a body as a chunk; an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
