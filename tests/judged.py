"""Collections with queries whose answers people have judged, read where they lie.

They are looked for in ../shared/collections beside the repository, or where JUDGED_COLLECTIONS
says: corpus.jsonl, queries.jsonl and qrels.tsv, in a folder each. They are not the project's to
give away.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
from ir_measures import Qrel, ScoredDoc, nDCG

from tests.conftest import missing

COLLECTIONS = Path(
    os.environ.get(
        "JUDGED_COLLECTIONS", Path(__file__).parent.parent.parent / "shared" / "collections"
    )
)
# nDCG@10 of Lucene's BM25 (k1 1.2, b 0.75, English analysis) over title and text, grades as gains.
LUCENE_NDCG10 = {"cranfield": 0.368, "cisi": 0.385, "med": 0.690, "scifact": 0.683}
K = 10

Hits = Sequence[tuple[str, float]]  # (document, score), best first


@dataclass(frozen=True)
class Judged:
    """One collection.

    Attributes:
        documents: with id, title and text.
        queries: query id → text.
        qrels: the judgments; the grades are the gains.
    """

    name: str
    documents: list[dict[str, Any]]
    queries: dict[str, str]
    qrels: list[Qrel]

    @classmethod
    def load(cls, name: str) -> "Judged":
        """Read a collection; skips the test where there is none, and fails it in CI."""
        folder = COLLECTIONS / name
        if not folder.is_dir():
            missing(f"the judged collection {name} in {COLLECTIONS}")
        return cls(
            name,
            [json.loads(line) for line in lines_of(folder / "corpus.jsonl")],
            {
                query["id"]: query["text"]
                for query in map(json.loads, lines_of(folder / "queries.jsonl"))
            },
            [
                Qrel(query, document, int(grade))
                for query, document, grade in (
                    line.split("\t") for line in lines_of(folder / "qrels.tsv")
                )
            ],
        )

    def ndcg10(self, answers: Mapping[str, Hits]) -> float:
        """The mean nDCG@10 of some answers by query id, worked out by ir_measures."""
        run = [
            ScoredDoc(query, document, score)
            for query, hits in answers.items()
            for document, score in hits
        ]
        return float(ir_measures.calc_aggregate([nDCG @ K], self.qrels, run)[nDCG @ K])


def lines_of(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a file; `splitlines` would also end them at Unicode's separators."""
    return path.read_text(encoding).removesuffix("\n").split("\n")


def overlap(these: Iterable[str], those: Iterable[str]) -> float:
    """The share of the first ids that are among the second; 1 for two empty answers."""
    one, other = set(these), set(those)
    return len(one & other) / len(one) if one else float(not other)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
