"""`gateway snapshot create|list|restore`: makes, lists and restores copies of whole shards."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from msgspec import structs
from pydantic_core import to_json
from rich.progress import BarColumn, Progress, TextColumn

from hedgerow.common.errors import (
    ConfigurationError,
    HedgerowError,
    NotFoundError,
    UnavailableError,
)
from hedgerow.common.machine.private_folder import make_private, write_privately
from hedgerow.common.partition import parse_shards
from hedgerow.common.settings.settings import load_settings
from hedgerow.common.snapshots.manifest import Manifest
from hedgerow.common.snapshots.restore import has_store, restore
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Timeout, Token, Url
from hedgerow.gateway.cli.progress import progress
from hedgerow.gateway.cli.render import folded, local_time, output, plain, table_of
from hedgerow.gateway.local.locks import lock_folder

POLL_S: Final = 0.25

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


def create(
    timeout: Timeout = "600s",
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Make a snapshot of every shard now, and wait until all are complete."""
    give_up_at = time.monotonic() + options.parse_duration_ms(timeout) / 1000
    with options.connect(url, token, verify=ca_file or True) as client, _progress() as progress:
        asked = client.create_snapshots()
        task = progress.add_task("snapshots", total=asked.shards)
        while True:
            found = client.status().snapshots
            made = [
                snapshot for snapshot in found if (snapshot.made_at_ms or 0) >= asked.wanted_at_ms
            ]
            progress.update(task, completed=len(made))
            if len(made) == asked.shards:
                break
            for snapshot in found:
                if snapshot not in made and (snapshot.failed_at_ms or 0) >= asked.wanted_at_ms:
                    raise HedgerowError(f"shard {snapshot.shard}: no snapshot: {snapshot.error}")
            if time.monotonic() >= give_up_at:
                missing = sorted({*range(asked.shards)} - {snapshot.shard for snapshot in made})
                raise UnavailableError(
                    f"after {timeout} there is no snapshot of shards "
                    f"{', '.join(map(str, missing))}; they are still requested"
                )
            time.sleep(POLL_S)
    _print_table((snapshot.shard, structs.asdict(snapshot)) for snapshot in made)


def list_(
    source: Source = None,
    prefix: Prefix = None,
    shards: Shards = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the complete snapshots of each shard, newest first."""
    store = _store(source, prefix)
    found = [manifest for shard in _shards(store, shards) for manifest in store.manifests(shard)]
    if as_json:
        sys.stdout.write(
            to_json([_facts(manifest) for manifest in found], indent=2).decode() + "\n"
        )
    elif found:
        _print_table((manifest.shard, _facts(manifest)) for manifest in found)
    else:
        sys.stdout.write(f"there are no snapshots in {store.place}\n")


def restore_(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Data folder to restore into; it must not contain the shards yet."
        ),
    ] = None,
    shards: Shards = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Newest that is not younger than this id, or the beginning of one, such as "
            "20260131T12.",
            show_default="newest",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Restore nothing; read and check every file.")
    ] = False,
    source: Source = None,
    prefix: Prefix = None,
) -> None:
    """Restore shards from snapshots into a data folder that no worker uses, or verify them."""
    if (data is None) is not verify:
        raise typer.BadParameter("give either --data or --verify")
    store = _store(source, prefix)
    chosen = [_choose(store, shard, at) for shard in _shards(store, shards)]
    if not chosen:
        raise NotFoundError(f"there are no snapshots in {store.place}")
    with contextlib.ExitStack() as opened:
        if data is not None:
            _lock(data, chosen, opened)
        progress = opened.enter_context(_progress())
        for manifest in progress.track(chosen, description="verifying" if verify else "restoring"):
            if data is None:
                store.verify(manifest)
            else:
                restore(store, manifest, data, lock_wait_s=0.0)
    _print_table((manifest.shard, _facts(manifest)) for manifest in chosen)


def _store(source: str | None, prefix: str | None) -> SnapshotStore:
    settings = load_settings()
    url = source or settings.snapshots.url
    if not url:
        raise ConfigurationError("snapshots.url is not set; set it, or give the place with --from")
    return SnapshotStore(url, prefix or settings.redis.key_prefix, settings.snapshots)


def _shards(store: SnapshotStore, text: str | None) -> Iterable[int]:
    return store.shards() if text is None else parse_shards(text)


def _choose(store: SnapshotStore, shard: int, at: str | None) -> Manifest:
    """Return the newest snapshot of a shard that matches `at`."""
    for manifest in store.manifests(shard):
        if at is None or manifest.id <= at or manifest.id.startswith(at):
            return manifest
    when = f" up to {at}" if at else ""
    raise NotFoundError(f"there is no complete snapshot of shard {shard}{when} in {store.place}")


def _lock(data: Path, chosen: Iterable[Manifest], opened: contextlib.ExitStack) -> None:
    """Lock the folder against `gateway up`, and check that nothing will be overwritten."""
    for manifest in chosen:
        if has_store(data, manifest.shard):
            raise ConfigurationError(
                f"--data {data}: shard {manifest.shard} is there already; "
                f"move {data / 'shards' / str(manifest.shard)} away first"
            )
    write_privately()
    make_private(data)
    opened.callback(os.close, lock_folder(data))


def _facts(manifest: Manifest) -> dict[str, Any]:
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


def _print_table(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
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


def _progress() -> Progress:
    return progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} shards"),
    )
