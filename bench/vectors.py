"""`python -m bench.vectors`: recall, time, memory and disk of vector searches, and of others'.

A collection is spread over shards, in one process without anything around it, as the cluster's
scorers and indexers hold them. Beside it, faiss alone holds the same vectors in one index, and so
do usearch and the local package of qdrant, where they are installed. CPU time is measured, which
hardly depends on what else the machine does. The truth is brute force.

The vectors are drawn from clusters in 40 dimensions, turned into 256 with some noise, which is
about as hard as embeddings of texts are; uniform ones would be harder, and unlike any in use.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import faiss
import numpy as np

from bench.harness.report import show
from hedgerow.common.collection import define
from hedgerow.common.fields.vectors import stored_form
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.wire.messages import SearchPayload, pack_body, unpack_search_body
from hedgerow.common.wire.search_options import SearchOptions, WantedVector
from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Find: TypeAlias = Callable[[Numbers], Sequence[int]]

K = 10
EFS = (16, 32, 64, 128, 256, 512)
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
_UID = "vectors"
_LATENT = 40
_BATCH = 1000


class Data(NamedTuple):
    """Vectors and queries.

    Attributes:
        vectors: of length 1.
        queries: the same, drawn from the same clusters.
        ranks: a number from 0 to 999 for each vector, by which filters let vectors pass.
    """

    vectors: Numbers
    queries: Numbers
    ranks: Numbers

    @classmethod
    def draw(cls, num: int, num_queries: int, dimensions: int) -> "Data":
        """Draw some vectors and queries."""
        rng = np.random.default_rng(1)
        turn = rng.normal(size=(_LATENT, dimensions)) / np.sqrt(_LATENT)
        centres = rng.normal(size=(max(20, num // 200), _LATENT))

        def drawn(count: int) -> Numbers:
            latent = centres[rng.integers(len(centres), size=count)]
            latent = latent + 0.7 * rng.normal(size=(count, _LATENT))
            found = latent @ turn + 0.15 * rng.normal(size=(count, dimensions))
            unit: Numbers = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("f4")
            return unit

        vectors = np.concatenate([drawn(min(50_000, num - at)) for at in range(0, num, 50_000)])
        return cls(vectors, drawn(num_queries), rng.integers(1000, size=num))

    def truth(self, share: float = 1.0) -> list[set[int]]:
        """The nearest vectors of each query, of a share of all."""
        passing = np.flatnonzero(self.ranks < 1000 * share)
        best = []
        for query in self.queries:
            scores = self.vectors[passing] @ query
            top = np.argpartition(-scores, min(K, len(scores)) - 1)[:K]
            best.append({int(one) for one in passing[top]})
        return best


class Figures(NamedTuple):
    """What a search found, and what it cost."""

    recall: float
    cpu_us: float
    num_short: int

    @classmethod
    def of(cls, data: Data, truth: Sequence[set[int]], find: Find) -> "Figures":
        """Search for all queries; the first ones also before the clock starts."""
        for query in data.queries[:5]:
            find(query)
        started = time.process_time()
        found = [find(query) for query in data.queries]
        cpu_us = (time.process_time() - started) / len(found) * 1e6
        hits = sum(len(best & set(one)) for best, one in zip(truth, found, strict=True))
        short = sum(len(one) < len(best) for best, one in zip(truth, found, strict=True))
        return cls(hits / sum(map(len, truth)), cpu_us, short)


class Hedgerow:
    """A collection spread over the shards of one process."""

    def __init__(self, folder: Path, data: Data, num_shards: int, quantisation: str) -> None:
        """Index all vectors.

        Args:
            folder: an empty one.
            data: the vectors.
            num_shards: how many shards.
            quantisation: of the field.
        """
        field = {
            "type": "vector",
            "dimensions": data.vectors.shape[1],
            "quantisation": quantisation,
        }
        collection = define("vectors", {"fields": {"rank": "integer", "v": field}}, uid=_UID)
        owners = [shard_of(str(number), num_shards) for number in range(len(data.vectors))]
        self.write_s = self.graph_s = 0.0
        self.num_bytes = 0
        generations = []
        for shard in range(num_shards):
            path = folder / "shards" / str(shard) / _UID
            started = time.process_time()
            writer = TextIndexWriter.open(path, collection, 64_000_000)
            numbers = [number for number, owner in enumerate(owners) if owner == shard]
            for at in range(0, len(numbers), _BATCH):
                writer.apply((), _documents(data, numbers[at : at + _BATCH]))
            writer.commit()
            self.write_s += time.process_time() - started
            started = time.process_time()
            for _ in writer.build_graphs():
                pass
            self.graph_s += time.process_time() - started
            writer.close()
            generations.append(TextIndex.open(path).generation)
            self.num_bytes += sum(file.stat().st_size for file in path.iterdir())
        self._generations = generations
        self._scorer = Scorer(ScorerConfig(str(folder), BUILT_IN_PROFILES))
        self._budget = Budget.until(float("inf"))

    def finder(self, ef: int, share: float = 1.0) -> Find:
        """Search all shards, and merge."""
        rank = "" if share == 1 else f"rank:<{1000 * share:.0f}"

        def find(query: Numbers) -> list[int]:
            wanted = WantedVector("v", query.tobytes(), K, ef)
            payload = pack_body(
                SearchPayload(
                    _UID, "", K, "bm25", rank, strict=False, options=SearchOptions(vector=wanted)
                )
            )
            hits: list[tuple[float, str]] = []
            for shard, generation in enumerate(self._generations):
                body = unpack_search_body(self._scorer((shard, generation, payload), self._budget))
                hits += zip((-score for score in body.scores), body.ids, strict=True)
            return [int(one) for _, one in sorted(hits)[:K]]

        return find

    def close(self) -> None:
        """Close the files."""
        self._scorer.close()


def _documents(data: Data, numbers: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in numbers:
        vector = stored_form(data.vectors[number].tobytes())
        yield str(number), {"rank": int(data.ranks[number]), "v": vector}


class Faiss:
    """faiss alone, with one index of all vectors, on one thread."""

    def __init__(self, data: Data, quantisation: str) -> None:
        """Index all vectors as the shards do."""
        faiss.omp_set_num_threads(1)
        dimensions = data.vectors.shape[1]
        started = time.process_time()
        if quantisation == "int8":
            kind = faiss.ScalarQuantizer.QT_8bit
            index: Any = faiss.IndexHNSWSQ(dimensions, kind, 16, faiss.METRIC_INNER_PRODUCT)
            index.train(data.vectors[:20_000])
        else:
            index = faiss.IndexHNSWFlat(dimensions, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 128
        index.add(data.vectors)
        self.build_s = time.process_time() - started
        self._index = index
        self._ranks = data.ranks

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
    """Time to build an index of usearch, in s of CPU, and its searches; None without usearch."""
    if importlib.util.find_spec("usearch") is None:
        return None
    from usearch.index import Index  # noqa: PLC0415 - installed only for this

    started = time.process_time()
    index: Any = Index(
        ndim=data.vectors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=128
    )
    for at in range(0, len(data.vectors), _BATCH):
        some = data.vectors[at : at + _BATCH]
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


def _rss_mb() -> float:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def _cells(figures: Figures) -> tuple[str, ...]:
    short = f"{figures.num_short}" if figures.num_short else "none"
    return f"{figures.recall:.4f}", f"{figures.cpu_us:,.0f}", short


def _curve(
    name: str, data: Data, truth: Sequence[set[int]], finder: Callable[[int], Find]
) -> list[tuple[str, ...]]:
    return [(name, f"{ef}", *_cells(Figures.of(data, truth, finder(ef)))) for ef in EFS]


def measure(data: Data, shards: Sequence[int], *, with_qdrant: bool) -> None:
    """Print the tables for some vectors."""
    num, dimensions = data.vectors.shape
    truth = data.truth()
    truths = {share: data.truth(share) for share in SHARES}
    curve: list[tuple[str, ...]] = []
    filtered: list[tuple[str, ...]] = []
    built: list[tuple[str, ...]] = []
    for quantisation in ("none", "int8"):
        for num_shards in shards:
            name = f"{num_shards} shard{'s' * (num_shards > 1)}, {quantisation}"
            with tempfile.TemporaryDirectory(prefix="hedgerow-vectors-") as folder:
                mine = Hedgerow(Path(folder), data, num_shards, quantisation)
                curve += _curve(name, data, truth, mine.finder)
                for share in SHARES:
                    found = Figures.of(data, truths[share], mine.finder(128, share))
                    filtered.append((name, f"{share:.1%}", *_cells(found)))
                size = f"{mine.num_bytes / num / 1000:.2f}"
                cost = f"{(mine.write_s + mine.graph_s) / num * 1e6:.0f}"
                built.append((name, f"{mine.write_s:.1f}", f"{mine.graph_s:.1f}", cost, size))
                mine.close()
        alone = Faiss(data, quantisation)
        name = f"faiss alone, {quantisation}"
        curve += _curve(name, data, truth, alone.finder)
        for share in SHARES:
            found = Figures.of(data, truths[share], alone.finder(128, share))
            filtered.append((name, f"{share:.1%}", *_cells(found)))
        cost = f"{alone.build_s / num * 1e6:.0f}"
        built.append((name, "", f"{alone.build_s:.1f}", cost, ""))
        del alone
    if (others := usearch_finders(data)) is not None:
        build_s, finder = others
        curve += _curve("usearch", data, truth, finder)
        built.append(("usearch", "", f"{build_s:.1f}", f"{build_s / num * 1e6:.0f}", ""))
    if with_qdrant and (other := qdrant_finder(data)) is not None:
        build_s, find = other
        curve.append(("qdrant, local", "", *_cells(Figures.of(data, truth, find))))
        built.append(("qdrant, local", f"{build_s:.1f}", "", f"{build_s / num * 1e6:.0f}", ""))
    about = f"{num:,} vectors of {dimensions} dimensions, {len(data.queries)} queries"
    columns: tuple[str, ...] = ("recall@10", "CPU, µs", "too few hits")
    show(f"{about}: recall against time", ("", "ef", *columns), curve)
    show(f"{about}: with a filter, ef 128", ("", "passes", *columns), filtered)
    columns = ("", "index, s", "graph, s", "µs a vector", "KB a vector on disk")
    show(f"{about}: building, CPU", columns, built)
    sys.stdout.write(f"\nresident memory of the whole process: {_rss_mb():,.0f} MB\n\n")


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.vectors", description=__doc__)
    parser.add_argument("--vectors", type=int, nargs="+", default=[10_000, 100_000], metavar="N")
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 8], metavar="N")
    parser.add_argument("--dimensions", type=int, default=256, metavar="N")
    parser.add_argument("--queries", type=int, default=200, metavar="N")
    parser.add_argument("--qdrant", action="store_true", help="measure qdrant's local package, too")
    arguments = parser.parse_args()
    for num in arguments.vectors:
        data = Data.draw(num, arguments.queries, arguments.dimensions)
        measure(data, arguments.shards, with_qdrant=arguments.qdrant)
    return 0


if __name__ == "__main__":
    sys.exit(main())
