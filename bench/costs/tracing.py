"""What traces cost: a query's CPU without them, and with a hundredth of them kept."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench.harness.cluster import LOOP_LANE, Asker, connect, run_cluster
from bench.harness.load import closed_loop
from bench.harness.options import Options
from bench.harness.report import Section, median, target
from bench.harness.subject import IN_FLIGHT, Subject
from bench.harness.trace_sink import run_trace_sink
from hedgerow.common.lifecycle import calm_collector
from hedgerow.common.settings.tracing import TracingSettings

_OFF: Final = "off"
_ON: Final = "1 % sampled"
_OFF_AGAIN: Final = "off, another gateway"
_TARGET: Final = 0.03  # at 1 %, more CPU than without
_PARTS: Final = ("gateway", "Redis", "workers", "scorers")


async def measure(options: Options) -> Section:
    """Ask three gateways to one cluster in turns, of which one traces."""
    async with _subjects() as subjects:
        calm_collector()
        for number in range(options.num_rounds):
            # The first of a round may find the machine in another state than the last.
            for subject in subjects if number % 2 else reversed(subjects):
                await subject.measure_together(options.seconds)
    return _section(subjects)


# One cluster, since two clusters of the same kind differ by up to 3 %, which is as much as is to be
# found. A search without a function of the user's is the same to workers, traced or not.
@contextlib.asynccontextmanager
async def _subjects() -> AsyncIterator[list[Subject]]:
    async with contextlib.AsyncExitStack() as started:
        url = started.enter_context(run_trace_sink())
        variables = {"HEDGEROW_TRACING__ENABLED": "true", "HEDGEROW_TRACING__ENDPOINT": url}
        cluster = started.enter_context(run_cluster(environment=partial(_same, variables)))
        parts = {"gateway": [os.getpid()], **cluster.parts()}
        subjects = []
        names = (_OFF, _ON, _OFF_AGAIN)
        # What a gateway may keep and does not, it may keep a little later. So in its turn, which is
        # a third of the time, it keeps as many a second as one does that is asked all the time.
        most = TracingSettings().max_traces_per_second / len(names)
        for name in names:
            tracing = TracingSettings(
                enabled=name == _ON, endpoint=url, sample_rate=0.01, max_traces_per_second=most
            )
            gateway = await started.enter_async_context(connect(cluster, tracing=tracing))
            subjects.append(Subject(name, Asker(gateway, LOOP_LANE).ask, parts))
        for subject in subjects:
            await closed_loop(subject.ask, IN_FLIGHT, 0.5)
        yield subjects


def _same(variables: Mapping[str, str], _: Path) -> Mapping[str, str]:
    return variables


def _section(subjects: list[Subject]) -> Section:
    off, on, again = subjects
    section = Section(
        title="Traces",
        load=(
            "Eight shards, the loop lane, ids and scores without fields, "
            f"{IN_FLIGHT} queries in flight: three gateways to one cluster, whose workers trace, "
            "in turns. CPU µs of all threads of a part's processes, divided by the answers. The "
            "receiver is a process of its own, which is not counted; the thread that sends the "
            "spans is the gateway's. `more CPU` is the median of the rounds' ratios."
        ),
        columns=("", *_PARTS, "sum", "more CPU", "queries/s"),
    )
    for subject in subjects:
        more = _more(subject, off)
        row = {part: subject.cpu_of(part) for part in _PARTS}
        row["sum"] = sum(row.values())
        section.figures[subject.name] = row | {"more": more, "queries_per_s": subject.throughput}
        section.rows.append(
            [
                subject.name,
                *(f"{row[part]:.0f}" for part in (*_PARTS, "sum")),
                "" if subject is off else f"{more:+.1%}",
                f"{subject.throughput:,.0f}",
            ]
        )
    # Between the two that do not trace, since each round's first and last trade places.
    more = median((_more(on, off), _more(on, again)))
    aim = target(f"at most {_TARGET:.0%}", is_met=more <= _TARGET)
    section.reading = (
        f"With a hundredth of the traces kept, a query takes {more:+.1%} of CPU {aim}, against the "
        "mean of the two gateways without; what is kept by its outcome comes on top of that. How "
        "far those two are apart says how exact this is."
    )
    return section


def _more(subject: Subject, other: Subject) -> float:
    """How much more CPU a query takes, as a share."""
    return median(
        sum(used.values()) / sum(without.values()) - 1
        for used, without in zip(subject.cpu_us, other.cpu_us, strict=True)
    )
