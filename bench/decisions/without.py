"""`python -m bench.decisions.without`: what an optimisation of the gateway saves.

A cluster as `gateway up` makes it, with its defaults, serves two more gateways: an unchanged one,
and one in which the named optimisation is switched off. Both are asked over HTTP in turns, with one
search in flight and with 32, for the ten best hits of two words, with their fields. CPU time is
that of the gateway that is asked, Redis, the worker and its scorers, and hardly depends on what
else the machine does.

The first argument names the optimisation, a function in this file. `nothing` compares two identical
gateways, which shows how much chance contributes.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import runpy
import selectors
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.crowd.cluster import write_queries
from bench.crowd.corpus import read_documents
from bench.harness.http_load import HttpGateway, serve
from bench.harness.load import closed_loop
from bench.harness.processes import descendants
from bench.harness.report import median, show
from bench.harness.rounds import say
from bench.harness.subject import Subject
from bench.search.inside.callers import Verdict, body_of, judge
from bench.search.inside.hedgerow_up import COLLECTION, load
from bench.search.inside.serving import Task
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.common.settings.settings import load_settings
from hedgerow.gateway.client import AsyncClient
from hedgerow.gateway.http.protocol.response_head import CLOSE, STATUS_LINES
from hedgerow.gateway.http.search.search_exchange import SearchExchange
from hedgerow.gateway.local.cluster import LocalCluster
from hedgerow.gateway.local.cluster_options import ClusterOptions
from hedgerow.gateway.local.programs import GATEWAY
from hedgerow.gateway.transport.wake_up_coalescing import CoalescingSelector

_CACHE = Path(__file__).parents[2] / ".bench-search"  # git-ignored; with that of bench.search
_IN_FLIGHT = (1, 32)
_WARM_UP_S = 0.2
_SERVE = "serve-without"  # as the first argument: run a gateway


def nothing() -> None:
    """Switch nothing off."""


def coalesced_wakeups() -> None:
    """Handle replies as soon as they arrive, however many queries are in flight."""
    CoalescingSelector.select = selectors.DefaultSelector.select  # type: ignore[method-assign]


def joined_answers() -> None:
    """Write the head of an answer and its body separately (`gateway.http`)."""
    SearchExchange._send = _send_in_two  # type: ignore[method-assign]


def _send_in_two(self: SearchExchange, status: int, fields: bytes, body: bytes) -> None:
    wire = self._wire
    ending = b"\r\n" if self.keep_alive else CLOSE + b"\r\n"
    wire.writing.write(b"".join((STATUS_LINES[status], wire.date_line(), fields, ending)))
    wire.writing.write(body)
    self.has_begun = self.is_complete = True
    wire.end_answer()


_KNOWN: dict[str, Callable[[], None]] = {
    one.__name__: one for one in (nothing, coalesced_wakeups, joined_answers)
}


class NotWholeError(Exception):
    """An answer is partial, or the search was refused."""


async def _measure(arguments: argparse.Namespace, folder: Path) -> tuple[str, list[list[str]]]:
    """A description of what was searched, and the rows of the table."""
    documents = read_documents(arguments.cache)
    limit = min(arguments.documents, documents.total)
    cluster = LocalCluster(
        ClusterOptions(data=folder / "data", port=0), load_settings(), lambda _: None
    )
    try:
        await cluster.start()
        async with AsyncClient(cluster.url) as client:
            await load(client, Task(folder, documents.path, limit, [], 0, []))
        write_queries(documents, folder / "queries.txt")
        queries = (folder / "queries.txt").read_text(encoding="utf-8").splitlines()
        bodies = itertools.cycle([body_of(text, 10, has_fields=True) for text in queries])
        async with contextlib.AsyncExitStack() as stack:
            sides = []
            for name in ("nothing", arguments.optimisation):
                command = ("bench.decisions.without", _SERVE, name, "serve")
                served = serve(*command, redis_url=cluster.redis_url, environment=os.environ)
                http = await stack.enter_async_context(served)
                ask = partial(_ask, http, bodies)
                parts = _parts(cluster, http.pid)
                sides.append({count: Subject(name, ask, parts, count) for count in _IN_FLIGHT})
            await asyncio.sleep(1.0)  # for them to read the workers' heartbeats
            for number in range(arguments.turns):
                for in_flight in _IN_FLIGHT:
                    for side in sides if number % 2 else reversed(sides):
                        await closed_loop(side[in_flight].ask, in_flight, _WARM_UP_S)
                        await side[in_flight].measure_together(arguments.seconds)
                say("without", f"turn {number + 1} of {arguments.turns}")
    finally:
        await cluster.stop()
    rows = [_row(*(side[in_flight] for side in sides)) for in_flight in _IN_FLIGHT]
    return f"{cluster.sizing}; {limit:,} documents", rows


def _parts(cluster: LocalCluster, gateway: int) -> dict[str, list[int]]:
    pids = {line.name: line.pid for line in cluster.processes() if line.pid}
    workers = [pid for name, pid in pids.items() if name not in (GATEWAY, "redis")]
    others = [pids["redis"], *workers, *(pid for one in workers for pid in descendants(one))]
    return {"gateway": [gateway], "others": others}


async def _ask(http: HttpGateway, bodies: "itertools.cycle[bytes]") -> None:
    if judge(await http.search(COLLECTION, next(bodies))) is not Verdict.WHOLE:
        raise NotWholeError


def _row(with_it: Subject, without: Subject) -> list[str]:
    sides = (with_it, without)
    return [
        str(with_it.in_flight),
        _compared([[load.throughput for load in side.together] for side in sides], ",.0f"),
        _compared([[load.quantile_ms(0.5) for load in side.together] for side in sides], ".3g"),
        _compared([[used["gateway"] for used in side.cpu_us] for side in sides], ",.0f"),
        _compared([[sum(used.values()) for used in side.cpu_us] for side in sides], ",.0f"),
        str(sum(load.num_failed for side in sides for load in side.together)),
    ]


def _compared(sides: Sequence[Sequence[float]], form: str) -> str:
    """Medians with and without, and the median and interquartile range of the turns' ratios."""
    ratios = sorted(without / with_it for with_it, without in zip(*sides, strict=True))
    middle = median(ratios) - 1
    quarter = len(ratios) // 4
    spread = f"{ratios[quarter] - 1:+.1%} … {ratios[-1 - quarter] - 1:+.1%}"
    return f"{median(sides[0]):{form}} → {median(sides[1]):{form}} ({middle:+.1%}; {spread})"


def main() -> int:
    """Measure, or run one of the gateways; returns the exit status."""
    if sys.argv[1:2] == [_SERVE]:
        _KNOWN[sys.argv[2]]()
        sys.argv[:] = ["gateway", *sys.argv[3:]]
        runpy.run_module("hedgerow.gateway.cli.main", run_name="__main__")
        return 0
    parser = argparse.ArgumentParser(prog="python -m bench.decisions.without", description=__doc__)
    add = parser.add_argument
    add("optimisation", choices=_KNOWN, help="what is switched off")
    add("--turns", type=int, default=9, metavar="N", help="of each side (9)")
    add("--seconds", type=float, default=1.0, help="of each measurement (1)")
    add("--documents", type=int, default=50_000, metavar="N", help="most documents (50000)")
    add("--cache", type=Path, default=_CACHE, help="folder of the documents' texts")
    arguments = parser.parse_args()
    configure_logging("error", "console")
    with tempfile.TemporaryDirectory(prefix="hedgerow-without-") as folder:
        searched, rows = asyncio.run(_measure(arguments, Path(folder)))
    show(
        f"{searched}; {arguments.turns} turns of {arguments.seconds:g} s; medians with it → "
        "without it (median of the turns' ratios; the middle half of them)",
        ("in flight", "answers/s", "p50, ms", "gateway's CPU, µs", "all CPU, µs", "not whole"),
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
