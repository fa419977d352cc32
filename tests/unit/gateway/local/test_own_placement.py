"""What the workers of one machine start with, for any folders and any earlier placement."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.gateway.local.own_placement import assign

MAX_WORKERS = 5


@st.composite
def folders(draw: st.DrawFn) -> tuple[int, int, dict[str, frozenset[int]], Placement | None]:
    """Numbers of shards and replicas, what is in the workers' folders, and the last placement."""
    num_shards = draw(st.integers(1, 8))
    num_workers = draw(st.integers(1, MAX_WORKERS))
    num_replicas = draw(st.integers(1, num_workers))
    num_workers = min(num_workers, num_shards * num_replicas)
    shards = st.frozensets(st.integers(0, num_shards - 1))
    stored = {f"worker-{number}": draw(shards) for number in range(num_workers)}
    names = [f"worker-{number}" for number in range(MAX_WORKERS)]
    owners = st.lists(st.sampled_from(names), unique=True, max_size=3)
    placed = tuple(ShardPlacement(tuple(draw(owners))) for _ in range(num_shards))
    present = Placement(1, num_shards, 2, 0, placed) if draw(st.booleans()) else None
    return num_shards, num_replicas, stored, present


@given(folders())
def test_each_shard_has_its_replicas_and_the_load_is_even(
    given_: tuple[int, int, dict[str, frozenset[int]], Placement | None],
) -> None:
    """Whatever was there, every shard has its workers, and loads differ by at most 1."""
    num_shards, num_replicas, stored, present = given_
    assigned = assign(num_shards, num_replicas, stored, present)
    assert [len(names) for names in assigned] == [num_replicas] * num_shards
    loads = [sum(name in names for names in assigned) for name in stored]
    assert max(loads) - min(loads) <= 1


def test_a_restart_moves_nothing() -> None:
    """Workers start with what they had, whatever an earlier run has left in other folders."""
    owners = [("worker-2", "worker-0"), ("worker-1", "worker-2"), ("worker-0", "worker-1")]
    present = Placement(7, 3, 2, 0, tuple(ShardPlacement(one) for one in owners))
    # What was moved away is not removed yet.
    stored = dict.fromkeys(("worker-0", "worker-1", "worker-2"), frozenset({0, 1, 2}))
    assert assign(3, 2, stored, present) == [frozenset(one) for one in owners]


def test_what_is_on_disk_counts_if_redis_has_forgotten() -> None:
    """Without a placement, workers start with what is in their folders."""
    stored = {
        "worker-0": frozenset({0, 3}),
        "worker-1": frozenset({1, 2}),
        "worker-2": frozenset({0, 1}),
        "worker-3": frozenset({2, 3}),
    }
    assigned = assign(4, 2, stored, None)
    for name, shards in stored.items():
        assert {shard for shard, names in enumerate(assigned) if name in names} == shards


def test_a_worker_more_takes_its_share_alone() -> None:
    """A fourth worker gets its share of the twelve replicas, and no other replica moves."""
    stored = {
        "worker-0": frozenset({0, 1, 2, 3}),
        "worker-1": frozenset({0, 1, 4, 5}),
        "worker-2": frozenset({2, 3, 4, 5}),
        "worker-3": frozenset[int](),
    }
    assigned = assign(6, 2, stored, None)
    moved = [
        (shard, name)
        for shard, names in enumerate(assigned)
        for name in names
        if shard not in stored[name]
    ]
    assert [name for _, name in moved] == ["worker-3"] * 3


def test_a_new_cluster_is_placed_in_a_ring() -> None:
    """If a worker of a new cluster dies, its load falls to two others, as before."""
    stored = dict.fromkeys(("worker-0", "worker-1", "worker-2", "worker-3"), frozenset[int]())
    assigned = assign(8, 2, stored, None)
    assert [sorted(names) for names in assigned[:4]] == [
        ["worker-0", "worker-1"],
        ["worker-0", "worker-1"],
        ["worker-1", "worker-2"],
        ["worker-1", "worker-2"],
    ]
