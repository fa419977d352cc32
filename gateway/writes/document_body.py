"""Makes the body of a request that puts one document into the one line of a bulk load."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from hedgerow.common.errors import BadRequestError, TooLargeError
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.gateway.writes.document_line import parse_steps


async def stream_of(content: bytes) -> AsyncGenerator[bytes]:
    """Yield a body that is there as a whole."""
    yield content


async def line_of(
    chunks: AsyncIterator[bytes], document_id: str, limits: LimitSettings
) -> AsyncGenerator[bytes]:
    """Yield the document as a line that has its id, once the whole body has arrived.

    Args:
        chunks: the body, cut anywhere.
        document_id: from the address; the body may lack it.
        limits: the limits of a document.

    Raises:
        BadRequestError: the body is not a JSON object, or has another id; names both ids.
        TooLargeError: the document, or the number of its values, is over its limit.
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limits.max_document_bytes:
            limit = limits.max_document_bytes
            raise TooLargeError("the document", f"has more than {limit} bytes, which is the limit")
    steps = parse_steps(bytes(body), limits, own_id=document_id)
    del body
    try:
        while True:
            try:
                next(steps)
            except StopIteration as end:
                line: bytes = end.value.body
                break
            await asyncio.sleep(0)
    except BadRequestError as error:
        if error.field != "the line":
            raise
        raise BadRequestError("the body", error.reason, error.position) from error
    yield line
