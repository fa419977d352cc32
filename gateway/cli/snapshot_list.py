"""`gateway snapshot list`: lists copies of whole shards; imports only what that takes.

The commands that make and restore them are in `snapshot`.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.partition import parse_shards
from hedgerow.common.settings.settings import load_settings
from hedgerow.common.snapshots.manifest import Manifest
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.gateway.cli.render import folded, local_time, output, plain, table_of

Source = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="URL",
        help="Folder or fsspec URL of the snapshots.",
        show_default="the setting snapshots.url",
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Key prefix of the snapshots' cluster.",
        show_default="the setting redis.key_prefix",
    ),
]
Shards = Annotated[
    str | None,
    typer.Option(metavar="N[,N…]", help="Shards, as in 0,1 or 0-3.", show_default="all"),
]


def list_(
    source: Source = None,
    prefix: Prefix = None,
    shards: Shards = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the complete snapshots of each shard, newest first."""
    store = store_of(source, prefix)
    warn_of_split(store, prefix)
    found = [manifest for shard in shards_of(store, shards) for manifest in store.manifests(shard)]
    if as_json:
        sys.stdout.write(
            to_json([facts_of(manifest) for manifest in found], indent=2).decode() + "\n"
        )
    elif found:
        print_table((manifest.shard, facts_of(manifest)) for manifest in found)
    else:
        sys.stdout.write(f"there are no snapshots in {store.place}\n")


def store_of(source: str | None, prefix: str | None) -> SnapshotStore:
    """The place of the snapshots; the settings say what is None."""
    settings = load_settings()
    url = source or settings.snapshots.url
    if not url:
        raise ConfigurationError("snapshots.url is not set; set it, or give the place with --from")
    return SnapshotStore(url, prefix or settings.redis.key_prefix, settings.snapshots)


def warn_of_split(store: SnapshotStore, prefix: str | None) -> None:
    """Say where else there are snapshots, unless the user has named the place."""
    if prefix is None and (later := store.split_layouts()):
        sys.stderr.write(
            f"gateway: warning: snapshots since the shards were split have --prefix {later[-1]}\n"
        )


def shards_of(store: SnapshotStore, text: str | None) -> Iterable[int]:
    """The shards that `text` names; all that have snapshots for None."""
    return store.shards() if text is None else parse_shards(text)


def facts_of(manifest: Manifest) -> dict[str, Any]:
    """What is shown of a snapshot."""
    return {
        "shard": manifest.shard,
        "id": manifest.id,
        "made_at_ms": manifest.made_at_ms,
        "position": manifest.position,
        "documents": manifest.documents,
        "bytes": manifest.num_bytes,
        "num_shards": manifest.num_shards,
        "version": manifest.version,
        "collections": {item.name or item.uid: item.documents for item in manifest.collections},
    }


def print_table(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
    """Print snapshots, each as its shard and what is shown of it."""
    table = table_of(
        "shard",
        "made at",
        "documents",
        "bytes",
        "position",
        "id",
        right=("shard", "documents", "bytes"),
    )
    for shard, row in sorted(rows, key=lambda row: row[0]):
        table.add_row(
            str(shard),
            local_time(row["made_at_ms"], "%Y-%m-%d %H:%M:%S"),
            f"{row['documents']:,}",
            f"{row['bytes']:,}",
            plain(row["position"]),
            folded(row["id"]),
        )
    output().print(table)
