"""`python -m bench.served`: what fields and ties add to the cost of a search.

A cluster started by `gateway up` without options is asked over HTTP, each question in turns with
the question that it is compared with. What is counted is the CPU time of all processes of the
cluster, which hardly depends on what else the machine does. The deadline is long, so that no answer
is partial.

Questions about fields use short real texts (`bench.search.used`) and queries of two words;
questions about ties use made-up texts (`bench.ties`), for which `bench.ties` shows what a scorer
alone spends.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness.http_load import HttpGateway
from bench.harness.processes import CpuMeter
from bench.harness.report import median, show
from bench.harness.up import Up, load_into, run_up
from bench.search.inside.callers import Verdict, judge
from bench.search.used.corpus import read_summaries, two_words
from bench.ties import FIELDS as TITLE_FIELDS
from bench.ties import SHARES, titles
from hedgerow.gateway.client import AsyncClient

_TITLES, _SUMMARIES = "titles", "summaries"
_SUMMARY_FIELDS = {"name": "text", "summary": "text"}
_PARTS = ("gateway", "Redis", "workers", "scorers")
_IN_FLIGHT = 32
_DEADLINE_MS = 30_000
_NUM_QUERIES = 500
_WARM_UP = 100


@dataclass(frozen=True, slots=True)
class Question:
    """Queries that are asked in turn, with the same settings.

    Attributes:
        collection: the collection that is searched.
        queries: their texts.
        k: how many hits are requested.
        fields: whether the documents' fields are requested.
    """

    collection: str
    queries: Sequence[str]
    k: int
    fields: bool

    def bodies(self) -> Iterator[bytes]:
        """Yield the bodies of searches, endlessly."""
        for query in itertools.cycle(self.queries):
            asked: dict[str, Any] = {"query": query, "k": self.k, "deadline_ms": _DEADLINE_MS}
            if not self.fields:
                asked["fields"] = False
            yield json.dumps(asked).encode()


@dataclass(slots=True)
class Comparison:
    """Two questions, and what each costs.

    Attributes:
        name: of the comparison.
        one: the question that should not cost much more than `other`.
        other: the question that it is compared with.
        costs: CPU time of both in each turn, in µs by part.
    """

    name: str
    one: Question
    other: Question
    costs: tuple[list[dict[str, float]], list[dict[str, float]]] = field(
        default_factory=lambda: ([], [])
    )

    def to_row(self) -> list[str]:
        """A row of the table: the medians, and the median of the ratios of the turns."""
        cells = [self.name]
        for part in _PARTS:
            before, after = (median(turn[part] for turn in side) for side in reversed(self.costs))
            cells.append(f"{before:,.0f} → {after:,.0f}")
        sums = [[sum(turn.values()) for turn in side] for side in self.costs]
        ratios = [one / other for one, other in zip(*sums, strict=True)]
        cells.append(f"{median(sums[1]):,.0f} → {median(sums[0]):,.0f}")
        cells.append(f"{median(ratios):.2f}")
        return cells


def comparisons(two_word_queries: Sequence[str]) -> list[Comparison]:
    """All comparisons; without queries, only those about ties."""
    found = []
    for k in (10, 100) if two_word_queries else ():
        one, other = (Question(_SUMMARIES, two_word_queries, k, wanted) for wanted in (True, False))
        found.append(Comparison(f"fields, k {k}", one, other))
    for word, share in SHARES.items():
        for k in (10, 100):
            one, other = (
                Question(_TITLES, [f"{name}:{word}"], k, fields=False)
                for name in ("title", f"graded_{word}")
            )
            found.append(Comparison(f"ties, one title in {share}, k {k}", one, other))
    return found


async def measure(http: HttpGateway, up: Up, found: Sequence[Comparison], num_turns: int) -> None:
    """Ask the questions of all comparisons in turns, and note what each costs."""
    parts = {name: pids for name, pids in up.parts().items() if name in _PARTS}
    for turn in range(num_turns + 1):
        for one in found:
            for question, costs in zip((one.one, one.other), one.costs, strict=True):
                if turn == 0:
                    await _ask(http, question, _WARM_UP)
                    continue
                meter = CpuMeter(parts)
                await _ask(http, question, _NUM_QUERIES)
                costs.append({k: used / _NUM_QUERIES * 1e6 for k, used in meter.used_s().items()})


async def _ask(http: HttpGateway, question: Question, number: int) -> None:
    bodies = itertools.islice(question.bodies(), number)

    async def call() -> None:
        for body in bodies:
            answer = await http.search(question.collection, body)
            if judge(answer) is not Verdict.WHOLE:
                raise RuntimeError(answer[:400].decode(errors="replace"))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_IN_FLIGHT):
            tasks.create_task(call())


async def measure_all(arguments: argparse.Namespace, folder: Path) -> tuple[list[Comparison], str]:
    """Start a cluster on `folder`, load it, and measure.

    Returns:
        The comparisons, and a description of what was searched.
    """
    async with run_up(folder) as up, AsyncClient(up.url) as client:
        num = arguments.documents
        options: dict[str, Any] = {"language": "none"}
        await load_into(client, _TITLES, _made_up(num), num, fields=TITLE_FIELDS, **options)
        queries: list[str] = []
        sizes = f"{num:,} titles"
        if not arguments.ties_only:
            summaries = read_summaries(arguments.cache)
            lines = list(
                itertools.islice(summaries.lines(arguments.documents), arguments.documents)
            )
            loaded = map(json.loads, lines)
            await load_into(
                client, _SUMMARIES, loaded, len(lines), fields=_SUMMARY_FIELDS, **options
            )
            sizes += f", {len(lines):,} summaries"
            queries = [query.text for query in two_words(lines, _NUM_QUERIES)]
        found = comparisons(queries)
        with up.http() as http:
            await measure(http, up, found, arguments.turns)
        return found, f"{up.size}; {sizes}"


def _made_up(number: int) -> Iterator[dict[str, Any]]:
    for document_id, document in titles(number):
        yield {"id": document_id, **json.loads(document)}


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.served", description=__doc__)
    add = parser.add_argument
    add("--documents", type=int, default=100_000, metavar="N", help="of a collection (100000)")
    add("--turns", type=int, default=7, metavar="N", help="of each comparison (7)")
    add("--ties-only", action="store_true", help="nothing about fields, which needs an archive")
    add("--cache", type=Path, default=Path(".bench-search"), help="folder of the real texts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hedgerow-served-") as folder:
        found, searched = asyncio.run(measure_all(arguments, Path(folder)))
    show(
        f"{searched}; {_IN_FLIGHT} in flight; medians of {arguments.turns} turns of {_NUM_QUERIES} "
        "searches; CPU in µs a search, of the second question and of the first",
        ("compared", *_PARTS, "sum", "ratio"),
        [one.to_row() for one in found],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
