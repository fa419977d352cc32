"""Reads the documents of a fetch, and their highlights, in a thread.

The store reads documents one by one, and counts the bytes of what is made of each. So a document
and its highlights are packed together, and taken apart when all are read.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError, WireError
from hedgerow.common.wire.messages import FetchBody, FetchPayload
from hedgerow.common.wire.search_options import Highlighting, WantedTerms
from hedgerow.shard_worker.executors.error_text import error_line
from hedgerow.shard_worker.scoring.highlighting import Highlighter
from hedgerow.shard_worker.scoring.like_terms import like_terms
from hedgerow.shard_worker.serving.enriching import Stored
from hedgerow.shard_worker.storage.picking import Pick
from hedgerow.shard_worker.storage.term_statistics import TermStatistics

_SHARE: Final = 0.7  # of the time left; the rest is for the documents, if highlights are late
_LATE: Final = "there was no time for the highlights of {}"

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[bytes, bytes | None]).decode


class Stores(Protocol):
    """The stores of a worker's shards."""

    def definition(self, shard: int, uid: str) -> str | None:
        """See `ShardStores.definition`."""

    def statistics(self, uid: str) -> TermStatistics | None:
        """See `ShardStores.statistics`."""

    def read(
        self,
        shard: int,
        uid: str,
        ids: list[str],
        max_bytes: int,
        pick: Pick | None,
        is_late: Callable[[], bool],
    ) -> list[Stored]:
        """See `ShardStores.read`."""


def read_body(
    stores: Stores,
    shard: int,
    payload: FetchPayload,
    pick: Pick | None,
    max_bytes: int,
    left_s: Callable[[], float],
) -> FetchBody:
    """Read the documents of a fetch, and their highlights if it wants them; blocks.

    Args:
        stores: the documents.
        shard: the shard.
        payload: what is wanted.
        pick: takes the wanted fields of a document; None for all.
        max_bytes: most bytes of documents and highlights together.
        left_s: how much time is left, in s.

    Raises:
        WorkError: the worker has let go of the shard.
    """

    def is_late() -> bool:
        return left_s() <= 0

    uid, ids = payload.uid, payload.ids
    if payload.terms is not None:
        return _read_terms(stores, shard, payload, payload.terms, is_late)
    if payload.highlighting is None:
        return FetchBody(stores.read(shard, uid, ids, max_bytes, pick, is_late), "")
    for_documents_s = left_s() * (1 - _SHARE)
    highlighted = _Highlighted(stores.definition(shard, uid), payload.highlighting)
    pack = highlighted.packing(pick, lambda: left_s() <= for_documents_s)
    documents = highlighted.unpacked(stores.read(shard, uid, ids, max_bytes, pack, is_late))
    return FetchBody(
        documents,
        "",
        highlights=tuple(highlighted.highlights),
        highlight_error=highlighted.problem,
    )


def _read_terms(
    stores: Stores,
    shard: int,
    payload: FetchPayload,
    wanted: WantedTerms,
    is_late: Callable[[], bool],
) -> FetchBody:
    """The words of documents that tell most about them; of the documents, only that they exist."""
    definition = stores.definition(shard, payload.uid)
    if definition is None:
        return FetchBody([None] * len(payload.ids), "")
    collection = Collection.from_json(definition)
    statistics = stores.statistics(payload.uid)
    terms: list[tuple[str, str]] = []

    def take(body: bytes) -> bytes:
        terms.extend(like_terms(collection, body, wanted, statistics))
        return b"{}"

    try:
        documents = stores.read(shard, payload.uid, payload.ids, sys.maxsize, take, is_late)
    finally:
        if statistics is not None:
            statistics.close()
    return FetchBody(documents, "", terms=tuple(terms))


class _Highlighted:
    """The documents of one fetch, with their highlights.

    Attributes:
        highlights: of each document, as `FetchBody.highlights`.
        problem: why some have none; "" if all have.
    """

    def __init__(self, definition: str | None, wanted: Highlighting) -> None:
        """Highlight as `wanted`, by a collection's definition; None if the shard lacks it."""
        self.highlights: list[bytes | None] = []
        self.problem = ""
        self._highlighter: Highlighter | None = None
        if definition is None:
            return
        try:
            self._highlighter = Highlighter.of(definition, wanted)
        except (BadRequestError, WireError) as error:
            self.problem = f"nothing is highlighted: {error_line(error)}"

    def packing(self, pick: Pick | None, is_late: Callable[[], bool]) -> Pick:
        """A function that packs a document, or what `pick` takes of it, with its highlights."""
        highlighter = self._highlighter

        def pack(body: bytes) -> bytes:
            highlights = None if highlighter is None else highlighter.highlights(body, is_late)
            return _pack((body if pick is None else pick(body), highlights))

        return pack

    def unpacked(self, packed: Sequence[Stored]) -> list[Stored]:
        """The documents, without the highlights, which are in `highlights` from now on."""
        stored: list[Stored] = []
        num_late = 0
        for one in packed:
            highlights = None
            if isinstance(one, bytes):
                one, highlights = _unpack(one)  # noqa: PLW2901 - the document itself
                num_late += highlights is None
            stored.append(one)
            self.highlights.append(highlights)
        if num_late and not self.problem:
            documents = "a document" if num_late == 1 else f"{num_late} documents"
            self.problem = _LATE.format(documents)
        return stored
