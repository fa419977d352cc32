"""Lays out the cluster, as the stream of events tells it, for `gateway top`. Pure."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from hedgerow.gateway.cli.event_stream import Message
from hedgerow.gateway.cli.render import WIDEST, folded, percent, plain, styled, table_of
from hedgerow.gateway.local.sizing import counted

_NUM_POINTS: Final = 300
_NUM_EVENTS: Final = 200
_FIGURES_OVER: Final = 5  # the last seconds, whose mean is shown
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS: Final = " .:-=+*#@"
_LEVELS: Final = {"good": "green", "warning": "yellow", "bad": "red"}
_LEAST_EVENTS: Final = 3


class TopView:
    """What has been heard of the cluster.

    Attributes:
        status: the newest one; None before the first.
        trouble: why nothing comes; empty if something does.
    """

    def __init__(self, *, is_live: bool = False) -> None:
        """Start with nothing; `is_live` fits the view to the terminal's height."""
        self.status: Mapping[str, Any] | None = None
        self.trouble = ""
        self._is_live = is_live
        self._points: deque[Mapping[str, Any]] = deque(maxlen=_NUM_POINTS)
        self._events: deque[Mapping[str, Any]] = deque(maxlen=_NUM_EVENTS)

    def take(self, message: Message) -> None:
        """Take a message; of those with names that are unknown, nothing is kept."""
        match message:
            case ("history", data):
                self._points = deque(data["points"], _NUM_POINTS)
                self._events = deque(data["events"], _NUM_EVENTS)
            case ("point", data):
                self._points.append(data)
            case ("event", data):
                self._events.append(data)
            case ("status", data):
                self.status = data

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw within the available width, and height if live."""
        if self.status is None:
            yield Text(self.trouble or "waiting for the first status …")
            return
        height = options.height or console.height
        lines_left = height - 10 - len(self.status["workers"])
        yield self._head()
        yield self._figures()
        width = options.max_width if self._is_live else min(options.max_width, WIDEST)
        yield from self._graphs(width, is_ascii=options.ascii_only)
        yield Text()
        num_shards = len(self.status["shards"])
        most = max(4, lines_left - _LEAST_EVENTS) if self._is_live else num_shards
        yield self._shards(most)
        yield Text()
        yield self._workers()
        num_events = max(_LEAST_EVENTS, lines_left - min(num_shards, most))
        if self._events:
            yield Text()
            yield self._event_lines(num_events if self._is_live else 10)

    def _head(self) -> Text:
        status: Mapping[str, Any] = self.status or {}
        redis = status["redis"]
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(counted(len(status["shards"]), "shard"))
        head.append(f" on {counted(len(status['workers']), 'worker')}; ")
        if redis["connected"]:
            head.append_text(plain(f"{redis['name'] or 'Redis'} {redis['version']}"))
        else:
            head.append("Redis does not answer", style="red")
        gateway = status["gateway"]
        head.append_text(plain(f"; gateway {gateway['version']}"))
        if len(gateways := status.get("gateways", ())) > 1:
            # The figures below are of the one that sends them.
            pids = [one["pid"] for one in gateways if one["id"] == gateway["id"]]
            which = f" (pid {pids[0]})" if pids else ""
            head.append_text(plain(f"{which}, one of {len(gateways)}"))
        for shortage in status.get("shortages", ()):
            head.append("; ").append_text(
                plain(f"{shortage['resource']} of {shortage['where']} is {shortage['state']}")
            )
        if self.trouble:
            head.append("; ").append_text(Text(plain(self.trouble).plain, style="red"))
        return head

    def _figures(self) -> Text:
        last = list(self._points)[-_FIGURES_OVER:]
        if not last:
            return Text("no searches yet", style="dim")
        answered = [_answered(point) for point in last]
        total = sum(answered)
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{total / len(last):,.1f}", style="bold").append(" searches/s  ")
        for name in ("p50", "p99"):
            times = [point[f"{name}_ms"] for point in last if point[f"{name}_ms"] is not None]
            shown = f"{max(times):.1f} ms" if times else "-"
            line.append(f"{name} ").append(shown, style="bold").append("  ")
        if total:
            covered = sum(
                (point["coverage"] or 0.0) * count
                for point, count in zip(last, answered, strict=True)
            )
            style = "bold green" if covered / total > 0.9995 else "bold yellow"
            line.append("coverage ").append(percent(covered / total), style=style).append("  ")
        now = last[-1]
        line.append(f"in flight {now['in_flight']}/{now['limit']}  ")
        refused = sum(point["refused"] for point in last)
        line.append(f"refused {refused / len(last):,.1f}/s", style="yellow" if refused else "dim")
        return line

    def _graphs(self, width: int, *, is_ascii: bool) -> RenderResult:
        room = max(10, min(_NUM_POINTS, width - 24))
        points = list(self._points)[-room:]
        for name, unit, values in (
            ("searches/s", "", [float(_answered(point)) for point in points]),
            ("p99", " ms", [float(point["p99_ms"] or 0.0) for point in points]),
        ):
            most = max(values, default=0.0)
            line = Text(f"{name:<11}", style="dim", no_wrap=True, overflow="crop")
            line.append(_sparkline(values, most, is_ascii=is_ascii).rjust(room), style="green")
            yield line.append(f" {most:,.0f}{unit}", style="dim")

    def _shards(self, most: int) -> Table:
        status: Mapping[str, Any] = self.status or {}
        table = table_of(
            "shard",
            "breaker",
            "backlog",
            "lag",
            "documents",
            "workers",
            right=("shard", "backlog", "lag", "documents"),
        )
        shards: Sequence[Mapping[str, Any]] = status["shards"]
        # Those with something to see come first, if not all fit.
        shown = shards if len(shards) <= most else sorted(shards, key=_calm)[: most - 1]
        for shard in shown:
            number = str(shard["shard"])
            lag = max(
                (worker["log_backlog"].get(number, 0) for worker in status["workers"]), default=0
            )
            workers = plain(", ".join(shard["workers"]) or "none")
            if not shard["workers"]:
                workers.stylize("red")
            backlog = shard["backlog"]
            table.add_row(
                number,
                styled(shard["breaker"]),
                "?" if backlog is None else Text(f"{backlog:,}", "yellow" if backlog else ""),
                Text(f"{lag:,}", "yellow" if lag else ""),
                f"{sum(shard['documents'].values()):,}",
                workers,
            )
        if len(shown) < len(shards):
            table.add_row("…", Text(f"{len(shards) - len(shown)} more, all well", "dim"))
        return table

    def _workers(self) -> Table:
        status: Mapping[str, Any] = self.status or {}
        table = table_of("worker", "pid", "scorers", "threads", "loop lag", "answered", "")
        for worker in status["workers"]:
            lanes, note = worker["lanes"], ""
            if worker["on_probation"]:
                note = f"on probation: {worker['probation']['reason']}"
            table.add_row(
                plain(worker["id"]),
                str(worker["pid"]),
                _lane(lanes["process"]),
                _lane(lanes["thread"]),
                f"{lanes['loop']['max_lag_ms']:g} ms",
                f"{worker['ledger']['answered']['count']:,}",
                Text(plain(note).plain, style="yellow"),
            )
        if not status["workers"]:
            table.add_row(Text("none", "red"))
        return table

    def _event_lines(self, most: int) -> Table:
        table = table_of("at", "event")
        for event in list(self._events)[-most:]:
            at = datetime.fromtimestamp(event["at_ms"] / 1000, UTC).astimezone()
            text = plain(event["text"]) if self._is_live else folded(event["text"])
            text.stylize(_LEVELS.get(event["level"], ""))
            table.add_row(Text(f"{at:%H:%M:%S}", "dim"), text)
        return table


def _answered(point: Mapping[str, Any]) -> int:
    return int(point["full"] + point["partial"] + point["insufficient"])


def _calm(shard: Mapping[str, Any]) -> tuple[bool, int]:
    """Order shards: those with trouble first."""
    is_well = shard["breaker"] == "closed" and bool(shard["workers"]) and not shard["backlog"]
    return (is_well, int(shard["shard"]))


def _sparkline(values: Sequence[float], most: float, *, is_ascii: bool) -> str:
    blocks = _ASCII_BLOCKS if is_ascii else _BLOCKS
    if most <= 0:
        return blocks[0] * len(values)
    # What is not 0 is seen, however little it is.
    return "".join(blocks[math.ceil(value / most * (len(blocks) - 1))] for value in values)


def _lane(lane: Mapping[str, Any]) -> Text:
    text = Text(f"{lane['busy']}/{lane['capacity']}")
    if lane.get("waiting"):
        text.append(f" {lane['waiting']} waiting", style="yellow")
    if lane.get("lost"):
        text.append(f" {lane['lost']} lost", style="red")
    if lane.get("crashes"):
        text.append(f" {lane['crashes']} crashed", style="yellow")
    return text
