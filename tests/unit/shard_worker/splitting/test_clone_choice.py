"""When the documents of an old shard are left to the workers that have them."""

import pytest

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.splitting.clone_choice import can_clone

BOTH = ShardPlacement(("a", "b"))


def placed(*shards: ShardPlacement) -> Placement:
    """A placement of four shards, of which 1 and 3 replace the old shard 1."""
    return Placement(1, 4, 2, 0, (ShardPlacement(("x",)), shards[0], ShardPlacement(), shards[1]))


def beat(worker: str, *shards: int, clones: bool = True) -> Heartbeat:
    """A worker that serves these old shards."""
    return Heartbeat(worker, 1, "h", list(shards), "1", 0, 0, clones=clones)


LIVE = [beat("a", 0, 1), beat("b", 1), beat("x", 0)]


@pytest.mark.parametrize(
    ("placement", "live", "can"),
    [
        (placed(BOTH, BOTH), LIVE, True),
        (placed(BOTH, ShardPlacement(("a",), ("b",))), LIVE, True),
        (None, LIVE, False),
        (placed(BOTH, ShardPlacement()), LIVE, False),
        (placed(BOTH, ShardPlacement(("a",))), LIVE, False),
        (placed(BOTH, ShardPlacement(("a", "x"))), LIVE, False),
        (placed(BOTH, ShardPlacement(("a", "b"), ("gone",))), LIVE, False),
        (placed(BOTH, BOTH), [beat("a", 1), beat("b", 1, clones=False)], False),
        (placed(BOTH, BOTH), [], False),
    ],
    ids=["owners", "joining", "none", "not yet", "few", "other", "gone", "older version", "lost"],
)
def test_all_workers_of_the_new_shards_have_to_serve_the_old_one(
    placement: Placement | None, live: list[Heartbeat], can: bool
) -> None:
    """One that has nothing to clone would get nothing, since the log has no documents."""
    source = {one.id: one for one in live}
    assert can_clone(placement, source, 1, (1, 3)) is can
