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
    """A table in Markdown, without a line's end behind it."""
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
        load: what was done, for how long, how often.
        columns: headings of the table.
        rows: cells of the table, as text.
        reading: what the figures say.
        figures: every figure by name, for JSON.
        plots: SVG by the name of the file beside the document that `reading` shows.
        formats: of the figures that `add` shows, one for each column but the first.
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
        """Add a row: the first figures in the formats of the columns, the others for JSON alone."""
        self.figures[name] = figures
        cells = (
            format(value, form) for value, form in zip(figures.values(), self.formats, strict=False)
        )
        self.rows.append([name if title is None else title, *cells])

    def to_markdown(self) -> str:
        """The section, as its page shows it."""
        shown = table(self.columns, self.rows)
        return f"## {self.title}\n\n{self.load}\n\n{shown}\n\n{self.reading}\n"


class Verdict(NamedTuple):
    """A target: a sentence with the figures, and whether it is reached."""

    text: str
    is_met: bool


def tell_verdicts(verdicts: Iterable[Verdict]) -> str:
    """A line each, in which a missed target stands out."""
    return "".join(
        f"- {one.text}: {'reached' if one.is_met else '**not reached**'}.\n" for one in verdicts
    )


def target(what: str, *, is_met: bool) -> str:
    """A target as a reading names it, in brackets: with whether it is reached."""
    return f"(target: {what}; {'reached' if is_met else '**not reached**'})"


def tell_settings(
    titles: Sequence[str],
    versions: Mapping[str, str],
    settings: Iterable[tuple[str, str, str]],
) -> list[str]:
    """Lines on what was measured: its titles and versions, and each setting with its reason."""
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [f"**{'; '.join(titles)}** — {told}\n"]
    lines += [f"- {name}: {value}. {why[:1].upper()}{why[1:]}." for name, value, why in settings]
    return [*lines, ""]


def plain(text: str) -> str:
    """A message in one line, without what would end the code that it is shown as."""
    return " ".join(text.replace("`", "'").split())


def median(values: Iterable[float]) -> float:
    """The median; nan of none."""
    present = list(values)
    return statistics.median(present) if present else float("nan")


def median_of(ones: Iterable[T], figure: Callable[[T], float]) -> float:
    """The median of a figure of each."""
    return median(figure(one) for one in ones)


def ms(value: float) -> str:
    """A time in ms with three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def loads_of(averages: Iterable[float]) -> str:
    """Load averages, one after another."""
    return ", ".join(f"{one:.1f}" for one in averages)


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
