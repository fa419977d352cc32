"""`python -m bench.crowd`: 1, 2, 4 and 16 times the callers that `gateway up` can serve.

A cluster started by `gateway up` with its defaults holds short texts, each with a name; queries
have two words and ask for the ten best hits with their fields, with a deadline of 300 ms. Callers
ask one query after another. After a refusal, *patient* callers wait as `Retry-After` says, and
*hasty* ones ask at once. They come from eight addresses. Goodput: whole answers a second within
305 ms.

Clients usually run on other machines. Here they have a core of their own, and the cluster has the
others; with `--cores shared` all of them run on the same cores.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.crowd.cluster import Running, openings, run_cluster, write_queries
from bench.crowd.corpus import read_documents
from bench.crowd.figures import COLUMNS, Load, Round, rows_of, verdicts
from bench.harness.options import add_cores, make_parser
from bench.harness.processes import Cores, CpuMeter
from bench.harness.report import show
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.gateway.client import AsyncClient

_CACHE = Path(__file__).parents[2] / ".bench-search"  # git-ignored; with that of bench.search
_TIMES = (1, 2, 4, 16)
_PATIENT, _HASTY = "patient", "hasty"


def _loads(kinds: Sequence[str], times: Sequence[int]) -> list[Load]:
    loads = [Load(kind, number) for kind in kinds for number in times if number > 1]
    return [Load(_PATIENT, 1), *loads] if 1 in times else loads


async def _measure(arguments: argparse.Namespace) -> None:
    cores = Cores.part(are_shared=arguments.cores == "shared")
    documents = read_documents(arguments.cache)
    folder = arguments.cache / "crowd"
    folder.mkdir(parents=True, exist_ok=True)
    queries = folder / "queries.txt"
    write_queries(documents, queries)
    limit = min(arguments.documents, documents.total)
    measured: dict[Load, list[Round]] = {
        load: [] for load in _loads(arguments.kinds, arguments.times)
    }
    async with run_cluster(folder, documents, limit, cores) as cluster:
        if not arguments.load_only:
            await _round(cluster, Load(_PATIENT, 1), queries, arguments)  # to warm up
        for number in range(0 if arguments.load_only else arguments.rounds):
            for load, rounds in measured.items():
                rounds.append(await _round(cluster, load, queries, arguments))
                sys.stderr.write(f"round {number + 1}, {load.title}: {rounds[-1]}\n")
    _print(arguments, limit, cluster.size, measured)


async def _round(
    cluster: Running, load: Load, queries: Path, arguments: argparse.Namespace
) -> Round:
    async with AsyncClient(cluster.url) as client:
        opened_before = openings(await client.status())
        num_callers = load.times * arguments.callers
        processes = [
            await _start(kind, num_callers, cluster.url, queries, arguments.seconds)
            for kind in (load.kind, "probe")
        ]
        for process in processes:
            assert process.stdout is not None
            await process.stdout.readline()  # it starts counting now
        meter, started = CpuMeter(cluster.parts), time.perf_counter()
        crowd, probe = [await _told_by(process) for process in processes]
        used_s, took_s = meter.used_s(), time.perf_counter() - started
        status = await client.status()
        for process in processes:
            await process.wait()
    # Until the limit has forgotten this load.
    await asyncio.sleep(1.0)
    cores = {name: seconds / took_s for name, seconds in used_s.items()}
    opened = openings(status) - opened_before
    return Round(crowd, probe, cores, status.gateway.admission.limit, opened)


async def _start(
    kind: str, num_callers: int, url: str, queries: Path, seconds: float
) -> asyncio.subprocess.Process:
    address = urlsplit(url)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.crowd.callers",
        kind,
        f"{num_callers}",
        f"{address.hostname}",
        f"{address.port}",
        f"{queries}",
        f"{seconds}",
        stdout=asyncio.subprocess.PIPE,
    )


async def _told_by(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    told: dict[str, Any] = json.loads(await process.stdout.readline())
    return told


def _print(
    arguments: argparse.Namespace, limit: int, size: str, measured: dict[Load, list[Round]]
) -> None:
    show(
        f"cores {arguments.cores}\n{size}; {limit:,} documents; {arguments.callers} callers are "
        f"what it can serve; {arguments.rounds} rounds of {arguments.seconds:g} s",
        COLUMNS,
        rows_of(measured),
    )
    sys.stdout.write("\n" + "".join(f"- {verdict}\n" for verdict in verdicts(measured)))


def main() -> int:
    """Measure; returns the exit status."""
    parser = make_parser("bench.crowd", __doc__, 3, 5.0)
    add = parser.add_argument
    add("--documents", type=int, default=100_000, help="most documents (100000)")
    add("--callers", type=int, default=32, help="how many the cluster can serve (32)")
    add("--times", type=int, nargs="+", default=_TIMES, help="loads, in times of that (1 2 4 16)")
    add("--kinds", nargs="+", choices=(_PATIENT, _HASTY), default=(_PATIENT, _HASTY), help="(both)")
    add_cores(parser)
    add("--cache", type=Path, default=_CACHE, help="for the documents and the loaded cluster")
    add("--load-only", action="store_true", help="load the documents, and measure nothing")
    arguments = parser.parse_args()
    configure_logging("error", "console")
    asyncio.run(_measure(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
