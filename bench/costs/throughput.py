"""Throughput, latency and CPU time compared with the floor: what a query costs, and which part."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from functools import partial

from bench.harness.cluster import LOOP_LANE, PROCESS_LANE, Asker, connect, run_cluster
from bench.harness.floor import run_floor
from bench.harness.http_load import PythonClient, run_gateway
from bench.harness.load import Load, closed_loop, open_loop
from bench.harness.options import Options
from bench.harness.report import Section, median, target
from bench.harness.rounds import turns
from bench.harness.server import run_server
from bench.harness.subject import IN_FLIGHT, Subject
from hedgerow.common.lifecycle import calm_collector
from hedgerow.gateway.client import AsyncClient

_FLOOR = "floor: one PUBLISH a request"
_LOOP = "Hedgerow, loop lane"
_PROCESS = "Hedgerow, process lane"
# Share of the floor's throughput, and times its median alone, that are to be reached.
_TARGETS = {_LOOP: (0.50, 2.0), _PROCESS: (0.25, 4.0)}


async def measure(options: Options) -> list[Section]:
    """Measure everything in turns; returns three sections."""
    async with _subjects() as subjects:
        calm_collector()  # as the processes of Hedgerow do
        for _ in range(options.num_rounds):
            for subject in subjects:
                await subject.measure_alone(options.seconds)
            for subject in subjects:
                await subject.measure_together(options.seconds)
        for number, subject in turns(subjects, options.num_rounds):
            rate = subject.throughput / 2
            load = await open_loop(subject.ask, rate, options.seconds, seed=number)
            subject.opened.append(load)
    for subject in subjects:
        subject.check()
    return [_throughput(subjects), _open(subjects), _cpu(subjects)]


@contextlib.asynccontextmanager
async def _subjects() -> AsyncIterator[list[Subject]]:
    """Start everything that is compared; while one subject is measured, the others only wait."""
    me = os.getpid()
    async with contextlib.AsyncExitStack() as started:
        subjects = []
        for name, is_batched in ((_FLOOR, False), ("floor: one PUBLISH a pull", True)):
            server = started.enter_context(run_server())
            floor = await started.enter_async_context(run_floor(server, is_batched=is_batched))
            parts = {"gateway": [me], "Redis": [server.pid], "workers": floor.worker_pids}
            subjects.append(Subject(name, floor.ask, parts))
        cluster = started.enter_context(run_cluster())
        gateway = await started.enter_async_context(connect(cluster))
        http = await started.enter_async_context(run_gateway(cluster))
        client = PythonClient(await started.enter_async_context(AsyncClient(http.url)))
        inside = {"gateway": [me], **cluster.parts()}
        outside = {"client": [me], "gateway": [http.pid], **cluster.parts()}
        subjects += [
            Subject(_LOOP, Asker(gateway, LOOP_LANE).ask, inside),
            Subject(_PROCESS, Asker(gateway, PROCESS_LANE).ask, inside),
            Subject(f"{_LOOP}, HTTP", partial(http.ask, LOOP_LANE), outside),
            Subject(f"{_PROCESS}, HTTP", partial(http.ask, PROCESS_LANE), outside),
            Subject(f"{_LOOP}, HTTP, Python client", partial(client.ask, LOOP_LANE), outside),
        ]
        for subject in subjects:
            await closed_loop(subject.ask, IN_FLIGHT, 0.5)  # warms caches and estimates
        yield subjects


def _throughput(subjects: list[Subject]) -> Section:
    floor = subjects[0]
    section = Section(
        title="Throughput and latency, closed loop",
        load=(
            "Eight shards, `noop` (the first 10 ids of each shard, no index), ids and scores "
            f"without fields; one query in flight, and {IN_FLIGHT}. The floor is a bare "
            "scatter-gather over raw hiredis links in the same shape (bench/harness/floor.py). The "
            "client of the HTTP rows runs on the same cores, so its cost is included: it is a bare "
            "exchange of bytes, and in the last row hedgerow.gateway.client."
        ),
        columns=(
            "",
            "queries/s",
            "of the floor",
            f"p50 at {IN_FLIGHT}, ms",
            "p99, ms",
            "p50 alone, ms",
            "times the floor",
            "p99 alone, ms",
        ),
        formats=(",.0f", ".0%", ".2f", ".2f", ".2f", ".1f", ".2f"),
    )
    for subject in subjects:
        figures = {
            "queries_per_s": subject.throughput,
            "share_of_floor": _ratio(subject.together, floor.together, lambda one: one.throughput),
            "p50_ms": _quantile(subject.together, 0.5),
            "p99_ms": _quantile(subject.together, 0.99),
            "alone_p50_ms": subject.alone_ms,
            "alone_times_floor": _ratio(
                subject.alone, floor.alone, lambda one: one.quantile_ms(0.5)
            ),
            "alone_p99_ms": _quantile(subject.alone, 0.99),
        }
        section.add(subject.name, figures)
    section.reading = _against_targets(section.figures)
    return section


def _against_targets(figures: dict[str, dict[str, float]]) -> str:
    sentences = []
    for name, (share, times) in _TARGETS.items():
        has, takes = figures[name]["share_of_floor"], figures[name]["alone_times_floor"]
        fast = target(f"at least {share:.0%}", is_met=has >= share)
        prompt = target(f"at most {times:g}", is_met=takes <= times)
        sentences.append(
            f"{name}: {has:.0%} of the floor's throughput {fast} and {takes:.1f} times its median "
            f"alone {prompt}."
        )
    return " ".join(sentences)


def _open(subjects: list[Subject]) -> Section:
    section = Section(
        title="Latency, open loop",
        load="The same queries, arriving at random (Poisson) at half the throughput of each row.",
        columns=(
            "",
            "arrivals/s",
            "p50, ms",
            "p99, ms",
            "p99.9, ms",
            "sent late, p99, ms",
            "refused",
        ),
        formats=(",.0f", *(".2f",) * 4, ".0f"),
    )
    for subject in subjects:
        figures = {
            "arrivals_per_s": subject.throughput / 2,
            "p50_ms": _quantile(subject.opened, 0.5),
            "p99_ms": _quantile(subject.opened, 0.99),
            "p999_ms": _quantile(subject.opened, 0.999),
            "late_p99_ms": median(load.late_quantile_ms(0.99) for load in subject.opened),
            "refused": subject.num_refused,
        }
        section.add(subject.name, figures)
    section.reading = (
        "A query that was sent late because the loop was busy counts as late: that column is part "
        "of those before it. The last column counts, of all rounds, queries that the gateway "
        "refused because more than it admits had come while the machine stood still."
    )
    return section


def _cpu(subjects: list[Subject]) -> Section:
    parts = ("client", "gateway", "Redis", "workers", "scorers")
    section = Section(
        title=f"CPU per query, by part, with {IN_FLIGHT} in flight",
        load="CPU µs of all threads of a part's processes, divided by the answers.",
        columns=("", *parts, "sum"),
    )
    for subject in subjects:
        row = {part: subject.cpu_of(part) for part in parts if part in subject.cpu_us[0]}
        row["sum"] = sum(row.values())
        section.figures[subject.name] = row
        cells = [f"{row[part]:.0f}" if part in row else "" for part in (*parts, "sum")]
        section.rows.append([subject.name, *cells])
    loop = section.figures[_LOOP]
    first = max((part for part in loop if part != "sum"), key=loop.__getitem__)
    section.reading = (
        f"In the loop lane the {first} take{'s' if first in ('gateway', 'Redis') else ''} most: "
        f"{loop[first] / loop['sum']:.0%} of all CPU."
    )
    return section


def _ratio(loads: list[Load], of: list[Load], figure: Callable[[Load], float]) -> float:
    """The median of the rounds' ratios: a machine that is slow for some seconds slows both."""
    return median(figure(one) / figure(other) for one, other in zip(loads, of, strict=True))


def _quantile(loads: list[Load], share: float) -> float:
    return median(load.quantile_ms(share) for load in loads)
