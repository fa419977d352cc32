"""Collections with queries whose answers people have judged.

SciFact is in tests/data. The others have no licence to be given away under, and are an extra:
JUDGED_COLLECTIONS names a folder that has one folder for each, of corpus.jsonl, queries.jsonl and
qrels.tsv.
"""

import json
import lzma
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from ir_measures import Qrel, ScoredDoc, nDCG

from tests.support.needs import missing

VARIABLE = "JUDGED_COLLECTIONS"
OURS = Path(__file__).parents[1] / "data"
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
        """Read a collection; skips the test if it is an extra that is not there."""
        folder = folder_of(name)
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


def folder_of(name: str) -> Path:
    """The folder of a collection; skips the test, or fails it in CI, if it is not there."""
    if (OURS / name).is_dir():
        return OURS / name
    if VARIABLE not in os.environ:
        pytest.skip(f"EXTRA: {VARIABLE} names no folder with the collection {name}")
    folder = Path(os.environ[VARIABLE]) / name
    if not folder.is_dir():
        missing(f"the judged collection {name} in {folder.parent}")
    return folder


def lines_of(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a file, which may be compressed; unlike `splitlines`, only at line feeds."""
    compressed = path.with_name(f"{path.name}.xz")
    data = lzma.decompress(compressed.read_bytes()) if compressed.exists() else path.read_bytes()
    return data.decode(encoding).removesuffix("\n").split("\n")


def overlap(these: Iterable[str], those: Iterable[str]) -> float:
    """The share of the first ids that are among the second; 1 for two empty answers."""
    one, other = set(these), set(those)
    return len(one & other) / len(one) if one else float(not other)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
