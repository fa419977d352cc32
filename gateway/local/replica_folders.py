"""Where the copies of the shards lie on this machine's disk, and how they get to their workers.

    DATA/shards/SHARD                      the only copy of a shard
    DATA/workers/worker-N/shards/SHARD     the copy that worker N has, of several
    DATA/unused/SHARD/REPLICA              a copy too many, left from when there were more

A copy is moved as a whole, by renaming its folder, before any worker starts. So the number of
workers and that of replicas may differ from one start to the next. Nothing is ever deleted.
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
from hedgerow.common.shard_log.log import START, ShardLog, position
from hedgerow.gateway.local.processes.child import try_lock

_LOCK_FILE = "lock"  # of whoever writes to a shard's folder
_POLL_S = 0.05

_log = structlog.get_logger()


class Copy(NamedTuple):
    """One copy of a shard: its folder, and whether a worker had it when the cluster last ran."""

    shard: int
    folder: Path
    is_used: bool


class Move(NamedTuple):
    """A copy that is to lie elsewhere; one that is retired is followed by no worker any more."""

    copy: Copy
    target: Path
    is_retired: bool


def home_of(data: Path, worker: int, num_replicas: int) -> Path:
    """The data folder of a worker."""
    return data if num_replicas == 1 else data / "workers" / f"worker-{worker}"


def find_copies(data: Path) -> list[Copy]:
    """Every copy in a cluster's folder, those in use first. Blocks."""
    used = [data / "shards", *sorted((data / "workers").glob("*/shards"))]
    found = [
        Copy(int(folder.name), folder, is_used=True) for home in used for folder in _numbered(home)
    ]
    for home in _numbered(data / "unused"):
        found += [
            Copy(int(home.name), folder, is_used=False)
            for folder in sorted(home.iterdir())
            if folder.is_dir()
        ]
    return found


def _numbered(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.name.isdecimal() and one.is_dir())


def num_replicas_of(copies: Iterable[Copy]) -> int:
    """How many replicas each shard had when the cluster last ran; at least 1."""
    counts: dict[int, int] = {}
    for copy in copies:
        if copy.is_used:
            counts[copy.shard] = counts.get(copy.shard, 0) + 1
    return max(counts.values(), default=1)


def num_shards_of(copies: Iterable[Copy]) -> int:
    """How many shards the cluster had that made these copies; 0 if there are none."""
    return max((copy.shard + 1 for copy in copies), default=0)


async def settle(
    found: Sequence[Copy],
    homes: Mapping[int, Sequence[Path]],
    data: Path,
    shard_log: ShardLog,
    wait_s: float,
) -> None:
    """Bring each copy to a worker that serves its shard, before any worker starts.

    Where there are more copies than there shall be, those stay that have missed nothing and have
    got furthest; the log no longer waits for the others.

    Args:
        found: every copy in the folder.
        homes: shard → the data folders of the workers that serve it.
        data: the cluster's folder.
        shard_log: knows which replicas have gaps.
        wait_s: how long to wait for a worker of an earlier run that still drains, in s.

    Raises:
        ConfigurationError: a copy is still in use, or cannot be moved.
        RedisUnavailableError: there is no answer.
    """
    missed = await shard_log.missed(list(homes))
    stamps = await asyncio.to_thread(_read_stamps, found)

    def worth(copy: Copy) -> tuple[object, ...]:
        stamp = stamps.get(copy.folder)
        if stamp is None:
            return (False, position(START))
        return (stamp.replica_id not in missed[copy.shard], position(stamp.position))

    moves = plan_moves(found, homes, data / "unused", worth)
    for move in moves:
        _log.info("copy_moved", source=str(move.copy.folder), target=str(move.target))
    await asyncio.to_thread(carry_out, moves, wait_s)
    # After the move, since a worker that still drained would have named itself again; and each
    # time, should the last start have ended between the two.
    given_up = {move.copy for move in moves if move.is_retired}
    given_up |= {one for one in found if not one.is_used} - {move.copy for move in moves}
    for one in given_up:
        if stamp := stamps.get(one.folder):
            await shard_log.forget_replica(one.shard, stamp.replica_id)


def _read_stamps(copies: Iterable[Copy]) -> dict[Path, Stamp]:
    stamps = {one.folder: read_stamp(one.folder) for one in copies}
    return {folder: stamp for folder, stamp in stamps.items() if stamp is not None}


def plan_moves(
    copies: Iterable[Copy],
    homes: Mapping[int, Sequence[Path]],
    unused: Path,
    worth: Callable[[Copy], tuple[object, ...]],
) -> list[Move]:
    """What must be moved so that each worker finds its copies; in an order that can be followed.

    Args:
        copies: what there is.
        homes: shard → the data folders of the workers that serve it.
        unused: the folder for copies too many.
        worth: how good a copy is to have, as something that sorts; equal ones stay where they are.

    Returns:
        The moves. A home that is given no copy gets a new, empty one from its worker.
    """
    retired, moved = [], []
    for shard, folders in homes.items():
        targets = [folder / "shards" / str(shard) for folder in folders]

        def rank(copy: Copy, targets: list[Path] = targets) -> tuple[object, ...]:
            return (copy.is_used, *worth(copy), copy.folder in targets)

        ranked = sorted((one for one in copies if one.shard == shard), key=rank, reverse=True)
        kept, rest = ranked[: len(targets)], ranked[len(targets) :]
        retired += [
            Move(one, unused / str(shard) / str(number), is_retired=True)
            for number, one in enumerate(rest)
            if one.is_used
        ]
        settled = {one.folder for one in kept}
        free = [target for target in targets if target not in settled]
        moved += [
            Move(one, target, is_retired=False)
            for one, target in zip(
                (one for one in kept if one.folder not in targets), free, strict=False
            )
        ]
    return retired + moved


def carry_out(moves: Iterable[Move], wait_s: float) -> None:
    """Move copies; blocks.

    Args:
        moves: in their order.
        wait_s: how long to wait for a worker of an earlier run that still drains, in s.

    Raises:
        ConfigurationError: one still has a copy, or the folder cannot be written. What is moved
            by then is where a later start looks for it.
    """
    give_up_at = time.monotonic() + wait_s
    for move in moves:
        source = move.copy.folder
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
