"""Shows who may use a gateway, and how it has been used. Pure."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gateway.cli.render import folded, plain, table_of


def access_parts(access: Mapping[str, Any] | None) -> list[RenderableType]:
    """Lay out the keys; nothing of a gateway without, or of an earlier version."""
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


def _keys(keys: list[Mapping[str, Any]]) -> Table:
    numbers = ("requests", "in flight", "over rate", "over share")
    table = table_of("key", "rights", *numbers, right=numbers)
    for one in keys:
        name = plain(one["name"])
        if one["is_expired"]:
            name.append(" (expired)", style="yellow")
        table.add_row(
            name,
            folded(", ".join(one["rights"])),
            f"{one['requests']:,}",
            f"{one['in_flight']:,}",
            f"{one['refused']['rate']:,}",
            f"{one['refused']['share']:,}",
        )
    return table
