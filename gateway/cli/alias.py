"""`gateway alias list|set|remove`: the aliases of collections."""

import sys
from typing import Annotated

import typer

from hedgerow.common.observability.printable import printable, printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, AsJson, CaFile, Token, Url
from hedgerow.gateway.cli.render import folded, output, table_of
from hedgerow.gateway.client import calls
from hedgerow.gateway.shapes.alias import AliasesAnswer


def list_(
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """List the aliases, with the collections that they stand for."""
    with options.connect(url, token, verify=ca_file or True) as client:
        reply = client.exchange(calls.list_aliases())
    aliases = reply.typed(AliasesAnswer).aliases
    if as_json:
        sys.stdout.write(printable_json(reply.body.decode()) + "\n")
    elif aliases:
        table = table_of("alias", "collection")
        for one in aliases:
            table.add_row(folded(one.alias), folded(one.collection))
        output().print(table)
    else:
        sys.stdout.write("there are no aliases\n")


def set_(
    aliases: Annotated[
        list[str],
        typer.Argument(metavar="ALIAS=COLLECTION...", help="What each alias should stand for."),
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Make aliases stand for collections, all in one step."""
    changes: dict[str, str | None] = {}
    for pair in aliases:
        alias, _, collection = pair.partition("=")
        if not (alias and collection):
            raise typer.BadParameter(f"{pair!r} is not ALIAS=COLLECTION")
        if alias in changes:
            raise typer.BadParameter(f"{alias!r} is named twice")
        changes[alias] = collection
    with options.connect(url, token, verify=ca_file or True) as client:
        client.change_aliases(changes)
    for alias, name in changes.items():
        sys.stdout.write(printable(f"{alias} now stands for {name}") + "\n")


def remove(
    aliases: Annotated[list[str], typer.Argument(metavar="ALIAS...", help="The aliases.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Remove aliases, all in one step; their collections stay."""
    changes: dict[str, str | None] = dict.fromkeys(aliases)
    with options.connect(url, token, verify=ca_file or True) as client:
        client.change_aliases(changes)
    for alias in changes:
        sys.stdout.write(printable(f"{alias} is removed") + "\n")
