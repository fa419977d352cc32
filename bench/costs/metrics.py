"""What metrics cost: each search, and a scrape."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import Final
from unittest import mock

from bench.harness.cluster import LOOP_LANE, Asker, connect, run_cluster
from bench.harness.load import closed_loop
from bench.harness.options import Options
from bench.harness.report import Section, median, target
from bench.harness.subject import IN_FLIGHT, Subject
from hedgerow.common.lifecycle import calm_collector
from hedgerow.common.metrics.exposition import TextFormat
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.metrics.search_recorder import SearchRecorder
from hedgerow.gateway.search.ended_search import EndedSearch
from hedgerow.gateway.search.result import SearchQuery, SearchResult

_WITHOUT: Final = "no metrics"
_WITH: Final = "metrics"
_TARGET: Final = 0.03  # of the CPU of a search
_NUM_SCRAPES: Final = 20


class Silent(SearchRecorder):
    """Records nothing."""

    def answered(self, query: SearchQuery, profile: str, result: SearchResult) -> None:
        """Do nothing."""

    def on_end(self, ended: EndedSearch) -> None:
        """Do nothing."""


async def measure(options: Options) -> Section:
    """Ask two gateways to one cluster in turns, of which one records its searches."""
    async with _subjects() as (subjects, gateway):
        calm_collector()
        for number in range(options.num_rounds):
            # The first of a round may find the machine in another state than the second.
            for subject in subjects if number % 2 else reversed(subjects):
                await subject.measure_together(options.seconds)
        scrapes = [await _scrape(gateway) for _ in range(_NUM_SCRAPES)]
    section = Section(
        title="Metrics",
        load=(
            "The loop lane as above, in turns: a gateway that records its searches for `/metrics`, "
            f"and one that does not; {IN_FLIGHT} queries in flight. CPU is that of all processes."
        ),
        columns=("", "queries/s", "CPU a query, µs", "of these in the gateway", "CPU, ratio"),
        formats=(",.0f", ".1f", ".1f", ".3f"),
    )
    sums = {one.name: [sum(used.values()) for used in one.cpu_us] for one in subjects}
    for subject in subjects:
        ratios = zip(sums[subject.name], sums[_WITHOUT], strict=True)
        figures = {
            "queries_per_s": subject.throughput,
            "cpu_us": median(sums[subject.name]),
            "gateway_us": subject.cpu_of("gateway"),
            "ratio": median(one / other for one, other in ratios),
        }
        section.add(subject.name, figures)
    more = section.figures[_WITH]["ratio"] - 1
    aim = target(f"at most {_TARGET:.0%}", is_met=more <= _TARGET)
    cpu_ms, longest_ms, num_lines = (median(column) for column in zip(*scrapes, strict=True))
    section.reading = (
        f"Metrics take {more:.1%} more CPU a query {aim}. A scrape of this gateway and its four "
        f"workers, of {num_lines:,.0f} lines, takes {cpu_ms:.1f} ms of CPU in the gateway, and "
        f"holds its event loop for {longest_ms:.1f} ms at most."
    )
    return section


@contextlib.asynccontextmanager
async def _subjects() -> AsyncIterator[tuple[list[Subject], Gateway]]:
    with run_cluster() as cluster:
        parts = {"gateway": [os.getpid()], **cluster.parts()}
        async with contextlib.AsyncExitStack() as started:
            with mock.patch("hedgerow.gateway.parts.SearchRecorder", Silent):
                without = await started.enter_async_context(connect(cluster))
            recording = await started.enter_async_context(connect(cluster))
            subjects = [
                Subject(_WITHOUT, Asker(without, LOOP_LANE).ask, parts),
                Subject(_WITH, Asker(recording, LOOP_LANE).ask, parts),
            ]
            for subject in subjects:
                await closed_loop(subject.ask, IN_FLIGHT, 0.5)
            yield subjects, recording


async def _scrape(gateway: Gateway) -> tuple[float, float, float]:
    """CPU of a scrape and the longest that it holds the loop, in ms; and how many lines it has."""
    longest_s, is_over = 0.0, False

    async def watch() -> None:
        nonlocal longest_s
        while not is_over:
            began = time.perf_counter()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.perf_counter() - began)

    # The watch itself computes all the time: what the scrape takes is measured without it.
    began_s = time.process_time()
    text = await gateway.metrics_text(TextFormat.OPENMETRICS, [])
    cpu_s = time.process_time() - began_s
    watching = asyncio.create_task(watch())
    await gateway.metrics_text(TextFormat.OPENMETRICS, [])
    is_over = True
    await watching
    return cpu_s * 1000, longest_s * 1000, float(text.count(b"\n"))
