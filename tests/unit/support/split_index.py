"""A collection in one index, and in several that rank as one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hedgerow.common.collection import Collection
from hedgerow.common.partition import shard_of
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.wire.search_options import Synonym
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import retrieve
from hedgerow.shard_worker.storage.length_padding import balance
from hedgerow.shard_worker.storage.term_statistics import (
    TermStatistics,
    collect,
    merge,
    write_table,
)
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter


@dataclass
class SplitIndex:
    """Some indexes of one collection, with the statistics of the whole."""

    collection: Collection
    indexes: Sequence[TextIndex]
    statistics: TermStatistics

    @classmethod
    def build(
        cls,
        root: Path,
        collection: Collection,
        documents: Iterable[Mapping[str, Any]],
        num_shards: int = 1,
    ) -> Self:
        """Index documents as a cluster with these shards would."""
        parts: list[list[Mapping[str, Any]]] = [[] for _ in range(num_shards)]
        for one in documents:
            parts[shard_of(one["id"], num_shards)].append(one)
        paths = [root / str(shard) for shard in range(num_shards)]
        for path, part in zip(paths, parts, strict=True):
            writer = TextIndexWriter.open(path, collection)
            writer.apply([], [(one["id"], one) for one in part])
            writer.commit()
            writer.close()
        table = root / "statistics.sqlite"
        write_table(table, merge(collect(TextIndex.open(path)) for path in paths))
        statistics = TermStatistics.open(table)
        for path in paths:
            writer = TextIndexWriter.open(path, collection)
            balance(writer, statistics.average_lengths)
            writer.close()
        return cls(collection, [TextIndex.open(path) for path in paths], statistics)

    def scores(
        self,
        query: str,
        typing: Typing = AS_WRITTEN,
        k: int = 1000,
        synonyms: tuple[Synonym, ...] = (),
    ) -> dict[str, float]:
        """Id → score of the best that match, best first."""
        analysis = QueryAnalysis(self.collection)
        tree = analysis.read(query, strict=False, typing=typing, synonyms=synonyms)
        hits = [
            hit
            for index in self.indexes
            for hit in retrieve(index, QueryBuilder(index, self.statistics).build(tree), k).hits
        ]
        ranked = sorted(hits, key=lambda hit: (-hit[0], hit[1]))[:k]
        return {one: score for score, one in ranked}

    def close(self) -> None:
        """Close the table of statistics."""
        self.statistics.close()
