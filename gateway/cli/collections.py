"""`gateway collections list|describe`: the collections, and the fields of one."""

import sys
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hedgerow.common.observability.printable import printable, printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.render import folded, plain, table_of
from hedgerow.gateway.client import CollectionAnswer, WeightedField, calls
from hedgerow.gateway.shapes.collection import CollectionsAnswer

AsJson = Annotated[
    bool, typer.Option("--json", help="Print the gateway's answer as JSON, unchanged.")
]


def list_(
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """List the collections, with their documents and fields."""
    with options.connect(url, token, verify=ca_file or True) as client:
        reply = client.exchange(calls.list_collections())
    collections = reply.typed(CollectionsAnswer).collections
    if as_json:
        sys.stdout.write(printable_json(reply.body.decode()) + "\n")
    elif collections:
        Console().print(collections_table(collections))
    else:
        sys.stdout.write("there are no collections\n")


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Describe a collection: its documents by shard, and its fields with type and weight."""
    with options.connect(url, token, verify=ca_file or True) as client:
        reply = client.exchange(calls.get_collection(name))
    collection = reply.typed(CollectionAnswer)
    if as_json:
        sys.stdout.write(printable_json(reply.body.decode()) + "\n")
        return
    sys.stdout.write(f"{printable(summary(collection))}\n")
    if collection.fields is None:
        sys.stdout.write("its fields will be inferred from the first documents\n")
    else:
        Console().print(fields_table(collection))


def collections_table(collections: Iterable[CollectionAnswer]) -> Table:
    """Lay out collections, one a row."""
    table = table_of(
        "collection", "documents", "profile", "language", "fields", right=("documents",)
    )
    for one in collections:
        fields = "to be inferred" if one.fields is None else ", ".join(one.fields)
        table.add_row(
            folded(one.name),
            f"{one.documents:,}",
            plain(one.rank_profile),
            plain(one.language),
            folded(fields),
        )
    return table


def summary(collection: CollectionAnswer) -> str:
    """Say in one line what a collection holds, and how it is ranked."""
    per_shard = ", ".join(f"{one.documents:,}" for one in collection.shards)
    documents = f"{collection.documents:,} document{'' if collection.documents == 1 else 's'}"
    shards = f"{len(collection.shards)} shard{'' if len(collection.shards) == 1 else 's'}"
    return (
        f"{collection.name}: {documents} in {shards} ({per_shard}); "
        f"rank profile {collection.rank_profile}, language {collection.language}"
    )


def fields_table(collection: CollectionAnswer) -> Table:
    """Lay out the fields of a collection, with type, weight and where the type is from."""
    table = table_of("field", "type", "weight", "from", right=("weight",))
    for name, defined in (collection.fields or {}).items():
        kind = defined.type if isinstance(defined, WeightedField) else defined
        weight = str(defined.weight if isinstance(defined, WeightedField) else 1)
        origin = "inference" if name in collection.inferred else "definition"
        table.add_row(folded(name), plain(kind), weight if kind == "text" else "", origin)
    return table
