"""What the server's append-only file costs, to which request queues are also written."""

import contextlib
import os

from bench.harness.cluster import LOOP_LANE, PROCESS_LANE, Asker, connect, run_cluster
from bench.harness.options import Options
from bench.harness.report import Section
from bench.harness.rounds import turns
from bench.harness.subject import IN_FLIGHT, Subject
from hedgerow.common.lifecycle import calm_collector

_LANES = {LOOP_LANE: "loop lane", PROCESS_LANE: "process lane"}


async def measure(options: Options) -> Section:
    """Compare a server that keeps an append-only file with one that keeps nothing."""
    async with contextlib.AsyncExitStack() as started:
        subjects: dict[tuple[str, bool], Subject] = {}
        for is_durable in (False, True):
            cluster = started.enter_context(run_cluster(is_durable=is_durable))
            gateway = await started.enter_async_context(connect(cluster))
            parts = {"gateway": [os.getpid()], **cluster.parts()}
            for profile, name in _LANES.items():
                asker = Asker(gateway, profile)
                subjects[profile, is_durable] = Subject(name, asker.ask, parts)
        calm_collector()
        for _, subject in turns(subjects.values(), options.num_rounds + 1):
            await subject.measure_together(options.seconds)
            await subject.measure_alone(options.seconds)
    return _section(subjects)


def _section(subjects: dict[tuple[str, bool], Subject]) -> Section:
    section = Section(
        title="The append-only file",
        load=(
            "The embedded cluster's server keeps one, and each push and pop is written to it "
            "(`appendfsync no`; the supervisor makes it durable once a second)."
        ),
        columns=(
            "",
            f"queries/s at {IN_FLIGHT}, without",
            "with",
            "p50 alone, ms, without",
            "with",
            "CPU µs of Redis per query, without",
            "with",
        ),
    )
    told = []
    for profile, name in _LANES.items():
        without, kept = subjects[profile, False], subjects[profile, True]
        row = {
            "queries_per_s": [without.throughput, kept.throughput],
            "alone_p50_ms": [without.alone_ms, kept.alone_ms],
            "redis_us": [without.cpu_of("Redis"), kept.cpu_of("Redis")],
        }
        section.figures[name] = row
        section.rows.append(
            [
                name,
                *(f"{value:,.0f}" for value in row["queries_per_s"]),
                *(f"{value:.2f}" for value in row["alone_p50_ms"]),
                *(f"{value:.0f}" for value in row["redis_us"]),
            ]
        )
        told.append(f"{kept.throughput / without.throughput:.0%} in the {name}")
    section.reading = f"Throughput with the file, of that without: {', '.join(told)}."
    return section
