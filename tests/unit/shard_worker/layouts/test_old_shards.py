"""Which old shards a worker has, as the cloner of the new ones asks."""

from pathlib import Path
from typing import Any, cast

import pytest

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.state.layout import ClusterLayout, Layout, Split, SplitState
from hedgerow.shard_worker.layouts.old_shards import ServedOldShards
from hedgerow.shard_worker.worker import Worker

OLD, NEW = Layout(0, 2), Layout(1, 4)


class FakePlacements:
    """The placement of the old shards: `me` owns shard 0, and is joining shard 1."""

    async def read(self) -> Placement:
        """Read it."""
        shards = ShardPlacement(("me", "other")), ShardPlacement(("other",), ("me",))
        return Placement(1, 2, 2, 0, shards)


class FakeWorker:
    """The worker of the old shards: up to which entry each that it serves is applied."""

    def __init__(self, **applied: str) -> None:
        self._applied = applied

    def applied(self, shard: int) -> str | None:
        """None if it does not serve it."""
        return self._applied.get(f"shard_{shard}")


def old_shards(state: SplitState, worker: FakeWorker | None) -> ServedOldShards:
    """Those of a split in a state, in a process with or without a worker of the old layout."""
    split = Split(OLD, NEW, state, 0, 0)
    return ServedOldShards(
        lambda _layout: cast("PlacementStore", FakePlacements()),
        Path("data"),
        NEW,
        lambda: ClusterLayout(1, OLD, split=split),
        cast("dict[int, Worker]", {} if worker is None else {OLD.id: worker}),
        "me",
    )


COPYING = SplitState.COPYING


@pytest.mark.parametrize(
    ("state", "worker", "late"),
    [
        (COPYING, None, {0, 2}),  # the process has started again
        (COPYING, FakeWorker(), {0, 2}),
        (COPYING, FakeWorker(shard_0="5-0"), set()),
        (COPYING, FakeWorker(shard_0="0-0"), set()),  # there is nothing to clone, and never will be
        (COPYING, FakeWorker(shard_1="5-0"), {0, 2}),
        (SplitState.RETIRING, None, set()),
    ],
)
async def test_what_a_worker_owns_and_does_not_serve_is_late(
    state: SplitState, worker: Any, late: set[int]
) -> None:
    """So the new shards of which they are the halves wait for it; those of others do not."""
    old = old_shards(state, worker)
    assert {shard for shard in range(4) if await old.is_late(shard)} == late


@pytest.mark.parametrize(
    ("state", "worker", "are_there"),
    [
        (COPYING, None, True),
        (SplitState.SWITCHED, FakeWorker(), True),
        (SplitState.REMOVING, FakeWorker(), True),  # its processes have not ended yet
        (SplitState.REMOVING, None, False),
    ],
)
def test_the_old_shards_are_there_until_their_processes_have_ended(
    state: SplitState, worker: Any, *, are_there: bool
) -> None:
    """Until then, the new shards leave the CPU to searches, and to what ends."""
    assert old_shards(state, worker).are_there is are_there
