"""What an experiment has found, and whether that is what it claimed."""

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
    """Chosen on the command line.

    Attributes:
        is_quick: one short round of each measurement, to try the lab; no figures that count.
    """

    is_quick: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One part of a claim, against what was measured.

    Attributes:
        what: is compared.
        expected: the signature by arithmetic, with nothing in the way.
        limit: what is asked for; the margin between the two is what a busy machine may cost.
        measured: the figure.
        is_met: the verdict.
    """

    what: str
    expected: str
    limit: str
    measured: str
    is_met: bool


def at_least(what: str, measured: float, limit: float, expected: str, unit: str = "") -> Check:
    """A figure that must not be below `limit`; what could not be measured (nan) is not met."""
    return _check(what, measured, "at least", limit, expected, unit, is_met=measured >= limit)


def at_most(what: str, measured: float, limit: float, expected: str, unit: str = "") -> Check:
    """A figure that must not be above `limit`; what could not be measured (nan) is not met."""
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
    """A figure with the digits that mean something, for people: 1,612, 41.3, 0.072."""
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
        name: of its file, beside the markdown.
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
    """Code as it runs, or what it printed.

    Attributes:
        where: its file and name, in words; or who printed it.
        text: as it is.
        path: of its file, in the repository; empty of what was printed.
        name: of the function or class in it.
    """

    where: str
    text: str
    path: str = ""
    name: str = ""


def code_of(thing: Callable[..., Any] | type) -> Snippet:
    """A function or class as its source has it.

    Args:
        thing: of this repository.
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
        claim: what it is to show.
        set_up: what was run, on what, how often.
        code: the lines that matter.
        columns: headings of the table of figures; no table when empty.
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
        """Whether every part of the claim was seen; one that was not looked at at all was not."""
        return bool(self.checks) and all(check.is_met for check in self.checks)
