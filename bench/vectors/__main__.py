"""`python -m bench.vectors`: recall, time, memory and disk of vector searches, and of others'.

A collection is spread over shards, in one process without anything around it, as the cluster's
scorers and indexers hold them. Beside it, faiss alone holds the same vectors in one index, and so
do usearch and the local package of qdrant, where they are installed. CPU time is measured, which
depends far less on what else the machine does than the time on the clock. The truth is brute force.

With `--keep`, what is built stays in a folder, and the next measurement finds it there: to build
the graph of a million vectors takes some ten minutes. faiss alone then searches the graph of the
single shard, which is the one that it would build.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.harness.report import show
from bench.vectors.data import Data, Find
from bench.vectors.others import Faiss, qdrant_finder, usearch_finders
from bench.vectors.shards import Shards, build, index_path, memory_mb

EFS: Final = (16, 32, 64, 128, 256, 512)
SHARES: Final = (1.0, 0.5, 0.1, 0.01, 0.001)
_EF: Final = 128  # with a filter
_COLUMNS: Final = ("recall@10", "CPU, µs", "too few hits")


class Figures(NamedTuple):
    """What a search found, and what it cost."""

    recall: float
    cpu_us: float
    num_short: int

    @classmethod
    def of(cls, data: Data, truth: Sequence[set[int]], find: Find) -> "Figures":
        """Search for all queries, once more before, so that the pages of the files are mapped."""
        for query in data.queries:
            find(query)
        started = time.process_time()
        found = [find(query) for query in data.queries]
        cpu_us = (time.process_time() - started) / len(found) * 1e6
        hits = sum(len(best & set(one)) for best, one in zip(truth, found, strict=True))
        short = sum(len(one) < len(best) for best, one in zip(truth, found, strict=True))
        return cls(hits / sum(map(len, truth)), cpu_us, short)

    def cells(self) -> tuple[str, ...]:
        """For a table."""
        short = f"{self.num_short}" if self.num_short else "none"
        return f"{self.recall:.4f}", f"{self.cpu_us:,.0f}", short


class Measured:
    """The tables of some vectors, as they fill."""

    def __init__(self, data: Data) -> None:
        """Compare with the truth."""
        self._data = data
        self._truths = {share: data.truth(share) for share in SHARES}
        self._curve: list[tuple[str, ...]] = []
        self._filtered: list[tuple[str, ...]] = []
        self._built: list[tuple[str, ...]] = []

    def searches(
        self, name: str, finder: Callable[[int], Find], filtered: Callable[..., Find] | None = None
    ) -> None:
        """Measure one kind of searches, with filters if it has any."""
        for ef in EFS:
            figures = Figures.of(self._data, self._truths[1.0], finder(ef))
            self._curve.append((name, f"{ef}", *figures.cells()))
        for share in SHARES if filtered is not None else ():
            if filtered is not None:
                figures = Figures.of(self._data, self._truths[share], filtered(_EF, share))
                self._filtered.append((name, f"{share:.1%}", *figures.cells()))

    def one(self, name: str, find: Find) -> None:
        """Measure searches that have no `ef`."""
        self._curve.append((name, "", *Figures.of(self._data, self._truths[1.0], find).cells()))

    def built(self, name: str, write_s: float | None, graph_s: float, *others: str) -> None:
        """What it took to build."""
        num = len(self._data.vectors)
        cost = f"{((write_s or 0) + graph_s) / num * 1e6:.0f}"
        written = "" if write_s is None else f"{write_s:.1f}"
        cells = (name, written, f"{graph_s:.1f}", cost, *others)
        self._built.append(cells + ("",) * (7 - len(cells)))

    def show(self) -> None:
        """Print the tables."""
        about = f"{self._data.name}, {len(self._data.queries)} queries"
        show(f"{about}: recall against time", ("", "ef", *_COLUMNS), self._curve)
        show(f"{about}: with a filter, ef {_EF}", ("", "passes", *_COLUMNS), self._filtered)
        columns = ("index, s", "graph, s", "µs a vector", "KB a vector on disk")
        memory = ("memory to build a graph, MB", "mapped by a scorer, MB")
        show(f"{about}: building, CPU", ("", *columns, *memory), self._built)


def measure(
    data: Data, folder: Path, shards: Sequence[int], quantisations: Sequence[str], others: set[str]
) -> None:
    """Print the tables for some vectors."""
    measured = Measured(data)
    for quantisation in quantisations:
        for num_shards in shards:
            name = f"{num_shards} shard{'s' * (num_shards > 1)}, {quantisation}"
            at = folder / f"{num_shards}-{quantisation}"
            at.mkdir(exist_ok=True)
            built = build(at, data, num_shards, quantisation)
            before = memory_mb("RssFile")
            mine = Shards(at, num_shards)
            measured.searches(name, mine.finder, mine.finder)
            mapped = memory_mb("RssFile") - before
            mine.close()
            size = f"{built.num_bytes / len(data.vectors) / 1000:.2f}"
            memory = f"{built.graph_mb:,.0f}", f"{mapped:,.0f}"
            measured.built(name, built.write_s, built.graph_s, size, *memory)
        if "faiss" in others:
            graphs = list(index_path(folder / f"1-{quantisation}", 0).glob("*.graph"))
            alone = Faiss.of_graph(graphs[0], data) if graphs else Faiss.build(data, quantisation)
            name = f"faiss alone, {quantisation}"
            measured.searches(name, alone.finder, alone.finder)
            if alone.build_s is not None:
                measured.built(name, None, alone.build_s)
            del alone
    if "usearch" in others and (found := usearch_finders(data)) is not None:
        build_s, finder = found
        measured.searches("usearch", finder)
        measured.built("usearch", None, build_s)
    if "qdrant" in others and (other := qdrant_finder(data)) is not None:
        build_s, find = other
        measured.one("qdrant, local", find)
        measured.built("qdrant, local", None, build_s)
    measured.show()
    sys.stdout.write("\n")


@contextmanager
def _folder(keep: Path | None, name: str) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="hedgerow-vectors-") as temporary:
            yield Path(temporary)
    else:
        folder = keep / name
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.vectors", description=__doc__)
    parser.add_argument("--vectors", type=int, nargs="*", default=[10_000, 100_000], metavar="N")
    parser.add_argument("--texts", action="store_true", help="embed SciFact's texts, too")
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 8], metavar="N")
    parser.add_argument("--quantisation", nargs="+", default=["none", "int8"], metavar="KIND")
    parser.add_argument("--dimensions", type=int, default=256, metavar="N", help="of drawn ones")
    parser.add_argument("--queries", type=int, default=200, metavar="N")
    parser.add_argument("--beside", nargs="*", default=["faiss", "usearch"], metavar="NAME")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="build here what is not there")
    args = parser.parse_args()
    beside = set(args.beside)
    for num in args.vectors:
        with _folder(args.keep, f"drawn{num}") as folder:
            data = Data.draw(folder, num, args.queries, args.dimensions)
            measure(data, folder, args.shards, args.quantisation, beside)
    if args.texts:
        with _folder(args.keep, "texts") as folder:
            data = Data.of_texts(folder, args.queries)
            measure(data, folder, args.shards, args.quantisation, beside)
    return 0


if __name__ == "__main__":
    sys.exit(main())
