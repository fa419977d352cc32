"""What `gateway status` shows of functions that embed documents and queries."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from hedgerow.gateway.cli.render import folded, plain, table_of

_BOUND: Final = 0.5  # the share of a worker's time from which its log says so, too


def documents_embedded(workers: Iterable[Mapping[str, Any]]) -> list[RenderableType]:
    """Make a table of the workers that have embedded documents; nothing if none has."""
    numbers = ("texts", "failed", "texts/s", "share of the last minute")
    table = table_of("embeds documents", *numbers, right=numbers)
    for worker in workers:
        if found := worker.get("embedding"):
            rate = found["texts"] / found["seconds"] if found["seconds"] else 0.0
            is_bound = found["share"] >= _BOUND
            table.add_row(
                folded(worker["id"]),
                f"{found['texts']:,}",
                Text(f"{found['failed']:,}", "yellow" if found["failed"] else ""),
                f"{rate:,.0f}",
                Text(
                    f"{found['share']:.0%}" + (": writes wait for it" if is_bound else ""),
                    "yellow" if is_bound else "",
                ),
            )
    return [Text(), table] if table.row_count else []


def queries_embedded(found: Mapping[str, Any] | None) -> list[RenderableType]:
    """Make a line about the texts of queries; none if no function embeds them."""
    if not found:
        return []
    others = ", ".join(
        f"{found[end]:,} {end}" for end in ("cached", "expired", "failed", "refused") if found[end]
    )
    mean_ms = found["seconds"] * 1000 / found["calls"] if found["calls"] else 0.0
    line = f"queries embedded: {found['embedded']:,}" + (f", {others}" if others else "")
    return [Text(), plain(f"{line}; {mean_ms:,.1f} ms a call; {found['waiting']:,} wait")]
