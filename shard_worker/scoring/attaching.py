"""Attaches documents to what searches have found, just before their results are sent.

By then, the scorer has run the other tasks whose results are sent together with these. If they are
of the same search, on other shards, it knows which documents their hits beat, and neither reads nor
sends those (`local_merge`).
"""

import sqlite3
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.wire.messages import Attach, SearchBody, pack_body
from hedgerow.shard_worker.scoring.local_merge import LocalMerge
from hedgerow.shard_worker.scoring.open_shards import OpenShards
from hedgerow.shard_worker.scoring.retrieval import Located
from hedgerow.shard_worker.storage.leading_documents import leading_of
from hedgerow.shard_worker.storage.picking import pick_of


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
    """

    shard: int
    uid: str
    body: SearchBody
    located: Located | None
    attach: Attach
    is_late: Callable[[], bool]
    merge: LocalMerge | None


class Attaching:
    """Reads the documents of searches, for one thread at a time."""

    def __init__(self, shards: OpenShards) -> None:
        """Read from the files of `shards`."""
        self._shards = shards
        self._merge: LocalMerge | None = None  # of the last search

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
        """Note what a search has found, for the other shards of the same search.

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
        return Part(shard, uid, body, located, attach, is_late, merge)

    def finish(self, part: Part) -> bytes:
        """The packed result of a search, with its documents.

        A document is read from the files beside the index if it is there (`bodies`), else from the
        store. The list ends before the first document that cannot be read: the fetch then reads it,
        or reports why it cannot.
        """
        attach, num = part.attach, part.attach.num
        if part.merge is not None:
            num = min(num, part.merge.num_leading(part.shard))
        ids = part.body.ids[:num]
        bodies: list[bytes | None] = [None] * len(ids)
        # Vectors are in the store alone.
        wants_vectors = not set(attach.vectors).isdisjoint(attach.fields or ())
        if part.located is not None and ids and not wants_vectors:
            bodies = self._beside_index(part, ids, part.located)
        if None in bodies:
            absent = [one for one, body in zip(ids, bodies, strict=True) if body is None]
            stored = iter(self._read_leading(part, absent))
            bodies = [next(stored, None) if body is None else body for body in bodies]
        attached = leading_of(bodies, attach.max_bytes)
        if (pick := pick_of(attach.fields, attach.vectors)) is not None:
            try:
                attached = [pick(body) for body in attached]
            except msgspec.MsgspecError:
                attached = []
        return pack_body(replace(part.body, attached=attached))

    def _beside_index(self, part: Part, ids: Sequence[str], located: Located) -> list[bytes | None]:
        try:
            places = located.places(ids)
        except ValueError:  # tantivy raises it for a damaged index
            return [None] * len(ids)
        read, is_late = self._shards.bodies(part.shard, part.uid).read, part.is_late
        return [None if place is None or is_late() else read(place) for place in places]

    def _read_leading(self, part: Part, ids: Sequence[str]) -> list[bytes]:
        try:
            return self._shards.leading(
                part.shard, part.uid, ids, part.attach.max_bytes, part.is_late
            )
        except (sqlite3.Error, ConfigurationError):
            return []
