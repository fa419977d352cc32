"""Attaches documents to what searches have found, just before their results are sent.

By then, the scorer has run other tasks that leave it together with these results. That saves work:

- A document that another shard's hits beat is neither read nor sent (`local_merge`).
- Looking up where documents are takes 6 µs in an index, however few they are. Searches that are
  sent together share it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.wire.messages import Attach, SearchBody, pack_body
from hedgerow.shard_worker.scoring.local_merge import LocalMerge
from hedgerow.shard_worker.scoring.open_shards import OpenShards
from hedgerow.shard_worker.scoring.retrieval import Located
from hedgerow.shard_worker.storage.leading_documents import leading_of
from hedgerow.shard_worker.storage.picking import pick_of
from hedgerow.shard_worker.storage.text_index import TextIndex

_NOWHERE: Final[Sequence[int | None]] = ()


class Part(msgspec.Struct, eq=False):
    """What a search has found on one shard, before its documents are attached.

    Attributes:
        shard: the shard.
        uid: the collection's.
        body: the hits.
        located: where they are in the index; None if no index was searched.
        attach: the documents that are wanted.
        is_late: whether there is no more time.
        merge: compares them with the hits of other shards; None if the gateway does not say how.
        ids: the hits whose documents are attached.
        places: where those documents are, of each that is beside the index.
    """

    shard: int
    uid: str
    body: SearchBody
    located: Located | None
    attach: Attach
    is_late: Callable[[], bool]
    merge: LocalMerge | None
    ids: Sequence[str] | None = None
    places: Sequence[int | None] = _NOWHERE


class Attaching:
    """Reads the documents of searches, for one thread at a time."""

    def __init__(self, shards: OpenShards) -> None:
        """Read from the files of `shards`."""
        self._shards = shards
        self._merge: LocalMerge | None = None  # of the last search
        self._waiting: list[Part] = []

    def add(
        self,
        shard: int,
        packed: bytes,
        uid: str,
        body: SearchBody,
        located: Located | None,
        attach: Attach,
        is_late: Callable[[], bool],
    ) -> Part:
        """Note what a search has found; `finish` must be called for it.

        Args:
            shard: the shard that was searched.
            packed: the search's payload, by which its parts are recognised.
            uid: the collection's.
            body: what was found.
            located: where it is; None if no index was searched.
            attach: the documents that are wanted.
            is_late: whether there is no more time; called before each document is read.
        """
        merge = None
        if attach.k:
            merge = self._merge
            if merge is None or not merge.takes(packed, shard):
                merge = self._merge = LocalMerge(packed, attach.k)
            merge.add(shard, body.ids, body.scores)
        part = Part(shard, uid, body, located, attach, is_late, merge)
        self._waiting.append(part)
        return part

    def finish(self, part: Part) -> bytes:
        """The packed result of a search, with its documents.

        A document is read from the files beside the index if it is there (`bodies`), else from the
        store. The list ends before the first document that cannot be read: the fetch then reads it,
        or reports why it cannot.
        """
        if part.ids is None:
            self._locate()
        return pack_body(replace(part.body, attached=self._read(part)))

    def _locate(self) -> None:
        """Look up where the documents of all waiting parts are."""
        waiting, self._waiting = self._waiting, []
        by_index: dict[TextIndex, list[tuple[Part, Located]]] = {}
        for part in waiting:
            attach, located, num = part.attach, part.located, part.attach.num
            if part.merge is not None:
                num = min(num, part.merge.num_leading(part.shard))
            part.ids = part.body.ids[:num]
            # Vectors are in the store alone.
            wants_vectors = not set(attach.vectors).isdisjoint(attach.fields or ())
            if num and located is not None and not wants_vectors:
                by_index.setdefault(located.snapshot, []).append((part, located))
        for index, parts in by_index.items():
            addresses = [
                address for part, located in parts for address in located.addresses(part.ids or ())
            ]
            try:
                places = index.places(addresses)
            except ValueError:  # tantivy raises it for a damaged index
                continue
            end = 0
            for part, _ in parts:
                start, end = end, end + len(part.ids or ())
                part.places = places[start:end]

    def _read(self, part: Part) -> list[bytes]:
        ids, attach, is_late = part.ids or (), part.attach, part.is_late
        bodies: list[bytes | None] = [None] * len(ids)
        if part.places:
            read = self._shards.bodies(part.shard, part.uid).read
            bodies = [None if place is None or is_late() else read(place) for place in part.places]
        if None in bodies:
            absent = [one for one, body in zip(ids, bodies, strict=True) if body is None]
            stored = iter(self._read_leading(part, absent))
            bodies = [next(stored, None) if body is None else body for body in bodies]
        taken = leading_of(bodies, attach.max_bytes)
        pick = pick_of(attach.fields, attach.vectors)
        try:
            return taken if pick is None else [pick(body) for body in taken]
        except msgspec.MsgspecError:
            return []

    def _read_leading(self, part: Part, ids: Sequence[str]) -> list[bytes]:
        try:
            return self._shards.leading(
                part.shard, part.uid, ids, part.attach.max_bytes, part.is_late
            )
        except (sqlite3.Error, ConfigurationError):
            return []
