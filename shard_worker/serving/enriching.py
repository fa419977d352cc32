"""One call of a profile's `enrich`: from JSON to JSON, with limits on its documents."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic_core import from_json, to_json

from hedgerow.common.wire.messages import FetchBody, pack_body
from hedgerow.shard_worker.storage.picking import Pick

Enrich = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
Stored = bytes | int | None  # as `Store.read` returns it
Document = Stored | dict[str, Any]  # as in a `FetchBody`

_check = msgspec.json.Decoder(msgspec.Raw).decode

# Decoding does not release the GIL, so one call at a time: the event loop waits for one at most.
_decoding = threading.Lock()


class Enriching:
    """The documents of one fetch, before and after `enrich`.

    Attributes:
        num_bytes: bytes of the stored documents.
        documents: the documents to send, with their wanted fields, enriched or as stored.
        problem: why some are not enriched; "" if all are.
    """

    def __init__(
        self,
        read: FetchBody,
        pick: Pick | None,
        max_given_bytes: int,
        max_bytes: int,
    ) -> None:
        """Take whole documents, as they are stored.

        Args:
            read: them, and their highlights.
            pick: picks the wanted fields; None for all.
            max_given_bytes: most bytes of documents, as JSON, that `enrich` receives.
            max_bytes: most bytes of all documents, as JSON, when they are sent.
        """
        self._stored = read.documents
        self._pick = pick
        self._max_given_bytes = max_given_bytes
        self._max_bytes = max_bytes
        self.documents: list[Document] = [
            pick(one) if pick is not None and isinstance(one, bytes) else one
            for one in read.documents
        ]
        self.num_bytes = sum(len(one) for one in read.documents if isinstance(one, bytes))
        self.problem = ""
        self._highlights = read.highlights, read.highlight_error

    def packed(
        self, problem: str, *, is_late: bool = False, took_us: tuple[int, int] | None = None
    ) -> bytes:
        """The packed body of the reply.

        Args:
            problem: why some documents are not enriched, "" if all are.
            is_late: whether `enrich` had too little time.
            took_us: as `FetchBody.enrich_us`.
        """
        return pack_body(FetchBody(self.documents, problem, is_late, took_us, *self._highlights))

    def run(self, enrich: Enrich) -> None:
        """Call `enrich` on the documents; blocks.

        Raises:
            Exception: `enrich` raised it, or returned what cannot be encoded as JSON.
        """
        places: list[int] = []
        num_bytes = num_heavy = 0
        for place, body in enumerate(self._stored):
            if not isinstance(body, bytes):
                continue
            if num_bytes + len(body) > self._max_given_bytes:
                num_heavy += 1
                continue
            num_bytes += len(body)
            places.append(place)
        enriched = enrich([_decoded(self._stored[place]) for place in places])
        # Measured document by document: a hook may return far more than it received.
        documents = list(self.documents)
        num_bytes = sum(len(one) for one in documents if isinstance(one, bytes))
        num_grown = 0
        for place, document in zip(places, enriched, strict=True):
            # Encoded as the gateway sends it. What cannot be encoded fails here, where the stored
            # fields can be sent instead.
            body = to_json(document)
            _check(body)
            if self._pick is not None:
                body = self._pick(body)
            before = documents[place]
            grown = len(body) - (len(before) if isinstance(before, bytes) else 0)
            if num_bytes + grown > self._max_bytes:
                num_grown += 1
                continue
            num_bytes += grown
            documents[place] = body
        problems = []
        if num_heavy:
            problems.append(
                f"{num_heavy} not enriched: together they exceed limits.max_enrich_bytes"
            )
        if num_grown:
            problems.append(f"{num_grown} not enriched: they grew beyond limits.max_fetch_bytes")
        self.documents, self.problem = documents, "; ".join(problems)


def _decoded(body: Document) -> dict[str, Any]:
    with _decoding:
        # The garbage collector would scan the new objects again and again, which takes as long as
        # the decoding itself, and would find nothing.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            document: dict[str, Any] = from_json(body)  # type: ignore[arg-type]
        finally:
            if was_enabled:
                gc.enable()
    return document
