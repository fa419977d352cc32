"""Builds the graphs of a shard's vectors, in steps between which the indexer runs other commands.

A graph is made from rows that are committed and never change, so nothing has to wait for it, and a
kill loses only the work: what has no graph is compared row by row, and the next indexer begins
again.
"""

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from hedgerow.common.errors import WorkError
from hedgerow.shard_worker.storage.index_files import TextIndexError
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.vectors.files import RowFile, rows_path
from hedgerow.shard_worker.vectors.policy import Due, graph_due

_DONE: Final = object()


class GraphBuilds:
    """The graphs of one shard that are being built."""

    def __init__(self, folder: Path) -> None:
        """Build graphs of the indexes in a shard's folder."""
        self._folder = folder
        self._running: dict[str, Iterator[None]] = {}

    def begin(self, uid: str, *, is_quiet: bool) -> bool:
        """Begin to build the graphs that a collection's index needs.

        Args:
            uid: the collection's.
            is_quiet: whether its documents have not been written for a while.

        Returns:
            Whether it needs any.
        """
        self.stop(uid)
        least = Due.WHEN_QUIET if is_quiet else Due.NOW
        files = [file for file in _rows_in(self._folder / uid) if due_of(file) >= least]
        if files:
            self._running[uid] = _build(files)
        return bool(files)

    def step(self, uid: str) -> bool:
        """Take the next step, some 50 ms; returns whether it was the last.

        Raises:
            WorkError: the collection was dropped, or its index was replaced.
            OSError: the graph cannot be written.
        """
        if uid not in self._running:
            raise WorkError("the collection was dropped meanwhile")
        try:
            is_done = next(self._running[uid], _DONE) is _DONE
        except Exception:
            self.stop(uid)
            raise
        if is_done:
            self.stop(uid)
        return is_done

    def stop(self, uid: str) -> None:
        """Give up the graphs of a collection."""
        self._running.pop(uid, None)

    def keep_only(self, uids: Container[str]) -> None:
        """Give up those of all collections but these."""
        for uid in [uid for uid in self._running if uid not in uids]:
            self.stop(uid)


def due_of(file: RowFile) -> Due:
    """Whether rows need a graph, or theirs needs more of them."""
    graph = file.graph()
    return graph_due(file.num_rows, 0 if graph is None else graph[0])


def _rows_in(folder: Path) -> list[RowFile]:
    try:
        return list(TextIndex.open(folder).vectors.values())
    except TextIndexError:  # it is built again with the next write, with its graphs to follow
        return []


def _build(files: list[RowFile]) -> Iterator[None]:
    from hedgerow.shard_worker.vectors.graph import GraphBuild  # noqa: PLC0415 - loads faiss

    for file in files:
        build = GraphBuild(file)
        is_done = False
        while not is_done:
            if not rows_path(file.folder, file.number).exists():
                raise WorkError("the index was replaced meanwhile")
            is_done = build.step()
            yield
