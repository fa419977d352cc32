"""Rewrites a shard's text index in as few segments as memory allows, while the old is searched.

An index grows by a segment a commit, and tantivy joins them only when eight of about the same size
have come together, so that a large one ends with a dozen, and a search looks into each. Of a
million documents in one segment a search takes 0.6 of the time that it takes in 15 (172 against
279 µs; of 300,000, 83 against 128 µs in 8). tantivy's Python interface cannot ask for a merge, so
the documents are taken from the store again.

All of it is one commit: readers see the old index until then, and a kill leaves that one.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from hedgerow.common.collection import Collection
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

STEP_DOCUMENTS: Final = 2000  # some 50 ms; between two steps the indexer does what else there is


class IndexRewrite:
    """One index that is being rewritten; until then, nothing else may write to it."""

    def __init__(
        self,
        path: Path,
        collection: Collection,
        documents: Iterator[tuple[str, bytes]],
        memory_bytes: int,
        boundaries: Sequence[str] = (),
    ) -> None:
        """Begin.

        Args:
            path: the index's folder.
            collection: its definition, with fields.
            documents: id and JSON of all, as `Store.scan` yields them. They must not change until
                the rewrite is done.
            memory_bytes: bounds a segment: what does not fit begins another.
            boundaries: of the levels of ids that documents are marked with, in ascending order.

        Raises:
            OSError: another writer has the index.
        """
        self._documents = documents
        self._writer = TextIndexWriter.open(path, collection, memory_bytes)
        self._writer.clear(boundaries)

    def step(self) -> bool:
        """Take up the next documents, or commit when there are no more.

        Returns:
            Whether it is done; then the index is closed, with all its merges.
        """
        if self._writer.add(islice(self._documents, STEP_DOCUMENTS)):
            return False
        self._writer.commit()
        self._writer.close()  # with its merges
        return True

    def give_up(self) -> None:
        """Leave the index as it was."""
        self._writer.abandon()
