"""A step of the copy of one collection into another, of the same shard."""

from collections.abc import Iterator
from typing import Final, Protocol

from hedgerow.common.shard_log.operations import CopyNext
from hedgerow.shard_worker.indexing.changes import Changes

_PAGE: Final = 100  # documents read at once


class Source(Protocol):
    """A shard's store, as far as copies need it."""

    def scan(self, uid: str, page: int = ..., after: str = ...) -> Iterator[tuple[str, bytes]]:
        """The documents of a collection with greater ids, in ascending order."""

    def existing(self, uid: str, ids: list[str]) -> set[str]:
        """Those of the ids that a collection has documents of."""


def copy_next(step: CopyNext, changes: Changes, source: Source) -> None:
    """Add the documents of a step to a batch.

    A document that the new collection has already is newer than the old one's, or the same: it was
    written since the copy began.

    Args:
        step: the step, which is alone in its batch.
        changes: the batch.
        source: the shard before it.
    """
    pair = changes.mirroring.pair(step.mirror)
    if pair is None or pair.is_turned or pair.is_copied or step.number <= pair.number:
        return
    found: dict[str, bytes] = {}
    size, is_all = 0, True
    for document_id, body in source.scan(pair.old, _PAGE, pair.reached):
        if found and (len(found) >= step.documents or size + len(body) > step.bytes):
            is_all = False
            break
        found[document_id] = body
        size += len(body)
    there = source.existing(pair.new, list(found))
    changes.copy(pair, {one: body for one, body in found.items() if one not in there})
    reached = max(found, default=pair.reached)
    changes.mirroring.set(pair._replace(number=step.number, reached=reached, is_copied=is_all))
