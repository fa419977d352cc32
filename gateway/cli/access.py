"""Shows who may use a gateway, and how it has been used. Pure."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hedgerow.gateway.cli.render import folded, plain, table_of


def access_parts(access: Mapping[str, Any] | None) -> list[RenderableType]:
    """Lay out the keys; empty if the gateway has none, or if its version does not report them."""
    if access is None:
        return []
    parts: list[RenderableType] = []
    if access["keys"]:
        parts += [Text(), _keys(access["keys"])]
    if access["keys_error"]:
        error = folded(access["keys_error"])
        error.stylize("red")
        parts += [Text(), error]
    return parts


def requests_line(requests: Mapping[str, Any] | None) -> list[RenderableType]:
    """Say how many requests other than searches and loads are in progress, and the limit."""
    if requests is None:
        return []
    line = Text(f"other requests: {requests['in_flight']:,} of at most {requests['limit']:,}")
    line.append(" in progress; refused: ")
    refused = [f"by {cause} {count:,}" for cause, count in requests["refused"].items() if count]
    line.append(", ".join(refused) or "none", style="yellow" if refused else "")
    return [line]


def addresses_parts(addresses: Mapping[str, Any] | None) -> list[RenderableType]:
    """Lay out the addresses that have used up their share; empty if there are none."""
    if addresses is None or not addresses["refused"]:
        return []
    table = table_of("address", "over share", right=("over share",))
    for entry in addresses["most_refused"]:
        table.add_row(plain(entry["address"] or "(further addresses)"), f"{entry['refused']:,}")
    table.add_row("all addresses", f"{addresses['refused']:,}")
    return [Text(), table]


def _keys(keys: list[Mapping[str, Any]]) -> Table:
    numbers = ("requests", "in flight", "over rate", "over share")
    table = table_of("key", "rights", *numbers, right=numbers)
    for key in keys:
        name = plain(key["name"])
        if key["is_expired"]:
            name.append(" (expired)", style="yellow")
        table.add_row(
            name,
            folded(", ".join(key["rights"])),
            f"{key['requests']:,}",
            f"{key['in_flight']:,}",
            f"{key['refused']['rate']:,}",
            f"{key['refused']['share']:,}",
        )
    return table
