"""Logs, counters, and the monitor of the event loop."""

import asyncio
import json
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Literal, TextIO

import structlog

from hedgerow.common.metrics.histogram import LAG_BOUNDS, Histogram
from hedgerow.common.observability.current_trace import add_trace_id
from hedgerow.common.observability.printable import printable, printable_lines
from hedgerow.common.observability.steady_stream import steadied
from hedgerow.common.runtime.ticks import tick_after

log = structlog.get_logger()

LAG_INTERVAL_S = 0.05
# A loop that uses less of a core than this is checked less often: each check wakes the process.
IDLE_SHARE = 0.05
IDLE_LAG_INTERVAL_S = 0.25  # as often as other periodic work
_OF_LINES = frozenset({"exception", "stack"})


class Counters:
    """Named counts that only grow."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)

    def add(self, name: str, count: int = 1) -> None:
        """Count `count` more of `name`."""
        self._counts[name] += count

    def __getitem__(self, name: str) -> int:
        return self._counts.get(name, 0)

    def as_dict(self) -> dict[str, int]:
        """All counts by name."""
        return dict(sorted(self._counts.items()))


class Throttle:
    """Allows each kind of event once per interval, so that it does not flood the log."""

    __slots__ = ("_interval_s", "_last")

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last: dict[str, float] = {}

    def allows(self, kind: str, now: float) -> bool:
        """Whether an event of this kind may pass at `now`, in s."""
        last = self._last.get(kind)
        if last is not None and now - last < self._interval_s:
            return False
        self._last[kind] = now
        return True


class LagWatch:
    """Measures how late the event loop runs its timers: lag means that work is in the wrong lane.

    While the loop is idle, it checks at longer intervals. A first lag of less than 0.3 s after that
    may be missed; later ones are not.

    Attributes:
        num_lags: how often the lag exceeded the threshold.
        max_lag_ms: the longest lag so far, in ms.
        lags: all measurements, in s.
    """

    def __init__(self, threshold_ms: float, cpu_s: Callable[[], float] = time.thread_time) -> None:
        """Count and log lags above `threshold_ms`; `cpu_s` is the loop's CPU time so far."""
        self.num_lags = 0
        self.max_lag_ms = 0.0
        self.lags = Histogram(LAG_BOUNDS)
        self._threshold_ms = threshold_ms
        self._cpu_s = cpu_s
        self._throttle = Throttle(1.0)

    async def run(self) -> None:
        """Watch until cancelled."""
        now, is_idle = asyncio.get_running_loop().time, False
        while True:
            began, used_s = now(), self._cpu_s()
            due = tick_after(IDLE_LAG_INTERVAL_S) if is_idle else began + LAG_INTERVAL_S
            await asyncio.sleep(due - began)
            self.record((now() - due) * 1000, due)
            is_idle = self._cpu_s() - used_s < IDLE_SHARE * (due - began)

    def record(self, lag_ms: float, now: float) -> None:
        """Record one measurement; `now` in s."""
        self.lags.observe(lag_ms / 1000)
        self.max_lag_ms = max(self.max_lag_ms, lag_ms)
        if lag_ms > self._threshold_ms:
            self.num_lags += 1
            if self._throttle.allows("lag", now):
                log.warning(
                    "loop_lag",
                    lag_ms=round(lag_ms, 1),
                    threshold_ms=self._threshold_ms,
                    hint="blocking or CPU work runs on the event loop; it belongs in a lane",
                )

    def as_dict(self) -> dict[str, float]:
        """The figures for the status."""
        return {"lags": self.num_lags, "max_lag_ms": round(self.max_lag_ms, 1)}


def configure_logging(
    level: Literal["debug", "info", "warning", "error"], form: Literal["console", "json"]
) -> None:
    """Send structured log lines to stderr; only entry points call this.

    Args:
        level: least severe level that is logged.
        form: `console` for people, `json` for machines.
    """
    # JSON escapes control characters by itself.
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if form == "json"
        else [
            make_printable,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_trace_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # or the console shows locals: whole documents
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(_steady(sys.stderr, form)),
        cache_logger_on_first_use=True,
    )


def make_printable(
    _logger: object, _method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape unsafe characters in the values of a log line, which may come from callers."""
    for name, value in fields.items():
        if isinstance(value, str):
            shown = printable_lines if name in _OF_LINES else printable
            fields[name] = shown(value)
        elif not isinstance(value, int | float | None):
            fields[name] = printable(repr(value))
    return fields


def keep_output_steady(form: Literal["console", "json"]) -> None:
    """Make standard output and error never raise: both are files on a disk that may be full.

    A traceback that cannot be printed would end a scorer, and a `print` in a user's hook a query.
    Only the entry points of long-running processes call this.
    """
    sys.stdout, sys.stderr = _steady(sys.stdout, form), _steady(sys.stderr, form)


def _steady(stream: TextIO, form: Literal["console", "json"]) -> TextIO:
    """A stream that does not raise if the disk is full, and waits for no reader."""

    def note(num_lost: int) -> str:
        if form == "json":
            return json.dumps({"event": "log_lines_lost", "level": "warning", "lost": num_lost})
        return f"log_lines_lost lost={num_lost}"

    return steadied(stream, note)
