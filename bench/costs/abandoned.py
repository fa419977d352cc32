"""Callers who leave at once: how much of the work is wasted."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from bench.harness.cluster import BUSY_LANE, Asker, connect, run_cluster, search
from bench.harness.load import closed_loop, open_loop
from bench.harness.options import Options
from bench.harness.report import Section, target
from bench.harness.second_phases import BUSY_S
from hedgerow.common.lifecycle import calm_collector
from hedgerow.gateway.gateway import Gateway

_SHARE_LEAVING = 0.3
_LEAVES_AFTER_S = 0.001
_LENGTH = 20
_SETTLE_S = 1.5  # for the workers' next heartbeats
_TARGET = 0.05
_IN_VAIN = ("stopped", "killed", "late", "unused", "unstoppable")


async def measure(options: Options) -> Section:
    """Load the cluster at half of its capacity, with callers who leave."""
    with run_cluster() as cluster:
        async with connect(cluster) as gateway:
            calm_collector()
            full = await closed_loop(Asker(gateway, BUSY_LANE).ask, 16, options.seconds * 4)
            await asyncio.sleep(_SETTLE_S)
            before = await _ledger(gateway)
            caller = _Caller(gateway)
            await open_loop(caller.ask, full.throughput / 2, options.seconds * _LENGTH, seed=1)
            await asyncio.sleep(_SETTLE_S)
            after = await _ledger(gateway)
    counts, work_us, cpu_us = (
        {end: after[end][name] - before[end][name] for end in after}
        for name in ("count", "work_us", "cpu_us")
    )
    section = Section(
        title="Work for callers who have left",
        load=(
            f"Eight shards; a rank profile that computes for {BUSY_S * 1000:g} ms in each and "
            "checks its budget; Poisson arrivals at half of what the cluster can sustain "
            f"({full.throughput / 2:,.0f}/s). {_SHARE_LEAVING:.0%} of the callers leave after "
            f"{_LEAVES_AFTER_S * 1000:g} ms."
        ),
        columns=("work for a shard", "requests", "time in lanes", "CPU"),
        formats=(",.0f", ".1%", ".1%"),
    )
    for end in after:
        figures = {
            "count": float(counts[end]),
            "share_of_work": _share(work_us, end),
            "share_of_cpu": _share(cpu_us, end),
        }
        section.add(end, figures)
    in_vain = _share(cpu_us, *_IN_VAIN)
    aim = target(f"at most {_TARGET:.0%}", is_met=in_vain <= _TARGET)
    section.reading = (
        f"{in_vain:.1%} of the CPU time {aim} and {_share(work_us, *_IN_VAIN):.1%} of the lanes' "
        f"time went into answers that no caller received; {caller.num_left} of {caller.num_asked} "
        "callers had left."
    )
    return section


def _share(times_us: Mapping[str, int], *ends: str) -> float:
    return sum(times_us[end] for end in ends) / max(1, sum(times_us.values()))


async def _ledger(gateway: Gateway) -> dict[str, dict[str, int]]:
    """The sum of the workers' work accounts."""
    total: dict[str, dict[str, int]] = {}
    workers: list[dict[str, Any]] = (await gateway.status())["workers"]
    for worker in workers:
        for end, sums in worker["ledger"].items():
            row = total.setdefault(end, dict.fromkeys(sums, 0))
            for name, value in sums.items():
                row[name] += value
    return total


class _Caller:
    """Asks, and sometimes leaves before the answer."""

    def __init__(self, gateway: Gateway) -> None:
        self.num_asked = 0
        self.num_left = 0
        self._gateway = gateway
        self._rng = random.Random(3)

    async def ask(self) -> None:
        """One query."""
        self.num_asked += 1
        asked = search(self._gateway, f"busy {self.num_asked}", BUSY_LANE)
        if self._rng.random() < _SHARE_LEAVING:
            self.num_left += 1
            try:
                async with asyncio.timeout(_LEAVES_AFTER_S):
                    await asked
            except TimeoutError:
                return
        else:
            await asked
