"""Figures as a table for docs/benchmarks.md and as JSON."""

import datetime as dt
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Section:
    """One part's results.

    Attributes:
        title: its heading.
        load: what was done, for how long, how often.
        columns: headings of the table.
        rows: cells of the table, as text.
        reading: what the figures say.
        figures: every figure by name, for JSON.
        plots: SVG by the name of the file beside the document that `reading` shows.
    """

    title: str
    load: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    reading: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    plots: dict[str, str] = field(default_factory=dict)

    def to_markdown(self) -> str:
        """The section, as docs/benchmarks.md shows it."""
        table = [self.columns, ["---"] * len(self.columns), *self.rows]
        lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
        return f"## {self.title}\n\n{self.load}\n\n{lines}\n\n{self.reading}\n"


def target(what: str, *, is_met: bool) -> str:
    """A target as a reading names it, in brackets: with whether it is reached."""
    return f"(target: {what}; {'reached' if is_met else '**not reached**'})"


def plain(text: str) -> str:
    """A message in one line, without what would end the code that it is shown as."""
    return " ".join(text.replace("`", "'").split())


def median(values: Iterable[float]) -> float:
    """The median; nan of none."""
    present = list(values)
    return statistics.median(present) if present else float("nan")


def machine() -> str:
    """What it was measured on, in a line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores ({model}), {memory_gb:.0f} GB, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


_INTRODUCTION = """# Benchmarks

Written by the benchmark itself; to repeat, on a machine that does nothing else:

    {command}

Measured on {date}, on {machine}; load average over 5 minutes at the start: {load_average:.2f}.
{rounds} short rounds; what is compared was run in turns (A B C, A B C, …), and each figure is the
median of the rounds. Gateway and load share a process unless a row says otherwise, so the load's
own price is in the gateway's figures. Latencies of the open loop count from when a query was due.
Search in [other engines](search-bench.md) is measured by `make bench-search`; `gateway up` with
[more callers than it can answer](operations.md#overload) by `make bench-crowd`; one key beside
[another key's overload](operations.md#keys-and-fair-shares) by `make bench-keys`; and
[what people would pick instead](peers.md) beside Hedgerow by `make bench-peers`; its table, its
targets and the settings are on that page, and this is how many queries a second each answers with
32 in flight, and how long one takes that is alone:

![Queries a second, and the median alone, of Hedgerow and of the others](peers.svg)

"""


def to_markdown(
    sections: Iterable[Section], command: str, num_rounds: int, load_average: float
) -> str:
    """The whole document."""
    introduction = _INTRODUCTION.format(
        command=command,
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine(),
        load_average=load_average,
        rounds=num_rounds,
    )
    return introduction + "\n".join(section.to_markdown() for section in sections)
