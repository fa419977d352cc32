"""`python -m bench.gateways`: what a search costs with one gateway process, and with several.

Two clusters, started by `gateway up` without and with `--processes`, are searched in turns, each
while the other is idle. What is counted is the CPU time of all processes of the cluster that is
searched. On a machine with two cores, throughput says nothing about several processes: the scorers,
Redis and the client use both cores.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness.http_load import HttpGateway
from bench.harness.processes import CpuMeter
from bench.harness.report import median, show
from bench.harness.up import Up, load_into, run_up
from bench.search.inside.callers import Verdict, judge
from bench.ties import FIELDS, titles
from hedgerow.gateway.client import AsyncClient

_PARTS = ("gateway", "Redis", "workers", "scorers", "supervisor")
_COLLECTION = "titles"
_IN_FLIGHT = 32
_DEADLINE_MS = 30_000


async def search(http: HttpGateway, number: int) -> None:
    """Search `number` times, with as many searches in flight as there are connections."""
    body = json.dumps({"query": "title:hundredth", "deadline_ms": _DEADLINE_MS}).encode()
    bodies = iter([body] * number)

    async def call() -> None:
        for body in bodies:
            answer = await http.search(_COLLECTION, body)
            if judge(answer) is not Verdict.WHOLE:
                raise RuntimeError(answer[:400].decode(errors="replace"))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_IN_FLIGHT):
            tasks.create_task(call())


async def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, float]]]:
    """Start both clusters, load them, and search them in turns.

    Returns:
        For each of them, the CPU time of a search in each turn, in us by part.
    """
    several = f"{arguments.processes} processes"
    costs: dict[str, list[dict[str, float]]] = {"1 process": [], several: []}
    async with contextlib.AsyncExitStack() as stack:
        clusters: list[tuple[str, Up, HttpGateway]] = []
        for name, options in (
            ("1 process", ()),
            (several, ("--processes", str(arguments.processes))),
        ):
            up = await stack.enter_async_context(run_up(folder / name[0], *options))
            async with AsyncClient(up.url) as client:
                num = arguments.documents
                definition: dict[str, Any] = {"fields": FIELDS, "language": "none"}
                await load_into(client, _COLLECTION, _made_up(num), num, **definition)
            clusters.append((name, up, stack.enter_context(up.http())))
        for turn in range(arguments.turns + 1):
            for name, up, http in clusters:
                meter = CpuMeter(
                    {part: pids for part, pids in up.parts().items() if part in _PARTS}
                )
                await search(http, arguments.searches)
                if turn:  # the first one warms up
                    used_s = meter.used_s()
                    costs[name].append(
                        {part: used / arguments.searches * 1e6 for part, used in used_s.items()}
                    )
    return costs


def _made_up(number: int) -> Iterator[dict[str, Any]]:
    for document_id, document in titles(number):
        yield {"id": document_id, **json.loads(document)}


def to_row(name: str, turns: list[dict[str, float]]) -> list[str]:
    """A row of the table: the medians of the turns."""
    cells = [f"{median([turn[part] for turn in turns]):,.0f}" for part in _PARTS]
    return [name, *cells, f"{median([sum(turn.values()) for turn in turns]):,.0f}"]


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateways", description=__doc__)
    add = parser.add_argument
    add("--processes", type=int, default=2, metavar="N", help="of the second cluster (2)")
    add("--documents", type=int, default=50_000, metavar="N", help="of each cluster (50000)")
    add("--searches", type=int, default=1_000, metavar="N", help="of each turn (1000)")
    add("--turns", type=int, default=7, metavar="N", help="of each cluster (7)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hedgerow-gateways-") as folder:
        costs = asyncio.run(measure(arguments, Path(folder)))
    show(
        f"{arguments.documents:,} titles, k 10 with fields, {_IN_FLIGHT} in flight; CPU in µs a "
        f"search, medians of {arguments.turns} turns of {arguments.searches} searches",
        ("gateway of", *_PARTS, "sum"),
        [to_row(name, turns) for name, turns in costs.items()],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
