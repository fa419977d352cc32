"""Pairs of collections of which one follows the other, while a batch of the log is combined. Pure.

    Mirror ► what is written to the old collection is written to the new one, too
    CopyNext ► the new one gets the next documents that it lacks
    Turn ► a write to either is one to the new collection, which the old one follows

The old collection is followed as the log has its writes, so that each replica comes to the same
documents. After `Turn`, a gateway may still write to the old collection, since it has not heard
that the other has replaced it: that is a write to the new one, by whose documents its condition is
judged. This stays so when the old collection has been removed.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from hedgerow.common.collection import Collection
from hedgerow.common.documents.document_check import check_document, with_stored_vectors
from hedgerow.common.errors import BadRequestError
from hedgerow.common.shard_log.operations import CopyNext, Mirror, MirrorOp, Turn, Unmirror
from hedgerow.shard_worker.storage.mirrors import StoredMirror


class Mirroring:
    """The pairs of a shard.

    Attributes:
        changed: id of a pair → the pair as it is now; None if it has ended. Only changed ones.
        touched: id of a pair → id of a document of its new collection that was written → whether
            it was written because the old collection was. The last write counts.
        steps: the steps of copies.
    """

    def __init__(self, pairs: Iterable[StoredMirror] = ()) -> None:
        """Begin with `pairs`."""
        self._pairs = {pair.mirror: pair for pair in pairs}
        self.changed: dict[str, StoredMirror | None] = {}
        self.touched: dict[str, dict[str, bool]] = {}
        self.steps: list[CopyNext] = []

    def pair(self, mirror: str) -> StoredMirror | None:
        """A pair as it is now; None if there is none."""
        return self._pairs.get(mirror)

    def resolved(self, uid: str) -> str:
        """The collection that a write to a collection is for."""
        turned = {pair.old: pair.new for pair in self._pairs.values() if pair.is_turned}
        for _ in range(len(turned)):  # not for ever, whatever the store has
            uid = turned.get(uid, uid)
        return uid

    def followers(self, uid: str, ids: Iterable[str]) -> list[str]:
        """The collections that follow a collection, documents of which are being written."""
        followers = []
        for pair in self._pairs.values():
            if pair.is_turned:
                if pair.new == uid:
                    followers.append(pair.old)
            elif uid in (pair.old, pair.new):
                is_mirrored = uid == pair.old
                self.touched.setdefault(pair.mirror, {}).update(dict.fromkeys(ids, is_mirrored))
                if is_mirrored:
                    followers.append(pair.new)
        return followers

    def take(self, op: MirrorOp) -> None:
        """Take an operation that changes pairs."""
        pair = self._pairs.get(op.mirror)
        match op:
            case Mirror() if pair is None:
                self.set(StoredMirror(op.mirror, op.old, op.new))
            case CopyNext():
                self.steps.append(op)
            case Turn() if pair is not None:
                self.set(pair._replace(is_turned=True))
            case Unmirror() if pair is not None:
                self._end(pair)

    def set(self, pair: StoredMirror) -> None:
        """A pair is like this from now on."""
        self._pairs[pair.mirror] = self.changed[pair.mirror] = pair

    def drop(self, uid: str) -> None:
        """A collection was removed."""
        for pair in list(self._pairs.values()):
            # One that was turned stays: writes to the old collection are for the new one.
            if uid == pair.new or (uid == pair.old and not pair.is_turned):
                self._end(pair)

    def _end(self, pair: StoredMirror) -> None:
        del self._pairs[pair.mirror]
        self.changed[pair.mirror] = None
        self.touched.pop(pair.mirror, None)


def fit_documents(
    mirroring: Mirroring,
    documents: Mapping[str, dict[str, bytes | None]],
    definition: Callable[[str], Collection | None],
) -> dict[str, dict[str, str | None]]:
    """Have a new collection lack the documents that do not fit it.

    Args:
        mirroring: the pairs, after the batch.
        documents: collection uid → id → JSON or None, to be written; misfits become None.
        definition: collection uid → its definition; None if there is none that can be read.

    Returns:
        Id of a pair → id of a document → why it does not fit; None if it does.
    """
    fits: dict[str, dict[str, str | None]] = {}
    for mirror, touched in mirroring.touched.items():
        pair = mirroring.pair(mirror)
        if pair is None or (collection := definition(pair.new)) is None:
            continue
        written = documents.get(pair.new, {})
        reasons = fits[mirror] = dict.fromkeys(touched)
        for one, is_mirrored in touched.items():
            body = written.get(one)
            if is_mirrored and body is not None:
                written[one], reasons[one] = fitted(collection, body)
    return fits


def fitted(collection: Collection, body: bytes) -> tuple[bytes | None, str | None]:
    """A stored document as a collection stores it; or None, and why it does not fit."""
    document: Any = json.loads(body)
    try:
        check_document(collection, document)
    except BadRequestError as error:
        return None, f"{error.field} {error.reason}"
    if with_stored_vectors(collection, document):
        return msgspec.json.encode(document), None
    return body, None
