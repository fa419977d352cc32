"""Encodes documents as the body of a load: one JSON object per line, in chunks for a write."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.client.arrays import as_list

CHUNK_BYTES: Final = 64 * 1024

Document = Mapping[str, Any] | msgspec.Struct | bytes | str


def chunks(documents: Iterable[Document]) -> Iterator[bytes]:
    """Encode documents as NDJSON.

    Raises:
        BadRequestError: a document cannot be encoded as JSON; says which, counted from 1. Or there
            is a single document instead of several.
    """
    _check_several(documents)
    chunk = _Chunk()
    for document in documents:
        chunk.add(document)
        if chunk.is_full:
            yield chunk.take()
    yield chunk.take()


def document_body(document: Document) -> bytes:
    """Write one document as JSON.

    Raises:
        BadRequestError: it cannot be written so.
    """
    return b"".join(chunks([document]))


async def chunks_of(
    documents: AsyncIterable[Document] | Iterable[Document],
) -> AsyncGenerator[bytes, None]:
    """As `chunks`, for an asynchronous iterable too."""
    _check_several(documents)
    if not isinstance(documents, AsyncIterable):
        for written in chunks(documents):
            yield written
        return
    chunk = _Chunk()
    async for document in documents:
        chunk.add(document)
        if chunk.is_full:
            yield chunk.take()
    yield chunk.take()


def _check_several(documents: object) -> None:
    # These are iterable, too: by members, characters or bytes.
    if isinstance(documents, Mapping | str | bytes):
        kind = type(documents).__name__
        raise BadRequestError("documents", f"is a single {kind}; give a list of documents")


class _Chunk:
    """Collects lines until they are worth a write."""

    def __init__(self) -> None:
        # Rows of databases have prices as Decimal, which would otherwise become strings.
        self._encoder = msgspec.json.Encoder(enc_hook=as_list, decimal_format="number")
        self._lines = bytearray()
        self._num_lines = 0

    @property
    def is_full(self) -> bool:
        return len(self._lines) >= CHUNK_BYTES

    def add(self, document: Document) -> None:
        self._num_lines += 1
        self._lines += self._line(document)
        self._lines += b"\n"

    def _line(self, document: Document) -> bytes:
        if isinstance(document, bytes):  # a line as it is, such as a file's
            return document.rstrip(b"\r\n")
        try:
            if isinstance(document, str):
                return document.rstrip("\r\n").encode()
            return self._encoder.encode(document)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadRequestError(
                "documents", f"the one at {self._num_lines} is not JSON: {error}"
            ) from error

    def take(self) -> bytes:
        taken = bytes(self._lines)
        self._lines.clear()
        return taken
