"""The result of an experiment, and whether it is what the experiment claims."""

import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness.plots import paint_svg

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Options:
    """What is chosen on the command line.

    Attributes:
        is_quick: whether each measurement is one short round, to try the lab; the figures do not
            count.
    """

    is_quick: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One part of a claim, compared with what was measured.

    Attributes:
        what: what is compared.
        expected: the figure by arithmetic, without disturbances.
        limit: what is required; the margin between the two allows for a busy machine.
        measured: the figure that was measured.
        is_met: the verdict.
    """

    what: str
    expected: str
    limit: str
    measured: str
    is_met: bool


def at_least(what: str, measured: float, limit: float, expected: str, unit: str = "") -> Check:
    """A figure that must not be below `limit`; a figure that is missing (nan) fails."""
    return _check(what, measured, "at least", limit, expected, unit, is_met=measured >= limit)


def at_most(what: str, measured: float, limit: float, expected: str, unit: str = "") -> Check:
    """A figure that must not be above `limit`; a figure that is missing (nan) fails."""
    return _check(what, measured, "at most", limit, expected, unit, is_met=measured <= limit)


def exactly(what: str, measured: object, wanted: object) -> Check:
    """A count or state that has no margin."""
    return Check(what, str(wanted), "exactly that", str(measured), measured == wanted)


def _check(
    what: str, measured: float, how: str, limit: float, expected: str, unit: str, *, is_met: bool
) -> Check:
    return Check(
        what, expected, f"{how} {number(limit)}{unit}", f"{number(measured)}{unit}", is_met
    )


def number(value: float) -> str:
    """A figure with three significant digits, for people: 1,612, 41.3, 0.072."""
    if not math.isfinite(value):
        return "—"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture.

    Attributes:
        name: of its file, next to the Markdown file.
        alt: what it shows, in words.
        svg: an SVG document.
    """

    name: str
    alt: str
    svg: str


def draw(
    name: str, alt: str, paint: Callable[[Any], None], *, columns: int = 1, height_in: float = 3.6
) -> Plot:
    """Draw a picture of an experiment; see `bench.harness.plots.paint_svg`."""
    svg = paint_svg(name, paint, "make lab", columns=columns, size_in=(8.0, height_in))
    return Plot(f"lab-{name}.svg", alt, svg)


@dataclass(frozen=True, slots=True)
class Snippet:
    """Code, or its output.

    Attributes:
        where: its file and name in words, or what printed it.
        text: of the code or the output.
        path: of the file in the repository; empty for output.
        name: of the function or class in the file.
    """

    where: str
    text: str
    path: str = ""
    name: str = ""


def code_of(thing: Callable[..., Any] | type) -> Snippet:
    """The source of a function or class.

    Args:
        thing: a function or class of this repository.
    """
    source = Path(inspect.getsourcefile(thing) or "").resolve()
    path, name = source.relative_to(_ROOT).as_posix(), thing.__qualname__
    text = textwrap.dedent(inspect.getsource(thing)).rstrip()
    return Snippet(f"{path}, `{name}`", text, path, name)


@dataclass(slots=True)
class Finding:
    """One experiment's result.

    Attributes:
        name: by which `make lab ONLY=` runs it.
        claim: what it is meant to show.
        set_up: what was run, on what and how often.
        code: the code that matters.
        columns: headings of the table of figures; empty for no table.
        rows: its cells.
        checks: the claim's parts with their verdicts.
        plots: the pictures.
        reading: what the figures and pictures say.
    """

    name: str
    title: str
    claim: str
    set_up: str
    code: Sequence[Snippet]
    columns: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    reading: str = ""

    @property
    def is_met(self) -> bool:
        """Whether every part of the claim was seen, and there is at least one."""
        return bool(self.checks) and all(check.is_met for check in self.checks)
