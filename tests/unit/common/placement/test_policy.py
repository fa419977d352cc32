"""From one placement to the next."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.placement.document import ShardPlacement
from hedgerow.common.placement.members import Cluster, Member
from hedgerow.common.placement.policy import Rules, plan
from tests.unit.common.placement.support import Model, imbalance, members, named


def settled(workers: str, num_shards: int, rules: Rules, *, empty: bool = False) -> Model:
    """A cluster whose placement has been carried out."""
    model = Model(named(*workers), num_shards, rules, empty)
    model.settle()
    return model


def test_the_first_placement_is_made_at_once() -> None:
    """All shards get their owners in the first version, whatever `max_moves` says."""
    model = Model(named("a", "b", "c"), 12, Rules(2, max_moves=1))
    assert model.decide()
    assert model.placement is not None
    assert model.placement.version == 1
    assert model.owned() == {"a": 8, "b": 8, "c": 8}


def test_a_cluster_without_members_has_no_placement() -> None:
    """Pinned workers alone need no document; nor is there one without a worker to place on."""
    assert plan(None, Cluster(4, ()), Rules(), 0).next is None
    draining = (Member("a", is_draining=True),)
    assert plan(None, Cluster(4, draining), Rules(), 0).next is None


def test_a_new_worker_takes_its_share_few_at_a_time() -> None:
    """At most `max_moves` shards are joining; an owner stays until the new one serves."""
    model = settled("ab", 8, Rules(1, max_moves=2))
    model.join(*named("c"))
    seen = 0
    while model.decide():
        assert model.placement is not None
        joining = [placed for placed in model.placement.shards if placed.joining]
        assert len(joining) <= 2
        assert all(len(placed.owners) == 1 for placed in model.placement.shards)
        seen = max(seen, len(joining))
        model.carry_out()
    assert seen == 2
    assert sorted(model.owned().values()) == [2, 3, 3]


def test_empty_shards_move_without_a_bound() -> None:
    """Shards that hold nothing are spread to a new worker in one step."""
    model = settled("a", 9, Rules(1, max_moves=1), empty=True)
    model.join(*named("b", "c"))
    assert model.settle() == 2
    assert model.owned() == {"a": 3, "b": 3, "c": 3}


def test_a_move_waits_until_the_new_owner_serves() -> None:
    """While the joining worker is not ready, nothing changes, and the old owner remains."""
    model = settled("a", 2, Rules(1, max_moves=1))
    model.join(*named("b"))
    assert model.decide()
    model.carry_out(slow=frozenset({0, 1}))
    assert not model.decide()
    model.carry_out()
    assert model.settle() == 1
    assert model.owned() == {"a": 1, "b": 1}


def test_a_lost_worker_is_replaced_after_a_while() -> None:
    """It keeps its shards until `replace_after_ms`; then others join, and take over when ready."""
    model = settled("abc", 6, Rules(2, replace_after_ms=60_000))
    model.lose("c")
    model.now_ms += 59_999
    assert not model.decide()
    model.now_ms += 1
    assert model.decide()
    assert model.placement is not None
    assert any("c" in placed.owners for placed in model.placement.shards)
    model.carry_out()
    model.settle()
    assert model.owned() == {"a": 6, "b": 6, "c": 0}


def test_a_worker_that_comes_back_in_time_is_preferred() -> None:
    """If it serves again before its replacement does, the replacement is given up."""
    model = settled("abc", 9, Rules(1, replace_after_ms=10, max_moves=2))
    assert model.placement is not None
    before = model.owned()
    mine = model.placement.held_by("c")
    model.lose("c")
    model.now_ms += 10
    assert model.decide()
    model.carry_out(slow=frozenset(range(9)))
    model.change("c", lost_since_ms=None, ready=mine)
    model.settle()
    assert model.owned() == before
    assert model.placement.held_by("c") == mine


def test_a_worker_that_comes_back_too_late_gets_shards_whose_data_it_has() -> None:
    """It was replaced, and what it is given for balance is on its disk already."""
    model = settled("abc", 9, Rules(1, replace_after_ms=10))
    assert model.placement is not None
    mine = model.placement.held_by("c")
    model.lose("c")
    model.now_ms += 10
    model.settle()
    assert model.owned() == {"a": 5, "b": 4, "c": 0}
    model.change("c", lost_since_ms=None, stored=mine)
    assert model.decide()
    assert {shard for shard in range(9) if model.placement.of(shard).joining} <= mine


def test_a_drain_empties_a_worker_while_all_is_served() -> None:
    """A draining worker serves each shard until another does, gets nothing, and ends empty."""
    model = settled("abc", 6, Rules(2, max_moves=1))
    model.change("c", is_draining=True)
    while model.decide():
        model.carry_out()
        assert all(len(model.serving(shard)) >= 2 for shard in range(6))
    assert model.owned() == {"a": 6, "b": 6, "c": 0}
    model.change("c", is_draining=False)
    model.settle()
    assert model.owned() == {"a": 4, "b": 4, "c": 4}


def test_a_drain_ends_with_fewer_replicas_if_there_are_too_few_workers() -> None:
    """One of two workers can be drained although each shard should have two."""
    model = settled("ab", 4, Rules(2))
    model.change("b", is_draining=True)
    model.settle()
    assert model.owned() == {"a": 4, "b": 0}


def test_the_last_worker_cannot_be_drained() -> None:
    """It keeps its shards, since there is no other that could serve them."""
    model = settled("a", 4, Rules(1))
    model.change("a", is_draining=True)
    assert not model.decide()
    assert model.owned() == {"a": 4}


def test_without_snapshots_shards_with_documents_do_not_move() -> None:
    """A worker that could not restore a shard is not asked to, unless it has the data."""
    model = settled("a", 4, Rules(1, has_snapshots=False))
    model.join(*named("b"))
    assert not model.decide()
    model.change("b", stored=frozenset(range(4)))
    assert model.decide()


def test_a_served_pinned_shard_loses_its_owners() -> None:
    """When a pinned worker serves a shard, the workers that joined no longer hold it."""
    model = settled("ab", 2, Rules(1))
    model.cluster = replace(model.cluster, pinned=frozenset({0}))
    model.decide()
    assert model.placement is not None
    assert model.placement.of(0) == ShardPlacement()
    assert len(model.placement.of(1).owners) == 1


def test_the_most_endangered_shards_come_first() -> None:
    """A shard that no worker serves is joined before one that only moves for balance."""
    model = settled("abc", 6, Rules(1, replace_after_ms=10, max_moves=2))
    assert model.placement is not None
    lost = model.placement.held_by("c")
    model.lose("c")
    model.join(*named("d"))
    model.now_ms += 10
    model.decide()
    joining = {shard for shard in range(6) if model.placement.of(shard).joining}
    assert joining == lost


def test_more_shards_than_the_document_has_are_placed() -> None:
    """After a split, the new shards get owners; the others keep theirs."""
    model = settled("ab", 4, Rules(1))
    assert model.placement is not None
    before = model.placement.shards
    model.cluster = replace(model.cluster, num_shards=8)
    model.decide()
    assert model.placement.shards[:4] == before
    assert model.owned() == {"a": 4, "b": 4}


@pytest.mark.parametrize("replicas", [1, 3])
def test_another_number_of_replicas_is_carried_out(replicas: int) -> None:
    """If the setting changes, shards get more owners, or fewer."""
    model = settled("abcd", 4, Rules(2))
    model.rules = Rules(replicas)
    model.settle()
    assert sum(model.owned().values()) == 4 * replicas


CHANGES = st.lists(
    st.tuples(st.sampled_from(["lose", "return", "drain", "undrain", "wait"]), st.integers(0, 3)),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(
    members(zones=("a", "b"), capacities=(1.0, 2.0)),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 3),
    CHANGES,
    st.lists(st.frozensets(st.integers(0, 4)), min_size=1, max_size=4),
)
def test_whatever_happens_a_served_shard_stays_served_and_all_settles(
    workers: tuple[Member, ...],
    num_shards: int,
    replicas: int,
    max_moves: int,
    changes: list[tuple[str, int]],
    slow: list[frozenset[int]],
) -> None:
    """No decision drops the last worker that serves a shard, or exceeds `max_moves`.

    When the changes end, the decisions end too, with balanced loads.
    """
    model = Model(workers, num_shards, Rules(replicas, 1_000, max_moves))
    for number, (what, which) in enumerate(changes):
        worker = workers[which % len(workers)].id
        if what == "lose":
            model.lose(worker)
        elif what == "return":
            model.change(worker, lost_since_ms=None)
        elif what == "wait":
            model.now_ms += 600
        else:
            model.change(worker, is_draining=what == "drain")
        served = [model.serving(shard) for shard in range(num_shards)]
        model.decide()
        if model.placement is None:
            continue
        for shard, before in enumerate(served):
            held = set(model.placement.of(shard).holders)
            assert not before or before & held, f"shard {shard} loses its last worker"
        joining = sum(len(placed.joining) for placed in model.placement.shards)
        assert joining <= max_moves
        model.carry_out(slow[number % len(slow)])
    for member in workers:
        model.change(member.id, lost_since_ms=None, is_draining=False)
    if model.placement is not None:
        model.carry_out()
    model.settle()
    assert model.placement is not None
    owners = [placed.owners for placed in model.placement.shards]
    assert all(len(some) == min(replicas, len(workers)) for some in owners)
    assert imbalance(owners, workers, min(replicas, len(workers))) == 0
