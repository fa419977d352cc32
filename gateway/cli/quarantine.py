"""`gateway quarantine list|lift`: the queries that are refused since they have killed scorers."""

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from hedgerow.common.observability.printable import printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.render import folded, local_time, plain, table_of
from hedgerow.gateway.client import calls


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """List the queries that have killed scorers, in any worker."""
    with options.connect(url, token, verify=ca_file or True) as client:
        entries = client.exchange(calls.list_quarantine()).json()["quarantine"]
    if as_json:
        sys.stdout.write(printable_json(to_json(entries, indent=2).decode()) + "\n")
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
    ca_file: CaFile = None,
) -> None:
    """Let a query run again that is in quarantine."""
    with options.connect(url, token, verify=ca_file or True) as client:
        client.lift_quarantine(fingerprint)


def quarantine_table(entries: Iterable[Mapping[str, Any]]) -> Table:
    """Lay out entries as GET /v1/quarantine has them."""
    table = table_of(
        "quarantined query",
        "kills",
        "state",
        "until",
        "fingerprint",
        "killed in",
        right=("kills",),
    )
    for entry in entries:
        table.add_row(
            folded(entry["query"]),
            str(entry["kills"]),
            "refused" if entry["refused"] else "suspect",
            local_time(entry["until_ms"], "%H:%M:%S"),
            plain(entry["fingerprint"]),
            folded(", ".join(entry["workers"])),
        )
    return table
