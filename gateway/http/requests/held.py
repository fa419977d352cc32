"""Answers whose documents are accounted for until the client has read them."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hedgerow.common.shard_log.document_version import version_of
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.documents.fetch import StoredDocument


async def send_body(send: Send, body: bytes) -> None:
    """Send the whole body of an answer; returns once the connection has taken nearly all of it.

    The server waits before a part of a body, not after it, so an empty part follows.
    """
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class HeldAnswer(Response):
    """An answer in JSON; holds its lease of the gateway's memory until it has been sent."""

    media_type = "application/json"

    def __init__(self, body: bytes, lease: Lease, headers: Mapping[str, str] | None = None) -> None:
        """Answer with `body`, and release `lease` after it."""
        super().__init__(body, headers=headers)
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the answer."""
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send_body(send, bytes(self.body))
        self._lease.release()


class HeldResponse(HeldAnswer):
    """An answer with a document; holds the document's lease until it has been sent."""

    def __init__(self, document: StoredDocument, shown: bytes) -> None:
        """Answer with `document` as it is shown, and its version."""
        etag = f'"{version_of(document.body)}"'
        super().__init__(shown, document.lease, {"ETag": etag})
