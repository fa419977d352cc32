"""Figures as tables, sentences and pages."""

import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, without a trailing newline."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(about: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table below the machine, its load average and what was measured."""
    load_average = loads_of(os.getloadavg()[:1])
    shown = table(columns, rows)
    sys.stdout.write(f"{machine()}; load average {load_average}; {about}\n\n{shown}\n")


@dataclass(slots=True)
class Section:
    """One part's results.

    Attributes:
        title: its heading.
        load: what was measured, for how long and how often.
        columns: headings of the table.
        rows: cells of the table, as text.
        reading: what the figures say.
        figures: every figure by name, for JSON.
        plots: SVG by the name of the file beside the document that `reading` shows.
        formats: format specifications for `add`, one for each column but the first.
    """

    title: str
    load: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    reading: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    plots: dict[str, str] = field(default_factory=dict)
    formats: Sequence[str] = ()

    def add(self, name: str, figures: dict[str, float], title: str | None = None) -> None:
        """Add a row that shows the first figures, one a column; the others are in the JSON only."""
        self.figures[name] = figures
        cells = (
            format(value, form) for value, form in zip(figures.values(), self.formats, strict=False)
        )
        self.rows.append([name if title is None else title, *cells])

    def to_markdown(self) -> str:
        """The section as the page shows it."""
        shown = table(self.columns, self.rows)
        return f"## {self.title}\n\n{self.load}\n\n{shown}\n\n{self.reading}\n"


class Verdict(NamedTuple):
    """A target: a sentence with the figures, and whether it was reached."""

    text: str
    is_met: bool


def tell_verdicts(verdicts: Iterable[Verdict]) -> str:
    """A line for each target; the ones that were missed stand out."""
    return "".join(
        f"- {one.text}: {'reached' if one.is_met else '**not reached**'}.\n" for one in verdicts
    )


def target(what: str, *, is_met: bool) -> str:
    """A target in brackets, as a section's reading shows it, and whether it was reached."""
    return f"(target: {what}; {'reached' if is_met else '**not reached**'})"


def tell_settings(
    titles: Sequence[str],
    versions: Mapping[str, str],
    settings: Iterable[tuple[str, str, str]],
) -> list[str]:
    """Titles and versions of what was measured, and each setting with its reason, as lines."""
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [f"**{'; '.join(titles)}** — {told}\n"]
    lines += [f"- {name}: {value}. {why[:1].upper()}{why[1:]}." for name, value, why in settings]
    return [*lines, ""]


def plain(text: str) -> str:
    """A message in one line, with its backquotes replaced, so that it can be shown as code."""
    return " ".join(text.replace("`", "'").split())


def median(values: Iterable[float]) -> float:
    """The median; nan if there are no values."""
    present = list(values)
    return statistics.median(present) if present else float("nan")


def median_of(ones: Iterable[T], figure: Callable[[T], float]) -> float:
    """The median of a figure over all items."""
    return median(figure(one) for one in ones)


def ms(value: float) -> str:
    """A time in ms, with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def loads_of(averages: Iterable[float]) -> str:
    """Load averages, separated by commas."""
    return ", ".join(f"{one:.1f}" for one in averages)


def machine() -> str:
    """The machine that the figures come from, in one line."""
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
