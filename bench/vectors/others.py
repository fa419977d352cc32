"""What others have: faiss alone, usearch, and the local package of qdrant, on one thread each."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import faiss

from bench.vectors.data import Data, Find, K, Numbers
from hedgerow.shard_worker.vectors.numbers import np

_BATCH: Final = 1000
_TRAINING_ROWS: Final = 20_000


class Faiss:
    """faiss alone, with one index of all vectors."""

    def __init__(self, index: Any, data: Data, build_s: float | None = None) -> None:
        """Search an index.

        Args:
            index: of faiss.
            data: its vectors.
            build_s: CPU to build it, in s; None if it was not built for this.
        """
        self.build_s = build_s
        self._index = index
        self._ranks = data.ranks

    @classmethod
    def build(cls, data: Data, quantisation: str) -> Self:
        """Index all vectors as a shard does."""
        faiss.omp_set_num_threads(1)
        dimensions = data.vectors.shape[1]
        started = time.process_time()
        if quantisation == "int8":
            kind = faiss.ScalarQuantizer.QT_8bit
            index: Any = faiss.IndexHNSWSQ(dimensions, kind, 16, faiss.METRIC_INNER_PRODUCT)
            index.train(np.ascontiguousarray(data.vectors[:_TRAINING_ROWS]))
        else:
            index = faiss.IndexHNSWFlat(dimensions, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 128
        for _, part in data.parts():
            index.add(part)
        return cls(index, data, time.process_time() - started)

    @classmethod
    def of_graph(cls, path: Path, data: Data) -> Self:
        """Read the graph of a single shard, whose rows are the vectors in their order."""
        faiss.omp_set_num_threads(1)
        return cls(faiss.read_index(str(path)), data)

    def finder(self, ef: int, share: float = 1.0) -> Find:
        """Search, with a bitmap of what passes the filter."""
        parameters = faiss.SearchParametersHNSW(efSearch=ef)
        if share < 1:
            bits = np.packbits(self._ranks < 1000 * share, bitorder="little")
            parameters.sel = faiss.IDSelectorBitmap(bits)

        def find(query: Numbers) -> list[int]:
            _, found = self._index.search(query.reshape(1, -1), K, params=parameters)
            return [int(one) for one in found[0] if one >= 0]

        return find


def usearch_finders(data: Data) -> tuple[float, Callable[[int], Find]] | None:
    """CPU to build an index of usearch, in s, and its searches; None without usearch."""
    if importlib.util.find_spec("usearch") is None:
        return None
    from usearch.index import Index  # noqa: PLC0415 - installed only for this

    started = time.process_time()
    index: Any = Index(
        ndim=data.vectors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=128
    )
    for at in range(0, len(data.vectors), _BATCH):
        some = np.ascontiguousarray(data.vectors[at : at + _BATCH])
        index.add(np.arange(at, at + len(some), dtype="u8"), some, threads=1)
    build_s = time.process_time() - started

    def finder(ef: int) -> Find:
        def find(query: Numbers) -> list[int]:
            index.expansion_search = ef
            return [int(one) for one in index.search(query, K, threads=1).keys]

        return find

    return build_s, finder


def qdrant_finder(data: Data) -> tuple[float, Find] | None:
    """The same of qdrant's local package, which compares all vectors; None without it."""
    if importlib.util.find_spec("qdrant_client") is None:
        return None
    from qdrant_client import QdrantClient, models  # noqa: PLC0415 - installed only for this

    started = time.process_time()
    client = QdrantClient(":memory:")
    size = data.vectors.shape[1]
    client.create_collection(
        "vectors", vectors_config=models.VectorParams(size=size, distance=models.Distance.DOT)
    )
    for at in range(0, len(data.vectors), _BATCH):
        some = data.vectors[at : at + _BATCH]
        client.upsert(
            "vectors", models.Batch(ids=list(range(at, at + len(some))), vectors=some.tolist())
        )
    build_s = time.process_time() - started

    def find(query: Numbers) -> list[int]:
        found = client.query_points("vectors", query=query.tolist(), limit=K)
        return [int(point.id) for point in found.points]

    return build_s, find
