"""`python -m bench.decisions.without`: what an optimisation of the gateway saves.

A cluster as `gateway up` makes it, with its defaults, serves two gateways more: one as it is, and
one in which the named optimisation is switched off. Both are asked over HTTP in turns, with one
search in flight and with 32, for the ten best of two words with their fields. CPU is that of the
gateway that is asked, Redis, the worker and its scorers, so that it hardly depends on what else
the machine does.

The first argument names the optimisation, a function in this file. `nothing` compares two gateways
that are the same, which shows what difference chance makes.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import runpy
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.crowd.cluster import write_queries
from bench.crowd.corpus import read_documents
from bench.harness.http_load import HttpGateway, follow
from bench.harness.processes import CpuMeter, descendants
from bench.harness.report import machine, median
from bench.search.inside.callers import Verdict, body_of, judge
from bench.search.inside.hedgerow_up import COLLECTION, load
from bench.search.inside.serving import Task
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.common.settings.settings import load_settings
from hedgerow.gateway.client import AsyncClient
from hedgerow.gateway.http.protocol.response_head import CLOSE, STATUS_LINES
from hedgerow.gateway.http.search.search_exchange import SearchExchange
from hedgerow.gateway.local.cluster import GATEWAY, ClusterOptions, LocalCluster
from hedgerow.gateway.transport.wake_up_coalescing import CoalescingSelector

_CACHE = Path(__file__).parents[2] / ".bench-search"  # git-ignored; with that of bench.search
_IN_FLIGHT = (1, 32)
_WARM_UP_S = 0.2
_SERVE = "serve-without"  # as the first argument: run a gateway


def nothing() -> None:
    """Switch nothing off."""


def coalesced_wakeups() -> None:
    """Handle what arrives at once, however many queries are in flight."""
    CoalescingSelector.select = selectors.DefaultSelector.select  # type: ignore[method-assign]


def joined_answers() -> None:
    """Write the head of an answer and its body one after the other (`gateway.http`)."""
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


@dataclass(frozen=True, slots=True)
class Turn:
    """What one gateway did in one turn.

    Attributes:
        per_s: whole answers a second.
        p50_ms: the median of their times.
        gateway_us: the gateway's CPU a search.
        all_us: that of all parts.
        num_other: answers that were partial or refused.
    """

    per_s: float
    p50_ms: float
    gateway_us: float
    all_us: float
    num_other: int


async def _measure(arguments: argparse.Namespace, folder: Path) -> str:
    documents = read_documents(arguments.cache)
    limit = min(arguments.documents, documents.total)
    cluster = LocalCluster(
        ClusterOptions(data=folder / "data", port=0), load_settings(), lambda _: None
    )
    turns: dict[tuple[int, str], list[Turn]] = {}
    try:
        await cluster.start()
        async with AsyncClient(cluster.url) as client:
            await load(client, Task(folder, documents.path, limit, [], 0, []))
        write_queries(documents, folder / "queries.txt")
        queries = (folder / "queries.txt").read_text(encoding="utf-8").splitlines()
        bodies = itertools.cycle([body_of(text, 10, has_fields=True) for text in queries])
        names = ("nothing", arguments.optimisation)
        async with contextlib.AsyncExitStack() as stack:
            gateways = [
                await stack.enter_async_context(_gateway(name, cluster.redis_url)) for name in names
            ]
            sides = list(zip(("with", "without"), gateways, strict=True))
            for number in range(arguments.turns):
                for in_flight in _IN_FLIGHT:
                    for side, http in sides if number % 2 else reversed(sides):
                        await _ask(http, bodies, in_flight, _WARM_UP_S)
                        meter = CpuMeter(_parts(cluster, http.pid))
                        told = await _ask(http, bodies, in_flight, arguments.seconds)
                        turn = _turn(told, arguments.seconds, meter.used_s())
                        turns.setdefault((in_flight, side), []).append(turn)
                        sys.stderr.write(f"{number + 1} {in_flight:2} {side}: {turn}\n")
    finally:
        await cluster.stop()
    return f"{cluster.sizing}; {limit:,} documents\n\n{_table(turns)}"


def _parts(cluster: LocalCluster, gateway: int) -> dict[str, list[int]]:
    pids = {line.name: line.pid for line in cluster.processes() if line.pid}
    workers = [pid for name, pid in pids.items() if name not in (GATEWAY, "redis")]
    others = [pids["redis"], *workers, *(pid for one in workers for pid in descendants(one))]
    return {"gateway": [gateway], "others": others}


@contextlib.asynccontextmanager
async def _gateway(name: str, redis_url: str) -> AsyncIterator[HttpGateway]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.decisions.without",
        _SERVE,
        name,
        "serve",
        "--port",
        "0",
        "--redis",
        redis_url,
        env={**os.environ, "HEDGEROW_LOG_LEVEL": "info", "HEDGEROW_LOG_FORMAT": "json"},
        stderr=subprocess.PIPE,
    )
    async with follow(process) as (host, port):
        http = HttpGateway(host, port, process.pid)
        await asyncio.sleep(1.0)  # until it has read what workers say of themselves
        try:
            yield http
        finally:
            http.close()


async def _ask(
    http: HttpGateway, bodies: "itertools.cycle[bytes]", in_flight: int, seconds: float
) -> tuple[list[float], int]:
    """The times of whole answers, in s, and how many others there were."""
    times: list[float] = []
    num_other = 0
    ends_at = time.perf_counter() + seconds

    async def call() -> None:
        nonlocal num_other
        while (began_at := time.perf_counter()) < ends_at:
            if judge(await http.search(COLLECTION, next(bodies))) is Verdict.WHOLE:
                times.append(time.perf_counter() - began_at)
            else:
                num_other += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(call())
    return times, num_other


def _turn(told: tuple[list[float], int], seconds: float, used_s: dict[str, float]) -> Turn:
    times, num_other = told
    number = len(times) + num_other
    return Turn(
        len(times) / seconds,
        median(times) * 1e3,
        used_s["gateway"] / number * 1e6,
        sum(used_s.values()) / number * 1e6,
        num_other,
    )


def _table(turns: dict[tuple[int, str], list[Turn]]) -> str:
    heads = ("in flight", "answers/s", "p50, ms", "gateway's CPU, µs", "all CPU, µs", "not whole")
    lines = [heads, ["---"] * len(heads)]
    for in_flight in _IN_FLIGHT:
        with_it, without = turns[in_flight, "with"], turns[in_flight, "without"]
        cells = [str(in_flight)]
        for name, form in (
            ("per_s", ",.0f"),
            ("p50_ms", ".3g"),
            ("gateway_us", ",.0f"),
            ("all_us", ",.0f"),
        ):
            cells.append(
                _compared(
                    [[getattr(one, name) for one in side] for side in (with_it, without)], form
                )
            )
        cells.append(str(sum(one.num_other for one in (*with_it, *without))))
        lines.append(cells)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _compared(sides: Sequence[Sequence[float]], form: str) -> str:
    """Medians with and without; and the median and the range of the turns' ratios."""
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
        found = asyncio.run(_measure(arguments, Path(folder)))
    sys.stdout.write(f"{machine()}; load average {os.getloadavg()[0]:.1f}\n")
    sys.stdout.write(f"{arguments.turns} turns of {arguments.seconds:g} s; medians with it → ")
    sys.stdout.write("without it (median of the turns' ratios; the middle half of them)\n")
    sys.stdout.write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
