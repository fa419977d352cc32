"""The stream of a bulk load, with a notice when nothing has arrived for a while."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

PAUSE_S: Final = 0.05  # after a pause of this length in a stream, its documents are logged


async def with_pauses(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes | None]:
    """Yield the chunks, and None each time that the next one takes longer than `PAUSE_S`."""
    while True:
        chunk = asyncio.ensure_future(anext(chunks, None))
        try:
            if not (await asyncio.wait({chunk}, timeout=PAUSE_S))[0]:
                yield None
            got = await chunk
        finally:
            if not chunk.done():
                chunk.cancel()
                await asyncio.wait({chunk})
            # Its error's traceback holds this frame, which therefore must not hold it, nor a set of
            # it: the circle would keep the load until the garbage collector comes, which is seldom.
            del chunk
        if got is None:
            return
        yield got


def has_line(chunk: bytes) -> bool:
    """Whether a chunk ends a line that is not empty."""
    return b"\n" in chunk and not chunk.isspace()
