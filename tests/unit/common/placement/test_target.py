"""Which workers should hold which shard in the end, against a search of all possibilities."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.placement.document import ShardPlacement
from hedgerow.common.placement.members import Cluster, Member
from hedgerow.common.placement.target import Target, target_of
from tests.unit.common.placement.support import (
    imbalance,
    members,
    named,
    num_close,
    num_moves,
    present_of,
)


def find(workers: tuple[Member, ...], present: list[ShardPlacement], replicas: int) -> Target:
    """The target, if no worker is lost."""
    return target_of(Cluster(len(present), workers), present, replicas, replace_before_ms=0)


def best_of(
    workers: tuple[Member, ...], present: list[ShardPlacement], replicas: int
) -> tuple[int, int, int]:
    """Pairs in one zone, imbalance and moves of the best of all targets, in this order.

    Pairs and moves are sums over the shards; targets with equal loads have the same imbalance.
    """
    ways = list(itertools.combinations([member.id for member in workers], replicas))
    close = {way: num_close([way], workers) for way in ways}
    moves = [{way: num_moves([way], [placed]) for way in ways} for placed in present]
    imbalances: dict[tuple[str, ...], int] = {}

    def imbalance_of(target: tuple[tuple[str, ...], ...]) -> int:
        loads = tuple(sorted(itertools.chain.from_iterable(target)))
        if loads not in imbalances:
            imbalances[loads] = imbalance(target, workers, replicas)
        return imbalances[loads]

    return min(
        (
            sum(map(close.__getitem__, target)),
            imbalance_of(target),
            sum(of_shard[way] for of_shard, way in zip(moves, target, strict=True)),
        )
        for target in itertools.product(ways, repeat=len(present))
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_equal_workers_are_balanced_with_the_fewest_moves(data: st.DataObject) -> None:
    """Loads differ by at most one; and no balanced target needs fewer new replicas."""
    workers = data.draw(members())
    replicas = data.draw(st.integers(1, min(3, len(workers))))
    present = data.draw(present_of(workers, data.draw(st.integers(1, 4)), replicas))
    target = find(workers, present, replicas)
    assert all(len(wanted) == replicas for wanted in target)
    loads = [sum(member.id in wanted for wanted in target) for member in workers]
    assert max(loads) - min(loads) <= 1
    assert num_moves(target, present) == best_of(workers, present, replicas)[2]


def test_what_is_new_moves_before_what_is_held() -> None:
    """A worker with too much keeps what it holds, if new replicas can go elsewhere."""
    workers = tuple(Member(f"w{n}", host=f"h{n}") for n in range(4))
    present = [ShardPlacement(owners) for owners in ((), ("w0",), ("w0",), ("w3",))]
    assert num_moves(find(workers, present, 2), present) == best_of(workers, present, 2)[2] == 5


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_workers_are_balanced_by_their_capacity(data: st.DataObject) -> None:
    """Loads are the shares, rounded, with at most one move more than the fewest."""
    workers = data.draw(members(capacities=(0.5, 1.0, 2.0)))
    replicas = data.draw(st.integers(1, min(3, len(workers))))
    present = data.draw(present_of(workers, data.draw(st.integers(1, 4)), replicas))
    target = find(workers, present, replicas)
    assert all(len(wanted) == replicas for wanted in target)
    assert imbalance(target, workers, replicas) == 0
    assert num_moves(target, present) <= best_of(workers, present, replicas)[2] + 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_replicas_are_spread_over_zones(data: st.DataObject) -> None:
    """No target has fewer pairs of replicas in one zone.

    Loads are balanced all the same, with at most one move more than the fewest.
    """
    workers = data.draw(members(zones=("a", "b", "c")))
    replicas = data.draw(st.integers(1, min(3, len(workers))))
    present = data.draw(present_of(workers, data.draw(st.integers(1, 4)), replicas))
    target = find(workers, present, replicas)
    best = best_of(workers, present, replicas)
    found = num_close(target, workers), imbalance(target, workers, replicas)
    assert found == best[:2]
    assert num_moves(target, present) <= best[2] + 1


def test_replicas_are_on_different_hosts() -> None:
    """Of four workers on two hosts, each shard has one on either host."""
    workers = tuple(Member(f"w{n}", host=f"h{n // 2}") for n in range(4))
    for wanted in find(workers, [ShardPlacement()] * 7, 2):
        assert {one < "w2" for one in wanted} == {True, False}


def test_one_host_is_no_obstacle() -> None:
    """Workers of one machine get all replicas, since there is no other machine."""
    workers = tuple(Member(f"w{n}", host="h") for n in range(3))
    assert all(len(wanted) == 2 for wanted in find(workers, [ShardPlacement()] * 5, 2))


def test_a_small_zone_gets_a_replica_of_each_shard() -> None:
    """Spread comes before balance: the only worker of a zone holds each shard."""
    workers = (Member("a", zone="a"), *(Member(f"b{n}", zone="b") for n in range(3)))
    target = find(workers, [ShardPlacement()] * 6, 2)
    assert all("a" in wanted for wanted in target)
    assert [sum(f"b{n}" in wanted for wanted in target) for n in range(3)] == [2, 2, 2]


def test_capacity_is_a_weight() -> None:
    """A worker with twice the capacity gets twice as many shards."""
    workers = (Member("a", capacity=2), Member("b"), Member("c"))
    target = find(workers, [ShardPlacement()] * 8, 1)
    assert [sum(one in wanted for wanted in target) for one in "abc"] == [4, 2, 2]


def test_too_few_workers_mean_fewer_replicas() -> None:
    """With three replicas and two workers, each shard has both of them."""
    assert find(named("a", "b"), [ShardPlacement()] * 3, 3) == (frozenset("ab"),) * 3


def test_a_worker_with_the_data_is_preferred() -> None:
    """A shard without owners goes to the worker on whose disk it is."""
    workers = (Member("a", stored=frozenset({1, 3})), Member("b", stored=frozenset({0, 2})))
    target = find(workers, [ShardPlacement()] * 4, 1)
    assert target == (frozenset("b"), frozenset("a"), frozenset("b"), frozenset("a"))


def test_a_pinned_shard_needs_no_workers() -> None:
    """What pinned workers serve is placed on no other, and does not count as load."""
    cluster = Cluster(3, named("a", "b"), pinned=frozenset({1}))
    target = target_of(cluster, [ShardPlacement()] * 3, 1, replace_before_ms=0)
    assert target[1] == frozenset()
    assert {*target[0], *target[2]} == {"a", "b"}


def test_while_a_worker_is_awaited_nothing_is_balanced() -> None:
    """A worker that has just been lost keeps its shards, and none moves to one that is new."""
    present = [ShardPlacement(("a",)), ShardPlacement(("a",)), ShardPlacement(("b",))]
    workers = (Member("a"), Member("b", lost_since_ms=10), Member("c"))
    kept = (frozenset("a"), frozenset("a"), frozenset("b"))
    assert target_of(Cluster(3, workers), present, 1, replace_before_ms=9) == kept
    replaced = target_of(Cluster(3, workers), present, 1, replace_before_ms=10)
    assert replaced[2] == frozenset("c")
