"""Eight indexes rank as one does, and one as Lucene does, on judged collections.

`test_quality_through_a_cluster.py` has a large corpus, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.partition import shard_of
from hedgerow.common.query.query_reading import read_query
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import retrieve
from hedgerow.shard_worker.storage.length_padding import balance
from hedgerow.shard_worker.storage.term_statistics import (
    TermStatistics,
    collect,
    merge,
    pack,
    unpack,
    write_table,
)
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.support.corpora import Document
from tests.support.judged import LUCENE_NDCG10, Judged, K, mean
from tests.support.judged import overlap as overlap_of_ids

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NUM_SHARDS = 8

Hits = list[tuple[float, str]]  # (score, document), best first


@dataclass
class Shards:
    """A collection in some number of indexes."""

    definition: Collection
    indexes: list[TextIndex]
    statistics: TermStatistics | None = None

    def search(self, query: str, k: int = K) -> tuple[int, Hits]:
        """How many documents match, and the best of them over all shards."""
        tree = read_query(query, self.definition, strict=False)
        found = [
            retrieve(index, QueryBuilder(index, self.statistics).build(tree), k)
            for index in self.indexes
        ]
        hits = sorted((hit for one in found for hit in one.hits), key=lambda hit: (-hit[0], hit[1]))
        return sum(one.total for one in found), hits[:k]


def build(folder: Path, documents: Sequence[Document], num_shards: int) -> Shards:
    """Index documents as a cluster with these shards would, statistics and all."""
    definition = define("quality", {"fields": {"title": "text", "text": "text"}})
    parts: list[list[Document]] = [[] for _ in range(num_shards)]
    for document in documents:
        parts[shard_of(document["id"], num_shards)].append(document)
    paths = [folder / f"{number}-of-{num_shards}" for number in range(num_shards)]
    collected = []
    for path, part in zip(paths, parts, strict=True):
        writer = TextIndexWriter.open(path, definition)
        writer.apply([], ((document["id"], document) for document in part))
        writer.commit()
        writer.close()
        collected.append(unpack(pack(collect(TextIndex.open(path)))))
    table = folder / f"statistics-of-{num_shards}"
    write_table(table, merge(collected))
    statistics = TermStatistics.open(table)
    for path in paths:
        writer = TextIndexWriter.open(path, definition)
        balance(writer, statistics.average_lengths)
        writer.close()
    return Shards(definition, [TextIndex.open(path) for path in paths], statistics)


def overlap(one: Hits, other: Hits) -> float:
    """The share of the first hits that are among the second; 1 for two empty answers."""
    return overlap_of_ids((hit for _, hit in one), (hit for _, hit in other))


Answers = dict[str, tuple[int, Hits]]  # query → how many documents match, and the best


@dataclass
class Built:
    """A judged collection, in one index and in eight."""

    judged: Judged
    one: Shards
    eight: Shards

    @cached_property
    def by_one(self) -> Answers:
        """What one index answers."""
        return self._asked(self.one)

    @cached_property
    def by_eight(self) -> Answers:
        """What eight indexes answer."""
        return self._asked(self.eight)

    def _asked(self, shards: Shards) -> Answers:
        return {query: shards.search(text) for query, text in self.judged.queries.items()}

    def ndcg10(self, answers: Answers) -> float:
        """nDCG@10 over all queries."""
        return self.judged.ndcg10(
            {
                query: [(document_id, score) for score, document_id in hits]
                for query, (_, hits) in answers.items()
            }
        )


@pytest.fixture(scope="module", params=LUCENE_NDCG10)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    """Each judged collection, in one index and in eight."""
    judged = Judged.load(request.param)
    folder = tmp_path_factory.mktemp(judged.name)
    one, eight = build(folder, judged.documents, 1), build(folder, judged.documents, NUM_SHARDS)
    yield Built(judged, one, eight)
    close(one, eight)


def close(*clusters: Shards) -> None:
    """Close what was built."""
    for shards in clusters:
        if shards.statistics is not None:
            shards.statistics.close()


def test_eight_shards_give_the_top_ten_of_one(built: Built) -> None:
    """The mean overlap of the top ten is at least 0.97, and the totals are the same."""
    overlaps = []
    for query, (total_one, one) in built.by_one.items():
        total_eight, eight = built.by_eight[query]
        assert total_one == total_eight
        overlaps.append(overlap(one, eight))
    assert mean(overlaps) >= 0.97, f"{built.judged.name}: {mean(overlaps):.4f}"


def test_with_local_statistics_they_do_not(built: Built) -> None:
    """Without the collection's statistics the overlap is below 0.95, so that they are needed."""
    local = Shards(built.one.definition, built.eight.indexes)
    overlaps = [
        overlap(built.by_one[query][1], local.search(text)[1])
        for query, text in built.judged.queries.items()
    ]
    assert mean(overlaps) < 0.95


def test_eight_shards_are_as_good_as_one_and_one_as_good_as_lucene(built: Built) -> None:
    """nDCG@10 of eight shards is within 0.01 of one's, and of Lucene's over one field."""
    one, eight = built.ndcg10(built.by_one), built.ndcg10(built.by_eight)
    assert abs(eight - one) <= 0.01, f"{built.judged.name}: {eight:.4f} against {one:.4f}"
    assert abs(eight - LUCENE_NDCG10[built.judged.name]) <= 0.01, (
        f"{built.judged.name}: {eight:.4f}"
    )
