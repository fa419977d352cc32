"""`gateway collections list|describe|add-field`: the collections, and the fields of one."""

import sys
import time
from collections.abc import Iterable
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from hedgerow.common.errors import UnavailableError
from hedgerow.common.observability.printable import printable, printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, AsJson, CaFile, Timeout, Token, Url
from hedgerow.gateway.cli.progress import progress
from hedgerow.gateway.cli.render import counted, folded, output, percent, plain, table_of
from hedgerow.gateway.client import CollectionAnswer, DefinedVector, WeightedField, calls
from hedgerow.gateway.shapes.collection import CollectionsAnswer

POLL_S: Final = 0.25


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
        output().print(collections_table(collections))
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
        output().print(fields_table(collection))
    if (filling := collection.filling) is not None:
        names = printable(", ".join(filling.fields))
        sys.stdout.write(
            f"being filled: {names}; {percent(filling.share)} of the documents, "
            f"{counted(filling.waiting, 'replica')} to go\n"
        )


def add_field(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    fields: Annotated[
        str,
        typer.Argument(
            metavar="FIELD=TYPE,…",
            help="The fields to add: text, keyword, integer, float, boolean, date; text^3 is text "
            "of weight 3; text:german is German, text:3grams is found by parts of words, and "
            "text:unfolded keeps accents.",
        ),
    ],
    timeout: Timeout = "600s",
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Add fields to a collection, and wait until they are filled from the stored documents."""
    started = time.monotonic()
    give_up_at = started + options.parse_duration_ms(timeout) / 1000
    added = options.parse_types(fields)
    with options.connect(url, token, verify=ca_file or True) as client, _progress() as progress:
        collection = client.add_fields(name, added)
        task = progress.add_task(f"filling {name}", total=1.0)
        while (filling := collection.filling) is not None:
            progress.update(task, completed=filling.share)
            if time.monotonic() >= give_up_at:
                raise UnavailableError(
                    f"after {timeout}, {percent(filling.share)} of the documents are filled; the "
                    "workers continue"
                )
            time.sleep(POLL_S)
            collection = client.get_collection(name)
    took_s = time.monotonic() - started
    sys.stdout.write(f"{printable(name)}: {printable(', '.join(added))} filled in {took_s:.1f} s\n")


def expire(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    field: Annotated[
        str | None, typer.Argument(metavar="FIELD", help="The date field; none to show it.")
    ] = None,
    never: Annotated[
        bool, typer.Option("--never", help="Have the documents expire no longer.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Have the documents of a collection expire at the date in a field, or never."""
    if never and field is not None:
        raise typer.BadParameter("FIELD and --never exclude each other")
    with options.connect(url, token, verify=ca_file or True) as client:
        if never:
            client.delete_expiry(name)
        elif field is not None:
            client.set_expiry(name, field)
        by = None if never else client.get_expiry(name).field
    when = "never expire" if by is None else f"expire at the date in {by}"
    sys.stdout.write(printable(f"{name}: documents {when}") + "\n")


def _progress() -> Progress:
    return progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
    )


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
    documents = counted(collection.documents, "document")
    shards = counted(len(collection.shards), "shard")
    return (
        f"{collection.name}: {documents} in {shards} ({per_shard}); "
        f"rank profile {collection.rank_profile}, language {collection.language}"
    )


def fields_table(collection: CollectionAnswer) -> Table:
    """Lay out the fields of a collection, with type, weight and where the type is from."""
    table = table_of("field", "type", "weight", "from", right=("weight",))
    for name, defined in (collection.fields or {}).items():
        kind = defined if isinstance(defined, str) else defined.type
        weight = str(defined.weight if isinstance(defined, WeightedField) else 1)
        origin = "inference" if name in collection.inferred else "definition"
        shown: str = kind
        if isinstance(defined, DefinedVector):
            parts = [str(defined.dimensions), defined.metric]
            parts += [defined.quantisation] if defined.quantisation != "none" else []
            parts += [defined.embed] if defined.embed else []
            shown = f"{kind} ({', '.join(parts)})"
        elif isinstance(defined, WeightedField) and (parts := _analysis_of(defined)):
            shown = f"{kind} ({', '.join(parts)})"
        table.add_row(folded(name), plain(shown), weight if kind == "text" else "", origin)
    return table


def _analysis_of(field: WeightedField) -> list[str]:
    """What is special about the analysis of a field, as `--types` and the like take it."""
    parts = [field.language] if field.language else []
    parts += [f"{field.ngrams}grams"] if field.ngrams else []
    if field.folding is not None:
        parts.append("folded" if field.folding else "unfolded")
    return parts
