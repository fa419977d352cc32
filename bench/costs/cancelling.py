"""How soon running work learns that its caller no longer waits for it."""

import asyncio
import itertools
import random
import time
from pathlib import Path
from typing import Final, NamedTuple

from bench.harness.cluster import (
    DEADLINE_MS,
    WATCHING_LANE,
    Cluster,
    connect,
    run_cluster,
    search,
)
from bench.harness.load import quantile
from bench.harness.options import Options
from bench.harness.report import Section, target
from bench.harness.second_phases import NOTE
from hedgerow.common.lifecycle import calm_collector
from hedgerow.gateway.gateway import Gateway

_LIMIT_S: Final = 0.05
_TARGET = 0.999  # of the running parts
_LENGTH: Final = 40  # a 99.9th percentile needs thousands of tasks
_LEAVES_AFTER_S: Final = (0.005, 0.03)
_PAUSE_S: Final = 0.02
_MODES: Final = {"one query at a time": 1, "every scorer busy": 8}


class Heard(NamedTuple):
    """How tasks ended that were running when their caller left.

    Attributes:
        delays_s: from the cancellation of the caller's task until the work saw it.
        num_deaf: tasks that ran to their end without seeing it.
    """

    delays_s: list[float]
    num_deaf: int

    @property
    def share_in_time(self) -> float:
        """The share of the tasks that saw it within the limit."""
        in_time = sum(delay_s <= _LIMIT_S for delay_s in self.delays_s)
        return in_time / max(1, len(self.delays_s) + self.num_deaf)


async def measure(options: Options) -> Section:
    """Cancel queries whose second phase watches its budget, on an idle and on a loaded machine."""
    section = Section(
        title="How soon running work learns that its caller has left",
        load=(
            "Eight shards on four workers; a second phase that computes and checks its budget "
            f"continuously. The gateway cancels each caller after {_LEAVES_AFTER_S[0] * 1e3:g} to "
            f"{_LEAVES_AFTER_S[1] * 1e3:g} ms, drawn at random; the caller asks again "
            f"{_PAUSE_S * 1e3:g} ms later. The delay is measured from the cancellation until the "
            "second phase sees `budget.expired()`, for the parts of a query that were running by "
            "then, on the machine's monotonic clock."
        ),
        columns=(
            "",
            "parts",
            "p50, ms",
            "p99, ms",
            "p99.9, ms",
            "latest, ms",
            f"within {_LIMIT_S * 1000:g} ms",
        ),
        formats=(",.0f", *(".1f",) * 4, ".2%"),
    )
    with run_cluster() as cluster:
        async with connect(cluster) as gateway:
            calm_collector()
            numbers = itertools.count(1)
            for mode, num_callers in _MODES.items():
                heard = await _leave(cluster, gateway, numbers, num_callers, options)
                _add_row(section, mode, heard)
    loaded = section.figures["every scorer busy"]
    aim = target(f"{_TARGET:.1%}", is_met=loaded["share_in_time"] >= _TARGET)
    section.reading = (
        f"With every scorer busy, {loaded['share_in_time']:.2%} of the running parts learn of it "
        f"within {_LIMIT_S * 1000:g} ms {aim}."
    )
    return section


def _add_row(section: Section, mode: str, heard: Heard) -> None:
    quantiles_ms = {
        f"p{share * 100:g}_ms": quantile(heard.delays_s, share) * 1000
        for share in (0.5, 0.99, 0.999, 1.0)
    }
    figures = {
        "num_parts": float(len(heard.delays_s) + heard.num_deaf),
        **quantiles_ms,
        "share_in_time": heard.share_in_time,
    }
    section.add(mode, figures)


async def _leave(
    cluster: Cluster,
    gateway: Gateway,
    numbers: "itertools.count[int]",
    num_callers: int,
    options: Options,
) -> Heard:
    """Have callers ask and leave for a while; returns what their tasks noted."""
    left_at: dict[int, float] = {}
    until = time.monotonic() + options.seconds * _LENGTH
    rng = random.Random(7)

    async def keep_leaving() -> None:
        while time.monotonic() < until:
            number = next(numbers)
            asked = asyncio.ensure_future(search(gateway, f"watch {number}", WATCHING_LANE))
            await asyncio.sleep(rng.uniform(*_LEAVES_AFTER_S))
            left_at[number] = time.monotonic()
            asked.cancel()
            await asyncio.wait([asked])
            await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(*(keep_leaving() for _ in range(num_callers)))
    await asyncio.sleep(DEADLINE_MS / 1000)  # every task has ended by then
    return read_notes(cluster.notes, left_at)


def read_notes(notes: Path, left_at: dict[int, float]) -> Heard:
    """Compare the notes of the second phases with the times when their callers left.

    Args:
        notes: the file that `second_phases.watching` writes.
        left_at: number of the query → when its caller left, on the same clock, in s.
    """
    delays_s, num_deaf = [], 0
    for number, began_at, ended_at, is_told in NOTE.iter_unpack(notes.read_bytes()):
        if number not in left_at or not began_at <= left_at[number]:
            continue  # from another measurement, or not running yet
        if is_told:
            delays_s.append(ended_at - left_at[number])
        else:
            num_deaf += 1
    return Heard(delays_s, num_deaf)
