"""`python -m bench.ties`: what a search whose matches tie costs, and what grows with the index.

One process calls `shard_worker.scoring.scorer` as the cluster's scorers do, without anything around
it, and its CPU time is measured, which hardly depends on what else the machine does. Each query
whose matches tie is measured in turns with a query that matches the same documents and has no ties
among the best. Every other query is measured in turns with tantivy's own search for the same query
and number of hits, which counts the matches but reads no ids.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.harness.report import median, show
from bench.search.inside.serving import disk_bytes
from hedgerow.common.collection import define
from hedgerow.common.query.pruning import pruned
from hedgerow.common.query.syntax import parse, parse_filter
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.wire.messages import SearchBody, SearchPayload, pack_body, unpack_search_body
from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.indexing.level_choice import FEWEST_DOCUMENTS
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig
from hedgerow.shard_worker.storage.id_levels import boundary_ranks
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

_UID = "titles"
_SHARD = 0
_MEMORY_BYTES = 128_000_000
# A word → one in this number of documents contains it.
SHARES = {"every": 1, "tenth": 10, "hundredth": 100}
FIELDS = {
    "title": "text",  # three words, so that all matches of one of them tie
    # The same words in separate texts, of which at most a few tie, except for the worst.
    **{f"graded_{word}": "text" for word in SHARES},
    "tag": "keyword",
    "number": "integer",
}
_COLLECTION = define("titles", {"fields": FIELDS, "language": "none"}, uid=_UID)
_NUM_GRADED = 2000
_GRADED_WORDS = 40  # tantivy rounds the lengths of longer texts, so that more would tie
_GRADES = 20  # of length, and of frequency
_NUM_COMMITS = 12
_NUM_TURNS = 7
_TURN_S = 0.04


class Question(NamedTuple):
    """A search."""

    query: str
    filter: str = ""
    k: int = 10


@dataclass(frozen=True)
class Comparison:
    """A question, and the one it is measured against, or None for tantivy's own search of it."""

    name: str
    question: Question
    against: Question | None = None


def comparisons() -> list[Comparison]:
    """All comparisons."""
    ties = [
        Comparison(
            f"one word of one title in {share}, k {k}",
            Question(f"title:{word}", k=k),
            Question(f"graded_{word}:{word}", k=k),
        )
        for word, share in SHARES.items()
        for k in (10, 100, 1000)
    ]
    words = " ".join(f"w{number}" for number in range(50))
    curves = {
        "`*`": Question("*"),
        "`*` with a filter": Question("*", "tag:t3"),
        "keyword": Question("tag:t3"),
        "word with a keyword filter": Question("title:every", "tag:t3"),
        "range": Question("number:[100 TO 600]"),
        "one-letter prefix": Question("title:w*"),
        "fuzzy": Question("title:evrey~1"),
        "50 words by OR": Question(f"title:({words})"),
        "phrase of two common words": Question('title:"every both"'),
        "k 1,000": Question("graded_every:every", k=1000),
        "`*`, k 1,000": Question("*", k=1000),
    }
    return ties + [Comparison(name, question) for name, question in curves.items()]


def titles(num_documents: int) -> Iterator[tuple[str, bytes]]:
    """Yield ids and JSON of documents: titles that tie, and the same words in texts that do not."""
    draw = random.Random(1)
    numbers = list(range(num_documents))
    draw.shuffle(numbers)
    for place, number in enumerate(numbers):
        words = [word for word, share in SHARES.items() if place % share == 0]
        title = ["every", "both" if place % 2 else "other", f"w{place % 997}"]
        if words[1:]:
            title[1:] = [*words[1:], f"w{place % 997}"][:2]
        document: dict[str, object] = {
            "title": " ".join(title),
            "tag": f"t{place % 7}",
            "number": place % 1000,
        }
        for word in words:
            document[f"graded_{word}"] = _graded(word, place // SHARES[word])
        yield f"document-{number:08d}", json.dumps(document).encode()


def _graded(word: str, rank: int) -> str:
    """A text; with a higher rank the word is rarer and the text longer."""
    length, times = _GRADED_WORDS, 1
    if rank < _NUM_GRADED:
        length -= rank % _GRADES
        times += _GRADES - 1 - rank // _GRADES % (_GRADES - 1)
    return " ".join([word] * times + ["filler"] * (length - times))


def build(folder: Path, num_documents: int, num_commits: int) -> float:
    """Build the index in `num_commits` commits; returns the CPU time that it took, in s."""
    started = time.process_time()
    path = folder / "shards" / str(_SHARD) / _UID
    writer = TextIndexWriter.open(path, _COLLECTION, _MEMORY_BYTES)
    documents = list(titles(num_documents))
    size = -(-num_documents // num_commits)
    # A shard's indexer also chooses boundaries once there are a thousand documents, or all.
    ids = sorted(one for one, _ in documents[: max(size, FEWEST_DOCUMENTS)])
    writer.clear([ids[rank] for rank in boundary_ranks(len(ids))])
    for start in range(0, num_documents, size):
        writer.add(documents[start : start + size])
        writer.commit()
    writer.close()
    return time.process_time() - started


class Bench:
    """One index, and a scorer that searches it."""

    def __init__(self, folder: Path) -> None:
        self.index = TextIndex.open(folder / "shards" / str(_SHARD) / _UID)
        self._scorer = Scorer(ScorerConfig(str(folder), BUILT_IN_PROFILES))
        self._builder = QueryBuilder(self.index, None)
        self._budget = Budget.until(float("inf"))

    def close(self) -> None:
        """Close the files."""
        self._scorer.close()

    def scored(self, question: Question) -> Callable[[], bytes]:
        """A search by the scorer."""
        payload = SearchPayload(
            _UID, question.query, question.k, "bm25", question.filter, strict=False
        )
        work = (_SHARD, self.index.generation, pack_body(payload))
        return lambda: self._scorer(work, self._budget)

    def answer(self, question: Question) -> SearchBody:
        """What the scorer answers."""
        return unpack_search_body(self.scored(question)())

    def bare(self, question: Question) -> Callable[[], object]:
        """The same search by tantivy alone, built beforehand."""
        tree = pruned(parse(question.query, _COLLECTION, strict=False)[0], _COLLECTION)
        keep = parse_filter(question.filter, _COLLECTION) if question.filter else None
        query = self._builder.build(tree, keep)
        return lambda: self.index.searcher.search(query, question.k).hits


def compare(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """The CPU time of each, in µs: the medians of some turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_NUM_TURNS):
        for known, search in zip(times, (one, other), strict=True):
            known.append(_cpu_us(search))
    return median(times[0]), median(times[1])


def _cpu_us(search: Callable[[], object]) -> float:
    count, started = 0, time.process_time()
    while True:
        search()
        count += 1
        used_s = time.process_time() - started
        if used_s >= _TURN_S:
            return used_s / count * 1e6


def _report(bench: Bench, num_documents: int, build_s: float, folder: Path) -> None:
    rows = []
    for one in comparisons():
        other = bench.bare(one.question) if one.against is None else bench.scored(one.against)
        total = bench.answer(one.question).total
        used, against = compare(bench.scored(one.question), other)
        kind = "tantivy alone" if one.against is None else "no ties"
        figures = (f"{total:,}", f"{used:,.0f}", f"{kind}: {against:,.0f}")
        rows.append((one.name, *figures, f"{used / against:.2f}"))
    show(
        f"{num_documents:,} documents in {bench.index.num_segments} segments; built in "
        f"{build_s:.1f} s of CPU, {disk_bytes(folder) / num_documents:.0f} bytes a document",
        ("query", "matches", "CPU, µs", "against, µs", "ratio"),
        rows,
    )


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.ties", description=__doc__)
    parser.add_argument(
        "--documents",
        type=int,
        nargs="+",
        default=[10_000, 100_000],
        metavar="N",
        help="of each index (10000 100000); a million take a minute and 500 MB of disk",
    )
    parser.add_argument(
        "--commits",
        type=int,
        nargs="+",
        default=[1, _NUM_COMMITS],
        metavar="N",
        help=f"in which an index is filled: one for one segment (1 {_NUM_COMMITS})",
    )
    arguments = parser.parse_args()
    for num_documents in arguments.documents:
        for num_commits in arguments.commits:
            with tempfile.TemporaryDirectory(prefix="hedgerow-ties-") as name:
                folder = Path(name)
                build_s = build(folder, num_documents, num_commits)
                bench = Bench(folder)
                _report(bench, num_documents, build_s, folder)
                bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
