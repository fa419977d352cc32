"""Eight shards rank as one index does, and one index as Lucene does, on judged collections.

The collections (cranfield, cisi, med and scifact as corpus.jsonl, queries.jsonl and qrels.tsv) are
looked for in ../shared/collections beside the repository, or where HEDGEROW_COLLECTIONS says. They
are not the project's to give away, so without them those tests are skipped; the large corpus is
WordNet's glosses where Debian's package wordnet-base is installed, and generated where it is not.
"""

import json
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from ir_measures import nDCG

from common.collection import Collection, define
from common.partition import shard_of
from common.query_syntax import parse
from shard_worker.ballast import balance
from shard_worker.query_builder import QueryBuilder
from shard_worker.retrieval import retrieve
from shard_worker.term_statistics import TermStatistics, collect, merge, pack, unpack, write_table
from shard_worker.text_index import TextIndex, TextIndexWriter

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).parent.parent.parent
COLLECTIONS = Path(
    os.environ.get("HEDGEROW_COLLECTIONS", REPOSITORY.parent / "shared" / "collections")
)
WORDNET = Path("/usr/share/wordnet")
# nDCG@10 of Lucene's BM25 (k1 1.2, b 0.75, English analysis) over title and text, grades as gains.
LUCENE = {"cranfield": 0.368, "cisi": 0.385, "med": 0.690, "scifact": 0.683}
NUM_SHARDS = 8
K = 10

Document = dict[str, Any]
Hits = list[tuple[float, str]]


@dataclass
class Shards:
    """A collection in some number of indexes."""

    definition: Collection
    indexes: list[TextIndex]
    statistics: TermStatistics | None = None

    def search(self, query: str, k: int = K) -> tuple[int, Hits]:
        """How many documents match, and the best of them over all shards."""
        tree = parse(query, self.definition, strict=False)[0]
        found = [
            retrieve(index, QueryBuilder(index, self.statistics).build(tree), k)
            for index in self.indexes
        ]
        hits = sorted((hit for one in found for hit in one.hits), key=lambda hit: (-hit[0], hit[1]))
        return sum(one.total for one in found), hits[:k]


def build(folder: Path, documents: Sequence[Document], num_shards: int) -> Shards:
    """Index documents as a cluster of so many shards would, statistics and all."""
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
    if not one:
        return float(not other)
    return len({hit for _, hit in one} & {hit for _, hit in other}) / len(one)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def lines_of(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a file; `splitlines` would also end them at Unicode's separators."""
    return path.read_text(encoding).removesuffix("\n").split("\n")


@dataclass
class Judged:
    """A collection with queries whose answers people have judged."""

    name: str
    queries: dict[str, str]
    qrels: list[Any]
    one: Shards
    eight: Shards

    def ndcg(self, shards: Shards) -> float:
        """nDCG@10 over all queries, worked out by ir_measures."""
        run = [
            ir_measures.ScoredDoc(query_id, document_id, score)
            for query_id, text in self.queries.items()
            for score, document_id in shards.search(text)[1]
        ]
        return float(ir_measures.calc_aggregate([nDCG @ K], self.qrels, run)[nDCG @ K])


@pytest.fixture(scope="module", params=LUCENE)
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judged]:
    """Each judged collection, in one index and in eight."""
    name = request.param
    source = COLLECTIONS / name
    if not source.is_dir():
        if "HEDGEROW_COLLECTIONS" in os.environ:
            pytest.fail(f"HEDGEROW_COLLECTIONS: there is no folder {source}")
        pytest.skip(f"NEEDS THE JUDGED COLLECTION {name} IN {COLLECTIONS}")
    documents = [json.loads(line) for line in lines_of(source / "corpus.jsonl")]
    queries = [json.loads(line) for line in lines_of(source / "queries.jsonl")]
    qrels = [line.split("\t") for line in lines_of(source / "qrels.tsv")]
    folder = tmp_path_factory.mktemp(name)
    one, eight = build(folder, documents, 1), build(folder, documents, NUM_SHARDS)
    yield Judged(
        name,
        {query["id"]: query["text"] for query in queries},
        [ir_measures.Qrel(query, document, int(grade)) for query, document, grade in qrels],
        one,
        eight,
    )
    _close(one, eight)


def _close(*clusters: Shards) -> None:
    for shards in clusters:
        if shards.statistics is not None:
            shards.statistics.close()


def test_eight_shards_give_the_top_ten_of_one(judged: Judged) -> None:
    """The mean overlap of the top ten is at least 0.97, and the totals are the same."""
    overlaps = []
    for text in judged.queries.values():
        total_one, one = judged.one.search(text)
        total_eight, eight = judged.eight.search(text)
        assert total_one == total_eight
        overlaps.append(overlap(one, eight))
    assert mean(overlaps) >= 0.97, f"{judged.name}: {mean(overlaps):.4f}"


def test_with_local_statistics_they_do_not(judged: Judged) -> None:
    """Without the collection's statistics the overlap is below 0.95, so that they are needed."""
    local = Shards(judged.one.definition, judged.eight.indexes)
    overlaps = [
        overlap(judged.one.search(text)[1], local.search(text)[1])
        for text in judged.queries.values()
    ]
    assert mean(overlaps) < 0.95


def test_eight_shards_are_as_good_as_one_and_one_as_good_as_lucene(judged: Judged) -> None:
    """nDCG@10 of eight shards is within 0.01 of one's, and within 0.02 of Lucene's."""
    one, eight = judged.ndcg(judged.one), judged.ndcg(judged.eight)
    assert abs(eight - one) <= 0.01, f"{judged.name}: {eight:.4f} against {one:.4f}"
    assert abs(eight - LUCENE[judged.name]) <= 0.02, f"{judged.name}: {eight:.4f}"


def wordnet() -> Iterator[Document]:
    """WordNet's synsets: words and gloss (the format is that of the man page wndb(5WN))."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in lines_of(WORDNET / f"data.{part}", "latin-1"):
            if not line.startswith("  "):
                head, _, gloss = line.partition(" | ")
                numbers = head.split()
                words = numbers[4 : 4 + 2 * int(numbers[3], 16) : 2]
                title = ", ".join(word.replace("_", " ") for word in words)
                yield {"id": f"{part}-{numbers[0]}", "title": title, "text": gloss.strip()}


def generated(count: int) -> Iterator[Document]:
    """Short texts of words that are as unevenly frequent as those of a language (Zipf's law)."""
    rng = random.Random(11)
    words = ["".join(rng.choices("bcdfgklmnprstvz", k=rng.randint(3, 7))) for _ in range(30_000)]
    weights = [1 / (rank + 2) for rank in range(len(words))]
    lengths = [rng.randint(4, 20) for _ in range(count)]
    drawn = iter(rng.choices(words, weights, k=sum(lengths) + 2 * count))
    for number, length in enumerate(lengths):
        title = " ".join(next(drawn) for _ in range(2))
        yield {
            "id": f"g{number}",
            "title": title,
            "text": " ".join(next(drawn) for _ in range(length)),
        }


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[list[Document], Shards, Shards]]:
    """More than 100,000 short documents, where a great many tie."""
    documents = list(wordnet() if WORDNET.is_dir() else generated(110_000))
    assert len(documents) >= 100_000
    folder = tmp_path_factory.mktemp("large")
    one, eight = build(folder, documents, 1), build(folder, documents, NUM_SHARDS)
    yield documents, one, eight
    _close(one, eight)


def test_a_hundred_thousand_documents_overlap_by_99_percent(
    large: tuple[list[Document], Shards, Shards],
) -> None:
    """Queries of one to six words, also with operators and phrases, find the same top ten."""
    documents, one, eight = large
    rng = random.Random(7)
    overlaps = []
    for number in range(600):
        words = re.findall(r"[a-z]{3,}", rng.choice(documents)["text"].lower())
        chosen = rng.sample(words, min(len(words), 1 + number % 6))
        queries = [" ".join(chosen)]
        if number % 10 == 0:
            queries.append(" ".join(f"+{word}" for word in chosen))
            queries.append(f'"{" ".join(words[:2])}" {" ".join(chosen)}')
            queries.append(f"title:({' '.join(chosen)}) -text:{words[-1] if words else 'x'}")
        for query in queries:
            total_one, best_one = one.search(query)
            total_eight, best_eight = eight.search(query)
            assert total_one == total_eight, query
            overlaps.append(overlap(best_one, best_eight))
    assert mean(overlaps) >= 0.99, f"{mean(overlaps):.4f}"
