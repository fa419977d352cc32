"""`gateway quarantine list|lift`: the queries that are refused since they have killed scorers."""

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from gateway.cli import options
from gateway.cli.options import DEFAULT_URL, Token, Url
from gateway.cli.render import folded, plain
from gateway.client import calls


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List the queries that have killed scorers, in any worker."""
    with options.connect(url, token) as client:
        entries = client.exchange(calls.list_quarantine()).json()["quarantine"]
    if as_json:
        sys.stdout.write(to_json(entries, indent=2).decode() + "\n")
    elif entries:
        Console().print(quarantine_table(entries))
    else:
        sys.stdout.write("no query has killed a scorer\n")


def lift(
    fingerprint: Annotated[
        str, typer.Argument(metavar="FINGERPRINT", help="Which query, as the list shows it.")
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Let a query run again that is in quarantine."""
    with options.connect(url, token) as client:
        client.lift_quarantine(fingerprint)


def quarantine_table(entries: Iterable[Mapping[str, Any]]) -> Table:
    """Lay out entries as GET /v1/quarantine has them."""
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("quarantined query", "kills", "state", "until", "fingerprint", "killed in"):
        table.add_column(column, justify="right" if column == "kills" else "left", overflow="fold")
    table.header_style = "dim"
    for entry in entries:
        until = datetime.fromtimestamp(entry["until_ms"] / 1000, UTC).astimezone()
        table.add_row(
            folded(entry["query"]),
            str(entry["kills"]),
            "refused" if entry["refused"] else "suspect",
            until.strftime("%H:%M:%S"),
            plain(entry["fingerprint"]),
            folded(", ".join(entry["workers"])),
        )
    return table
