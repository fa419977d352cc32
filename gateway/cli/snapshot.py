"""`gateway snapshot create|restore`: makes and restores copies of whole shards."""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import structs
from rich.progress import BarColumn, Progress, TextColumn

from hedgerow.common.errors import (
    ConfigurationError,
    HedgerowError,
    NotFoundError,
    UnavailableError,
)
from hedgerow.common.machine.folder_lock import WORKER_FOLDER, FolderLock
from hedgerow.common.machine.private_folder import make_private, write_privately
from hedgerow.common.snapshots.manifest import Manifest
from hedgerow.common.snapshots.restore import has_store, restore
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Timeout, Token, Url
from hedgerow.gateway.cli.progress import progress
from hedgerow.gateway.cli.snapshot_list import (
    Prefix,
    Shards,
    Source,
    facts_of,
    print_table,
    shards_of,
    store_of,
    warn_of_split,
)
from hedgerow.gateway.local.locks import lock_folder

POLL_S: Final = 0.25


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
    print_table((snapshot.shard, structs.asdict(snapshot)) for snapshot in made)


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
    store = store_of(source, prefix)
    warn_of_split(store, prefix)
    chosen = [_choose(store, shard, at) for shard in shards_of(store, shards)]
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
    print_table((manifest.shard, facts_of(manifest)) for manifest in chosen)


def _choose(store: SnapshotStore, shard: int, at: str | None) -> Manifest:
    """Return the newest snapshot of a shard that matches `at`."""
    for manifest in store.manifests(shard):
        if at is None or manifest.id <= at or manifest.id.startswith(at):
            return manifest
    when = f" up to {at}" if at else ""
    raise NotFoundError(f"there is no complete snapshot of shard {shard}{when} in {store.place}")


def _lock(data: Path, chosen: Iterable[Manifest], opened: contextlib.ExitStack) -> None:
    """Lock the folder against those that use it, and check that nothing will be overwritten."""
    for manifest in chosen:
        if has_store(data, manifest.shard):
            raise ConfigurationError(
                f"--data {data}: shard {manifest.shard} is there already; "
                f"move {data / 'shards' / str(manifest.shard)} away first"
            )
    write_privately()
    make_private(data)
    opened.callback(os.close, lock_folder(data))
    if (folder := data / WORKER_FOLDER).exists():
        try:
            opened.callback(FolderLock(folder, 0.0).release)
        except ConfigurationError as error:
            raise ConfigurationError(f"--data {data}: a worker uses this folder") from error


def _progress() -> Progress:
    return progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} shards"),
    )
