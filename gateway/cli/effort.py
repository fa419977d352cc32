"""Shows admission, hedges, and how much of the workers' work was used. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hedgerow.gateway.cli.render import percent, plain, table_of

_HEDGE_COLUMNS: Final = {
    "sent": "sent",
    "won": "won",
    "lost_before_start": "lost queued",
    "lost_while_running": "lost running",
    "refused": "over budget",
}
# In a worker's work accounting, the replies that a caller took. All other work was wasted.
_TAKEN: Final = "answered"
_TIMES: Final = ("work_us", "cpu_us")
_ENDS: Final = {
    _TAKEN: "answered",
    "late": "answered late",
    "dropped": "dropped unstarted",
    "stopped": "stopped",
    "killed": "killed",
    "unused": "ended untaken",
    "unstoppable": "unstoppable",
}


def admission_line(admission: Mapping[str, Any]) -> Text:
    """Say how many queries are in flight, the limit, the refusals, and the longest queue."""
    line = Text("admission: ")
    if not admission["enabled"]:
        line.append("off", style="yellow").append(", ")
    line.append(_counted(admission["in_flight"]))
    if admission["enabled"]:
        line.append(f" of at most {admission['limit']:,}")
    line.append(" in flight; refused: ")
    refused = [
        f"by {cause} {_counted(counts)}"
        for cause, counts in admission["refused"].items()
        if any(counts.values())
    ]
    line.append(", ".join(refused) or "none", style="yellow" if refused else "")
    longest_ms = max(admission["forecast_ms"], default=0.0)
    return line.append(f"; longest queue {longest_ms:,.0f} ms")


def hedges_table(hedges: Mapping[str, Mapping[str, int]]) -> Table:
    """Lay out how the second copies of searches and fetches ended."""
    table = table_of("second copies", *_HEDGE_COLUMNS.values(), right=_HEDGE_COLUMNS.values())
    for kind, counts in hedges.items():
        table.add_row(plain(kind), *(f"{counts.get(name, 0):,}" for name in _HEDGE_COLUMNS))
    return table


def work_table(workers: Sequence[Mapping[str, Any]]) -> RenderableType | None:
    """Lay out how the workers have spent their time since they started; None before any work."""
    total = _added_up(workers)
    numbers = ("requests", "time in lanes", "share", "CPU", "share")
    table = table_of("work of all workers", *numbers, right=numbers)
    ends = sorted(total.items(), key=lambda item: list(_ENDS).index(item[0]))
    for end, sums in ends:
        if sums["count"]:
            table.add_row(
                _ENDS[end],
                f"{sums['count']:,}",
                *(shown for name in _TIMES for shown in _time_and_share(name, end, total)),
            )
    return table if table.row_count else None


def _added_up(workers: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for worker in workers:
        for end, sums in worker.get("ledger", {}).items():
            if end in _ENDS:  # a worker of a later version may report more
                row = total.setdefault(end, dict.fromkeys(sums, 0))
                for name, value in sums.items():
                    row[name] = row.get(name, 0) + value
    return total


def _counted(counts: Mapping[str, int]) -> str:
    """Write the sum, and its parts unless all are of the first kind."""
    total = sum(counts.values())
    first = next(iter(counts.values()), 0)
    if total == first:
        return f"{total:,}"
    each = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"{total:,} ({each})"


def _time_and_share(name: str, end: str, total: Mapping[str, Mapping[str, int]]) -> tuple[str, str]:
    us, all_us = total[end].get(name, 0), sum(sums.get(name, 0) for sums in total.values())
    return _seconds(us), percent(us / all_us) if all_us else ""


def _seconds(us: int) -> str:
    return f"{us / 1e6:,.1f} s" if us >= 10_000_000 else f"{us / 1000:,.1f} ms"
