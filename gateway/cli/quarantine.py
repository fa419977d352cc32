"""`gateway quarantine list|lift`: queries that are refused because they have killed scorers."""

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.table import Table

from hedgerow.common.observability.printable import printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.render import folded, local_time, output, plain, table_of
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
        output().print(quarantine_table(entries))
    else:
        sys.stdout.write("no query has killed a scorer\n")


def lift(
    fingerprint: Annotated[
        str, typer.Argument(metavar="FINGERPRINT", help="The query's fingerprint, as in the list.")
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Take a query out of quarantine, so that it may run again."""
    with options.connect(url, token, verify=ca_file or True) as client:
        client.lift_quarantine(fingerprint)


def quarantine_table(entries: Iterable[Mapping[str, Any]]) -> Table:
    """Lay out the entries of GET /v1/quarantine."""
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
