"""`python -m bench.skipped`: what it saves not to ask shards that cannot have a match.

A cluster of real workers is asked through two gateways in this process, in turns: one that skips
shards, and one with `gateway.summary_bytes = 0`, which asks every shard. What is counted is the CPU
time of all processes, which hardly depends on what else the machine does. The last question has a
match in every shard: its row shows what it costs to look for shards to skip and to find none.
"""

import argparse
import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from bench.harness.cluster import COLLECTION, Cluster, open_gateway, run_cluster
from bench.harness.processes import CpuMeter
from bench.harness.report import median, show
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchQuery

_FIELDS = {"text": "text", "tag": "keyword", "year": "integer"}
_IN_FLIGHT = 16
_QUERIES = 200
_DEADLINE_MS = 60_000.0  # so long that no answer is partial, however busy the machine is
_WORKERS = 2
_WITHIN_S = 300.0  # for all summaries to be made


@dataclass(slots=True)
class Question:
    """Searches of one kind.

    Attributes:
        name: of the kind.
        query: text of the n-th search, with `{}` for a number.
        filter: of each, with `{}` likewise.
        skipped: how many shards were skipped, on average.
        costs: CPU time in each turn by part, in µs a search: asking all shards, and skipping.
    """

    name: str
    query: str
    filter: str = ""
    skipped: float = 0.0
    costs: tuple[list[dict[str, float]], list[dict[str, float]]] = field(
        default_factory=lambda: ([], [])
    )

    def search(self, number: int) -> SearchQuery:
        """The search with this number."""
        return SearchQuery(
            COLLECTION,
            self.query.format(number),
            filter=self.filter.format(number),
            deadline_ms=_DEADLINE_MS,
            fields=False,
        )

    def to_row(self) -> list[str]:
        """A row of the table: medians, and the median of the ratios of the turns."""
        cells = [self.name, f"{self.skipped:.1f}"]
        for part in self.costs[0][0]:
            before, after = (median(turn[part] for turn in side) for side in self.costs)
            cells.append(f"{before:,.0f} → {after:,.0f}")
        sums = [[sum(turn.values()) for turn in side] for side in self.costs]
        ratios = [after / before for before, after in zip(*sums, strict=True)]
        cells.append(f"{median(sums[0]):,.0f} → {median(sums[1]):,.0f}")
        cells.append(f"{median(ratios):.2f}")
        return cells


def questions() -> list[Question]:
    """What is asked."""
    return [
        Question("a word of one document", "rare{}"),
        Question("a word of one document, and a common one", "+rare{} +common"),
        Question("a word of no document", "absent{}"),
        Question("a common word, with a filter for one document's keyword", "common", "tag:t{}"),
        Question("a common word, with a filter for one document's number", "common", "year:{}"),
        Question("a common word", "common w{}"),
    ]


async def documents(number: int) -> AsyncIterator[bytes]:
    """Yield documents with a few common words, and a word, a keyword and a number of their own."""
    for at in range(number):
        yield (
            b'{"id":"d%d","text":"common w%d w%d rare%d","tag":"t%d","year":%d}\n'
            % (at, at % 97, at % 53, at, at, at)
        )


async def measure(
    gateways: Sequence[Gateway], cluster: Cluster, asked: Sequence[Question], num_turns: int
) -> None:
    """Ask in turns, and note what each question costs."""
    parts = {"gateway": [os.getpid()], **cluster.parts()}
    numbers = itertools.count(1)
    for turn, one in itertools.product(range(num_turns + 1), asked):
        for gateway, costs in zip(gateways, one.costs, strict=True):
            meter = CpuMeter(parts)
            one.skipped = await _ask(gateway, one, numbers)
            if turn:  # the first one warms up
                used = meter.used_s()
                costs.append({part: cpu_s / _QUERIES * 1e6 for part, cpu_s in used.items()})


async def _ask(gateway: Gateway, question: Question, numbers: Iterator[int]) -> float:
    """Ask once; returns how many shards were skipped, on average."""
    left = iter([question.search(next(numbers)) for _ in range(_QUERIES)])
    skipped = 0

    async def call() -> None:
        nonlocal skipped
        for search in left:
            result = await gateway.search(search)
            if not result.coverage.is_full:
                raise RuntimeError(f"{search.query} was answered in part: {result.outcomes}")
            skipped += result.outcomes[Outcome.SKIPPED]

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_IN_FLIGHT):
            tasks.create_task(call())
    return skipped / _QUERIES


async def _until_summarised(gateway: Gateway, num_shards: int) -> None:
    """Wait until a word that no document has needs no shard."""
    async with asyncio.timeout(_WITHIN_S):
        while True:
            query = SearchQuery(COLLECTION, "absent", fields=False, deadline_ms=_DEADLINE_MS)
            found = await gateway.search(query)
            if found.outcomes[Outcome.SKIPPED] == num_shards:
                return
            await asyncio.sleep(1.0)


async def measure_all(arguments: argparse.Namespace) -> list[Question]:
    """Start a cluster, load it, and measure."""
    num_shards, asked = arguments.shards, questions()
    layout = [range(first, num_shards, _WORKERS) for first in range(_WORKERS)]
    with run_cluster(layout) as cluster:
        settings = cluster.settings.gateway
        async with (
            open_gateway(cluster, gateway=settings.model_copy(update={"summary_bytes": 0})) as one,
            open_gateway(cluster) as other,
        ):
            await one.collections.put(COLLECTION, {"fields": _FIELDS, "language": "none"})
            await one.documents.load(COLLECTION, documents(arguments.documents), wait="applied")
            await other.collections.refresh()
            await _until_summarised(other, num_shards)
            await measure((one, other), cluster, asked, arguments.turns)
    return asked


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.skipped", description=__doc__)
    add = parser.add_argument
    add("--shards", type=int, default=64, metavar="N", help="shards of the cluster (64)")
    add("--documents", type=int, default=100_000, metavar="N", help="in the cluster (100000)")
    add("--turns", type=int, default=5, metavar="N", help="of each question (5)")
    arguments = parser.parse_args()
    asked = asyncio.run(measure_all(arguments))
    show(
        f"{arguments.shards} shards on {_WORKERS} workers, {arguments.documents:,} documents; "
        f"{_IN_FLIGHT} in flight; medians of {arguments.turns} turns of {_QUERIES} searches; CPU "
        "in µs a search, asking every shard and skipping",
        ("search", "skipped", "gateway", "Redis", "workers", "scorers", "sum", "ratio"),
        [one.to_row() for one in asked],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
