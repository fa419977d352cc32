"""Draws a collection's curve of coverage against deadline, as one bar per deadline.

The deadlines grow by a constant factor from line to line, since reply times span orders of
magnitude; those that the closing sentence mentions are among them. If the terminal has no block
characters, the bars are ASCII.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from hedgerow.gateway.cli.render import WIDEST, percent

NUM_LINES: Final = 16

_MIN_BAR_WIDTH: Final = 10
_COVERAGE_WIDTH: Final = len("100.0 %")
# A line nearer than this factor to a deadline that must be shown would add nothing.
_SAME: Final = 1.02

Point = tuple[float, float]


def coverage_at(points: Sequence[Point], deadline_ms: float) -> float:
    """Return the coverage by a deadline, interpolated linearly; constant after the last point."""
    for before, after in pairwise([(0.0, 0.0), *points]):
        if after[0] >= deadline_ms:
            span = (deadline_ms - before[0]) / (after[0] - before[0])
            return before[1] + (after[1] - before[1]) * span
    return points[-1][1] if points else 0.0


def deadlines_to_show(points: Sequence[Point], marked_ms: Sequence[float]) -> list[float]:
    """Choose the deadlines that get a line, ascending, in ms.

    From where the coverage begins to grow to where the curve ends, or the last of `marked_ms`.
    """
    first = min(points[0][0], *marked_ms)
    last = max(points[-1][0], *marked_ms)
    factor = max((last / first) ** (1 / (NUM_LINES - 1)), _SAME)
    steps = [first * factor**step for step in range(NUM_LINES)]
    kept = [
        at
        for at in steps
        if at <= last * _SAME
        and all(max(at / marked, marked / at) >= _SAME for marked in marked_ms)
    ]
    return sorted([*kept, *marked_ms])


def sentence(curve: Mapping[str, Any]) -> str:
    """Say in one line how much coverage more time would have given."""
    gain = curve["gain"]
    deadline = f"{curve['deadline_ms']:g} ms"
    if curve["coverage"] is None:
        return "no query has been measured yet"
    if gain is None:
        return f"more time than {deadline} would have given nothing, as far as is known"
    return f"+{math.ceil(gain['extra_ms'])} ms would have given {_short(gain['coverage'])}"


class CurvePicture:
    """A bar for each of some deadlines, and how much more time would have given."""

    def __init__(self, curve: Mapping[str, Any]) -> None:
        """Draw `curve`, the body of GET /v1/collections/NAME/coverage-curve."""
        self._curve = curve
        self._points = [(point["deadline_ms"], point["coverage"]) for point in curve["points"]]
        self._notes = {float(curve["deadline_ms"]): "deadline"}
        if curve["gain"] is not None:
            extra_ms = math.ceil(curve["gain"]["extra_ms"])
            self._notes[curve["deadline_ms"] + extra_ms] = f"+{extra_ms} ms"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw within the available width."""
        if self._points:
            shown = deadlines_to_show(self._points, list(self._notes))
            labels = [_duration(at_ms) for at_ms in shown]
            left = max(map(len, labels))
            right = max(len(note) for note in self._notes.values()) + 1
            taken = left + _COVERAGE_WIDTH + right + 4
            width = max(_MIN_BAR_WIDTH, min(options.max_width, WIDEST) - taken)
            yield _line(f"{'by':>{left}} ").append(f"0{'100 %':>{width}}", style="dim")
            for at_ms, label in zip(shown, labels, strict=True):
                yield self._bar(at_ms, f"{label:>{left}} ", width, is_ascii=options.ascii_only)
        yield Text(sentence(self._curve))

    def _bar(self, at_ms: float, label: str, width: int, *, is_ascii: bool) -> Text:
        coverage = round(coverage_at(self._points, at_ms), 6)
        note = self._notes.get(at_ms, "")
        bound = "|" if is_ascii else "│"
        # Rounded down, so that only full coverage fills the bar.
        bar = ("#" if is_ascii else "█") * math.floor(coverage * width)
        line = _line(label).append(bound, style="dim")
        line.append(f"{bar:<{width}}", style="yellow" if note else "green")
        line.append(bound, style="dim").append(f" {percent(coverage):>{_COVERAGE_WIDTH}}")
        return line.append(f" {note}" if note else "", style="dim")


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="crop")


def _duration(time_ms: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(time_ms)))  # three digits, or a whole number
    return f"{time_ms:.{digits}f} ms"


def _short(share: float) -> str:
    return percent(share).replace(".0 %", " %")
