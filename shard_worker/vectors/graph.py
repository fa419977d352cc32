"""Graphs that find the rows nearest to a vector without comparing it with all: HNSW, by faiss.

A graph is made of the first rows of a file, and is a file beside it that never changes: more rows
make another one, which takes its place. It is mapped into memory, so that all scorers of a worker
share it. What it finds is compared again with the rows themselves, so that the graph may keep 8
bits of each number (`Quantisation.INT8`) and scores are exact all the same.

Source: https://arxiv.org/abs/1603.09320 (HNSW); https://github.com/facebookresearch/faiss.
"""

import os
from pathlib import Path
from typing import Any, Final

import faiss

from hedgerow.common.fields.vectors import Metric, Quantisation, VectorField
from hedgerow.shard_worker.vectors.files import RowFile, graph_path, graphs_of
from hedgerow.shard_worker.vectors.numbers import np
from hedgerow.shard_worker.vectors.rows import Near, Query, Rows

LINKS: Final = 16  # of a row, to others near it; twice as many in the lowest layer
EF_CONSTRUCTION: Final = 128  # rows in view while one is added
_TRAINING_ROWS: Final = 20_000  # from which the range of each number is learnt
_STEP_NUMBERS: Final = 131_072  # in the rows of a step, which then takes some 50 ms

faiss.omp_set_num_threads(1)  # the scorers share the cores out


class Graph:
    """A graph, for searching.

    Attributes:
        num_rows: the rows that it has: the first of the file.
        is_exact: whether it has the numbers of the rows as they are.
        path: where it is.
        checked_at: when it was last known to be the newest, for who opened it.
    """

    def __init__(self, path: Path, num_rows: int) -> None:
        """Map a graph into memory.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        self.path = path
        self.num_rows = num_rows
        self.checked_at = 0.0
        self._index = _read(path, faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
        self.is_exact = isinstance(self._index, faiss.IndexHNSWFlat)

    def nearest(self, query: Query, num: int) -> Near:
        """About the `num` nearest rows, as far as the graph knows."""
        parameters = faiss.SearchParametersHNSW(efSearch=num)
        found_scores, found = self._index.search(query.fast.reshape(1, -1), num, params=parameters)
        rows, scores = found[0], found_scores[0]
        if query.metric is Metric.L2:
            scores = -scores
        if rows[-1] < 0:  # there are not as many
            scores, rows = scores[rows >= 0], rows[rows >= 0]
        return Near(rows, scores)


class GraphBuild:
    """A graph that is being made, in steps."""

    def __init__(self, file: RowFile) -> None:
        """Make the graph of all rows of a file, from its last graph if there is one.

        Raises:
            OSError: the last one cannot be read.
        """
        self._file = file
        self._rows = Rows(file)
        self._index: Any = None
        self._num_step = max(32, _STEP_NUMBERS // file.field.dimensions)

    def step(self) -> bool:
        """Add the next rows, or write the graph if there are no more.

        Returns:
            Whether that was the last step.

        Raises:
            OSError: the graph cannot be written.
        """
        if self._index is None:
            self._index = self._begin()
            return False
        start, end = self._index.ntotal, self._file.num_rows
        if start < end:
            rows = self._rows.matrix[start : min(start + self._num_step, end)]
            self._index.add(np.ascontiguousarray(rows, "f4"))
            return False
        self._write()
        return True

    def _begin(self) -> Any:
        last = self._file.graph()
        if last is not None and last[0] <= self._file.num_rows:
            try:
                return _read(last[1], 0)
            except OSError:
                last[1].unlink(missing_ok=True)
        index = _make(self._file.field)
        if not index.is_trained:
            every = max(1, self._file.num_rows // _TRAINING_ROWS)
            index.train(np.ascontiguousarray(self._rows.matrix[::every], "f4"))
        return index

    def _write(self) -> None:
        file = self._file
        path = graph_path(file.folder, file.number, file.num_rows)
        written = path.with_name(f"{path.name}.new")
        try:
            faiss.write_index(self._index, str(written))
        except RuntimeError as error:
            raise OSError(f"{written}: {error}") from error
        fd = os.open(written, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        written.replace(path)
        for num_rows, other in graphs_of(file.folder, file.number):
            if num_rows < file.num_rows:
                other.unlink(missing_ok=True)


def _make(field: VectorField) -> Any:
    metric = faiss.METRIC_L2 if field.metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT
    if field.quantisation is Quantisation.INT8:
        kind = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexHNSWSQ(field.dimensions, kind, LINKS, metric)
    else:
        index = faiss.IndexHNSWFlat(field.dimensions, LINKS, metric)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    return index


def _read(path: Path, flags: int) -> Any:
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:  # of C++, for whatever reason
        raise OSError(f"{path}: {error}") from error
