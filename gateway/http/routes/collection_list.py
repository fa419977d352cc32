"""The answer to GET /v1/collections, made as fast as the client reads it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from starlette.responses import StreamingResponse

from hedgerow.gateway.writes.collection_list import ListedCollection

_PIECE_BYTES: Final = 16_384  # minimum of a write; a single definition may have twice as many
_BEGIN, _END = b'{"collections":[', b"]}"


def list_response(listed: Sequence[ListedCollection]) -> StreamingResponse:
    """Answer with a list of collections.

    Each piece is assembled when the client has read the one before, so a client that does not read
    costs the gateway the memory of a few pieces, not of the list.
    """
    num_bytes = sum(
        len(collection.definition) + len(collection.counts) + 1 for collection in listed
    )
    num_bytes += len(_BEGIN) + len(_END) - (1 if listed else 0)  # no comma after the last one
    headers = {"Content-Length": str(num_bytes)}
    return StreamingResponse(_pieces(listed), headers=headers, media_type="application/json")


async def _pieces(listed: Sequence[ListedCollection]) -> AsyncIterator[bytes]:
    parts: list[bytes] = []
    num_bytes = 0
    for part in _parts(listed):
        parts.append(part)
        num_bytes += len(part)
        if num_bytes >= _PIECE_BYTES:
            yield b"".join(parts)
            parts, num_bytes = [], 0
            await asyncio.sleep(0)
    yield b"".join(parts)


def _parts(listed: Sequence[ListedCollection]) -> Iterator[bytes]:
    yield _BEGIN
    for number, collection in enumerate(listed):
        if number:
            yield b","
        yield collection.definition
        yield collection.counts
    yield _END
