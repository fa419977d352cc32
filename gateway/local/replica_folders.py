"""Where the shards' replicas are on this machine's disk, and how they get to their workers.

    DATA/shards/SHARD                      the only replica of a shard
    DATA/workers/worker-N/shards/SHARD     worker N's replica, if there are several
    DATA/unused/SHARD/REPLICA              a surplus replica, from when there were more

After a split (docs/splitting.md), `shards` and `unused` are in a folder `layout-ID` of those.

A replica is moved as a whole, by renaming its folder, before any worker starts. So the numbers of
workers and of replicas may change from one start to the next. Nothing is ever deleted.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.private_folder import FILE_MODE, make_folders
from hedgerow.common.machine.store_file import Stamp, read_stamp
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.layout import FIRST, Layout
from hedgerow.gateway.local.processes.child import try_lock

_LOCK_FILE = "lock"  # held by the process that writes to a shard's folder
_POLL_S = 0.05

_log = structlog.get_logger()


class ReplicaFolder(NamedTuple):
    """A replica of a shard; `is_used`: a worker had it when the cluster last ran."""

    shard: int
    folder: Path
    is_used: bool


class Move(NamedTuple):
    """A replica that is to be moved; if it is retired, no worker serves it any more."""

    replica: ReplicaFolder
    target: Path
    is_retired: bool


def home_of(data: Path, worker: int, num_replicas: int) -> Path:
    """Return the data folder of a worker."""
    return data if num_replicas == 1 else data / "workers" / f"worker-{worker}"


def worker_folders(data: Path) -> list[Path]:
    """List the data folders of all workers, past ones included. Blocks."""
    return [data, *sorted((data / "workers").glob("*"))]


def find_replicas(data: Path, layout: Layout = FIRST) -> list[ReplicaFolder]:
    """List the replicas of a layout in a cluster's folder, those in use first. Blocks."""
    used = [layout.data(home) / "shards" for home in worker_folders(data)]
    found = [
        ReplicaFolder(int(folder.name), folder, is_used=True)
        for home in used
        for folder in _numbered(home)
    ]
    for home in _numbered(layout.data(data) / "unused"):
        found += [
            ReplicaFolder(int(home.name), folder, is_used=False)
            for folder in sorted(home.iterdir())
            if folder.is_dir()
        ]
    return found


def _numbered(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())


def shards_in(replicas: Iterable[ReplicaFolder], home: Path) -> frozenset[int]:
    """Return the shards of which a worker has a replica in its data folder."""
    return frozenset(
        replica.shard
        for replica in replicas
        if replica.is_used and replica.folder.parent == home / "shards"
    )


def num_replicas_of(replicas: Iterable[ReplicaFolder]) -> int:
    """Return how many replicas each shard had when the cluster last ran; at least 1."""
    counts: dict[int, int] = {}
    for replica in replicas:
        if replica.is_used:
            counts[replica.shard] = counts.get(replica.shard, 0) + 1
    return max(counts.values(), default=1)


def num_shards_of(replicas: Iterable[ReplicaFolder]) -> int:
    """Return how many shards the cluster had that made these replicas; 0 if there are none."""
    return max((replica.shard + 1 for replica in replicas), default=0)


async def settle(
    found: Sequence[ReplicaFolder],
    homes: Mapping[int, Sequence[Path]],
    data: Path,
    shard_log: ShardLog,
    wait_s: float,
) -> None:
    """Move each replica to a worker that serves its shard, before any worker starts.

    If there are more replicas than wanted, those without gaps that have applied most stay; the
    log no longer waits for the others.

    Args:
        found: every replica in the folder.
        homes: shard → the data folders of the workers that serve it.
        data: the cluster's folder of the layout.
        shard_log: knows which replicas have gaps.
        wait_s: how long to wait for a worker of an earlier run that still drains, in s.

    Raises:
        ConfigurationError: a replica is still in use, or cannot be moved.
        RedisUnavailableError: Redis does not answer.
    """
    missed = await shard_log.missed(list(homes))
    stamps = await asyncio.to_thread(_read_stamps, found)

    def worth(replica: ReplicaFolder) -> tuple[object, ...]:
        stamp = stamps.get(replica.folder)
        if stamp is None:
            return (False, position(START))
        return (stamp.replica_id not in missed[replica.shard], position(stamp.position))

    moves = plan_moves(found, homes, data / "unused", worth)
    for move in moves:
        _log.info("copy_moved", source=str(move.replica.folder), target=str(move.target))
    await asyncio.to_thread(carry_out, moves, wait_s)
    # After the move, since a worker that was still draining would have registered again. At every
    # start, in case the last one ended between the two steps.
    given_up = {move.replica for move in moves if move.is_retired}
    given_up |= {replica for replica in found if not replica.is_used} - {
        move.replica for move in moves
    }
    for replica in given_up:
        if stamp := stamps.get(replica.folder):
            await shard_log.forget_replica(replica.shard, stamp.replica_id)


def _read_stamps(replicas: Iterable[ReplicaFolder]) -> dict[Path, Stamp]:
    stamps = {replica.folder: read_stamp(replica.folder) for replica in replicas}
    return {folder: stamp for folder, stamp in stamps.items() if stamp is not None}


def plan_moves(
    replicas: Iterable[ReplicaFolder],
    homes: Mapping[int, Sequence[Path]],
    unused: Path,
    worth: Callable[[ReplicaFolder], tuple[object, ...]],
) -> list[Move]:
    """Plan the moves after which each worker finds its replicas, in an order that works.

    Args:
        replicas: the existing replicas.
        homes: shard → the data folders of the workers that serve it.
        unused: the folder for surplus replicas.
        worth: a sort key, higher for a better replica; equal ones stay where they are.

    Returns:
        The moves. If a home gets no replica, its worker creates an empty one.
    """
    retired, moved = [], []
    for shard, folders in homes.items():
        targets = [folder / "shards" / str(shard) for folder in folders]

        def rank(replica: ReplicaFolder, targets: list[Path] = targets) -> tuple[object, ...]:
            return (replica.is_used, *worth(replica), replica.folder in targets)

        ranked = sorted(
            (replica for replica in replicas if replica.shard == shard), key=rank, reverse=True
        )
        kept, rest = ranked[: len(targets)], ranked[len(targets) :]
        retired += [
            Move(replica, unused / str(shard) / str(number), is_retired=True)
            for number, replica in enumerate(rest)
            if replica.is_used
        ]
        settled = {replica.folder for replica in kept}
        free = [target for target in targets if target not in settled]
        moved += [
            Move(replica, target, is_retired=False)
            for replica, target in zip(
                (replica for replica in kept if replica.folder not in targets), free, strict=False
            )
        ]
    return retired + moved


def carry_out(moves: Iterable[Move], wait_s: float) -> None:
    """Move replicas; blocks.

    Args:
        moves: the moves, in order.
        wait_s: how long to wait for a worker of an earlier run that still drains, in s.

    Raises:
        ConfigurationError: a worker still uses a replica, or the folder cannot be written. A
            later start finds the replicas that were moved before.
    """
    give_up_at = time.monotonic() + wait_s
    for move in moves:
        source = move.replica.folder
        try:
            make_folders(move.target.parent)
            lock = os.open(source / _LOCK_FILE, os.O_RDWR | os.O_CREAT, FILE_MODE)
            try:
                while not try_lock(lock):
                    if time.monotonic() >= give_up_at:
                        raise ConfigurationError(
                            f"{source}: a worker of an earlier run still writes to it"
                        )
                    time.sleep(_POLL_S)
                source.rename(_free(move.target) if move.is_retired else move.target)
            finally:
                os.close(lock)
        except OSError as error:
            raise ConfigurationError(f"{source}: cannot be moved: {error.strerror}") from error


def _free(path: Path) -> Path:
    number = 0
    while path.exists():
        number += 1
        path = path.with_name(str(number))
    return path
