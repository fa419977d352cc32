"""Limits the size of bodies."""

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from hedgerow.common.errors import TooLargeError


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """Read a body; stops as soon as it exceeds the limit.

    Raises:
        ClientDisconnect: the client has disconnected before the end of the body.
        TooLargeError: the body has more than `max_bytes`.
    """
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if announced.isdigit() and int(announced) > max_bytes:
        raise TooLargeError("body", f"has {announced.decode()} bytes; the limit is {max_bytes}")
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
