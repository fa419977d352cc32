"""Draws each shard's part of a query to scale: queue, lane, work, reply.

Each kind of segment has its own character, so that the picture needs no colour. If the terminal
has no block characters, it is drawn in ASCII.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.cli.render import WIDEST, plain, styled
from hedgerow.gateway.client import SearchAnswer, ShardDetail


class Kind(NamedTuple):
    """A kind of segment."""

    name: str
    sign: str
    ascii_sign: str
    style: str


QUEUE: Final = Kind("queue", "░", ".", "cyan")
LANE: Final = Kind("lane", "▒", ":", "blue")
WORK: Final = Kind("work", "█", "#", "green")
REPLY: Final = Kind("reply", "─", "-", "magenta")
SILENCE: Final = Kind("no reply", "╌", "~", "red")
KINDS: Final = (QUEUE, LANE, WORK, REPLY, SILENCE)

_OUTCOME_WIDTH: Final = max(len(outcome) for outcome in Outcome)
_TOOK_WIDTH: Final = 9
_BREAKER_WIDTH: Final = len("forced_open")
_MIN_BAR_WIDTH: Final = 10


def segments(detail: ShardDetail) -> list[tuple[Kind, int]]:
    """Split the time that a shard took into segments, in order, in µs.

    What the worker's own times leave over is the way there and back, and the gateway's handling.
    Without a reply, all of the time is one segment.
    """
    known = detail.queue_us + detail.lane_us + detail.work_us
    if not known:
        kind = REPLY if detail.outcome is Outcome.OK else SILENCE
        return [(kind, detail.took_us)] if detail.took_us else []
    parts = [
        (QUEUE, detail.queue_us),
        (LANE, detail.lane_us),
        (WORK, detail.work_us),
        (REPLY, max(0, detail.took_us - known)),
    ]
    return [(kind, time_us) for kind, time_us in parts if time_us > 0]


def scale_us(details: Sequence[ShardDetail], deadline_us: float) -> float:
    """Choose the time that the bar's whole width stands for, in µs.

    It is the deadline; or, if every shard took less than a quarter of it, the next of 1, 2, 5, 10,
    … above the slowest, so that the bars remain visible.
    """
    slowest = max((_drawn_us(detail) for detail in details), default=0)
    if slowest * 4 >= deadline_us or slowest <= 0:
        return deadline_us
    power = 10.0 ** math.floor(math.log10(slowest))
    return min(deadline_us, next(step * power for step in (1, 2, 5, 10) if step * power >= slowest))


def cells(parts: Sequence[tuple[Kind, int]], scale: float, width: int) -> list[tuple[Kind, int]]:
    """Give each segment a whole number of cells; in sum the rounded sum, at most `width`.

    A shard that took any time gets at least one cell, so that it is visible.
    """
    ends, total = [0], 0
    for _, time_us in parts:
        total += time_us
        ends.append(min(width, round(total / scale * width)))
    if parts and not ends[-1]:
        longest = max(parts, key=lambda part: part[1])
        return [(longest[0], 1)]
    drawn = [
        (kind, end - start) for (kind, _), start, end in zip(parts, ends, ends[1:], strict=False)
    ]
    return [(kind, count) for kind, count in drawn if count]


class Timeline:
    """One line for each shard that a result details, and a second line if something went wrong."""

    def __init__(self, result: SearchAnswer) -> None:
        """Draw `result`, which details every shard because the query asked to `explain`."""
        self._details = sorted(result.shards.detail, key=lambda detail: detail.shard)
        self._deadline_us = result.deadline_ms * 1000
        self._scale = scale_us(self._details, self._deadline_us)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw within the available width."""
        is_ascii = options.ascii_only
        shard_width = max([5, *(len(str(detail.shard)) for detail in self._details)])
        taken = shard_width + _OUTCOME_WIDTH + _TOOK_WIDTH + _BREAKER_WIDTH + 6
        width = max(_MIN_BAR_WIDTH, min(options.max_width, WIDEST) - taken)
        yield self._head(shard_width, width)
        for detail in self._details:
            yield self._line(detail, shard_width, width, is_ascii=is_ascii)
            if about := self._about(detail):
                yield Text(" " * (shard_width + 1)).append_text(about)
        yield self._legend(is_ascii=is_ascii)

    def _head(self, shard_width: int, width: int) -> Text:
        end = f"{self._scale / 1000:g} ms"
        axis = "0" + end.rjust(width)  # the bar stands between two bounds
        return Text(
            f"{'shard':>{shard_width}} {'outcome':<{_OUTCOME_WIDTH}} {axis} "
            f"{'took':>{_TOOK_WIDTH}} breaker",
            style="dim",
            no_wrap=True,
            overflow="crop",
        )

    def _line(self, detail: ShardDetail, shard_width: int, width: int, *, is_ascii: bool) -> Text:
        bound = "|" if is_ascii else "│"
        line = Text(f"{detail.shard:>{shard_width}} ", no_wrap=True, overflow="crop")
        outcome = styled(detail.outcome.value)
        outcome.pad_right(_OUTCOME_WIDTH - len(outcome.plain))
        line.append_text(outcome).append(" ").append(bound, style="dim")
        drawn = 0
        for kind, count in cells(segments(detail), self._scale, width):
            line.append((kind.ascii_sign if is_ascii else kind.sign) * count, style=kind.style)
            drawn += count
        line.append(" " * (width - drawn)).append(bound, style="dim")
        took = f"{detail.took_us / 1000:.1f} ms" if detail.took_us else "not asked"
        line.append(f" {took:>{_TOOK_WIDTH}} ")
        return line.append_text(styled(detail.breaker))

    def _about(self, detail: ShardDetail) -> Text | None:
        """Say what bars cannot show: why a shard is not ok, or its times in numbers."""
        if detail.outcome is not Outcome.OK:
            where = f" ({detail.worker})" if detail.worker else ""
            return plain(f"{detail.reason or detail.outcome.value}{where}{_hedge(detail)}")
        return plain(_hedge(detail).lstrip("; ")) if detail.hedged_us else None

    def _legend(self, *, is_ascii: bool) -> Text:
        legend = Text(no_wrap=True, overflow="crop")
        for kind in KINDS:
            legend.append(kind.ascii_sign if is_ascii else kind.sign, style=kind.style)
            legend.append(f" {kind.name}  ", style="dim")
        if self._scale < self._deadline_us:
            legend.append(f"the deadline is at {self._deadline_us / 1000:g} ms", style="dim")
        else:
            legend.append("the bar ends at the deadline", style="dim")
        return legend


def _hedge(detail: ShardDetail) -> str:
    if not detail.hedged_us:
        return ""
    end = ", which answered" if detail.is_hedge else ""
    return f"; a second copy left after {detail.hedged_us / 1000:.1f} ms{end}"


def _drawn_us(detail: ShardDetail) -> int:
    return sum(time_us for _, time_us in segments(detail))
